# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""An OpenVINO model in two, see ``cut``: OpenVINO's precision belongs to a model, so two models can have two."""
from __future__ import annotations

import openvino

from .cut import CHOICE, OTHER, SEVERAL, SHAPE, TOKENS, bottleneck
from .deploy_error import DeployError

KINDS = {"ShapeOf": SHAPE, "TopK": CHOICE}


def cut(model: openvino.Model) -> tuple[openvino.Model, openvino.Model]:
    """(openvino.Model of backbone and encoder, openvino.Model of the decoder with an input ``TOKENS``).

    ``model`` is taken apart.

    Raises:
        DeployError: it is no detector that can be cut so.
    """
    inputs = {value.get_any_name(): value.get_node() for value in model.inputs}
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    steps = [(name, _kind(node), [value.get_node().get_friendly_name() for value in node.input_values()])
             for name, node in nodes.items()]
    found = "image" in inputs and bottleneck(steps, inputs["image"].get_friendly_name())
    if not found:
        raise DeployError("bf16: this model has no decoder that could stay in float32; use --precision fp32")
    tokens = nodes[found].output(0)
    consumers = list(tokens.get_target_inputs())
    picture = openvino.Model([tokens], [inputs["image"]])
    entry = openvino.opset1.parameter(tokens.get_partial_shape(), tokens.get_element_type(), name=TOKENS)
    entry.output(0).set_names({TOKENS})
    for consumer in consumers:
        consumer.replace_source_output(entry.output(0))
    needed = _ancestors(model.get_results())
    if any("Convolution" in node.get_type_name() for node in needed):
        raise DeployError("bf16: this model's decoder sees more than the encoder's tokens; use --precision fp32")
    return picture, openvino.Model(model.get_results(), [entry, *(node for node in inputs.values() if node in needed)])


def join(picture: openvino.Model, decoder: openvino.Model) -> openvino.Model:
    """One openvino.Model again of the two that ``cut`` made, or of changed ones; they are taken apart."""
    entry, *others = (value.get_node() for value in decoder.inputs)
    tokens = picture.get_results()[0].input_value(0)
    for consumer in list(entry.output(0).get_target_inputs()):
        consumer.replace_source_output(tokens)
    return openvino.Model(decoder.get_results(), [*(value.get_node() for value in picture.inputs), *others])


def _kind(node):
    return KINDS.get(node.get_type_name(), OTHER if node.get_output_size() == 1 else SEVERAL)


def _ancestors(nodes):
    found, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [value.get_node() for value in node.input_values()]
    return found
