# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Operations of one forward pass, counted one by one in the static program that Paddle makes of a network.

The convention is that of timm's ``infer_gmacs`` and torchvision's ``GFLOPS``: a multiplication with its addition is
one, and convolutions and matrix products count. Papers of detectors count it as two: RT-DETR-R50's 136 GFLOPs are 68
GMACs here.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import paddle
from paddle import nn
from paddle.static import InputSpec

from .. import kernels
from ..errors import UserError
from ..nn.norms import STATISTICS

Shape = Sequence[int]


class Call(NamedTuple):
    """An operation of a program: its name without dialect, shapes of its inputs and outputs, attributes."""

    name: str
    inputs: list[Shape]
    outputs: list[Shape]
    attributes: dict[str, Any]


class Operations(NamedTuple):
    """What a forward pass of one image computes.

    Attributes:
        macs: {kind: multiplications, each with its addition}; kinds as ``kind_of`` gives them.
        calls: {operation: how often it stands in the program}, those that do not count among them.
    """

    macs: dict[str, int]
    calls: dict[str, int]

    @property
    def gmacs(self) -> float:
        """Thousands of millions of multiplications with their additions, as timm and torchvision publish."""
        return sum(self.macs.values()) / 1e9

    @property
    def gflops(self) -> float:
        """The same with multiplication and addition counted apart, as papers of detectors do."""
        return 2 * self.gmacs


def _times(*shapes: Shape) -> int:
    """The product of all sides; ValueError where one is not known."""
    sides = [side for shape in shapes for side in shape]
    if any(side < 0 for side in sides):
        raise ValueError("an unknown side")
    return math.prod(sides)


def _convolution(call: Call) -> int:
    return _times(call.outputs[0], call.inputs[1][1:])


def _transposed_convolution(call: Call) -> int:
    return _times(call.inputs[0], call.inputs[1][1:])


def _product(call: Call) -> int:
    first, transposed = call.inputs[0], call.attributes.get("transpose_x", call.attributes.get("trans_x", False))
    return _times(call.outputs[0], [first[-2 if transposed and len(first) > 1 else -1]])


def _flattened_product(call: Call) -> int:
    return _times(call.outputs[0], call.inputs[1][:1])


def _einsum(call: Call) -> int:
    letters = call.attributes["equation"].replace(" ", "").partition("->")[0].split(",")
    sides = {letter: side for word, shape in zip(letters, call.inputs) for letter, side in zip(word, shape)}
    return _times(list(sides.values()))


def _attention(call: Call) -> int:
    """[batch, tokens, heads, width] of queries and of values: one product with the keys, one with the values."""
    query, key, value = call.inputs[:3]
    return _times(query[:3], [key[1], query[3] + value[3]])


# the operations that count, by Paddle 3's names and, where they are others, by those of Paddle 2's programs
COUNTED: dict[str, Callable[[Call], int]] = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "conv3d", "deformable_conv"), _convolution),
    **dict.fromkeys(("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose"), _transposed_convolution),
    **dict.fromkeys(("matmul", "matmul_v2", "bmm", "mv", "dot"), _product),
    "mul": _flattened_product,
    "einsum": _einsum,
    "flash_attn": _attention, "memory_efficient_attention": _attention,
}
FILTERS = ("Filter", "Y")  # Paddle 2's names of a second input
NAMES = ("Input", "X", "Operands", "Q", "K", "V", *FILTERS)


def kind_of(call: Call) -> str:
    """'conv' (3x3 and the like), 'pointwise' (1x1), 'grouped', 'depthwise', 'linear' (times weights), 'attention'."""
    if "conv" not in call.name:
        return "linear" if call.name == "mul" or len(call.inputs[1]) < 3 else "attention"
    groups, weights = call.attributes.get("groups", 1), call.inputs[1]
    if groups > 1:
        return "depthwise" if weights[1] == 1 else "grouped"
    return "pointwise" if math.prod(weights[2:]) == 1 else "conv"


def count_parameters(layer: nn.Layer) -> int:
    """Weights of a network, without statistics of normalisation."""
    return sum(math.prod(parameter.shape) for name, parameter in layer.named_parameters()
               if not name.endswith(STATISTICS))


def count_backbone(net: nn.Layer, size: Sequence[int], channels: int = 3) -> Operations:
    """Operations of a network of create_model, or of any layer that takes an image, for one image.

    Args:
        size: (height, width) of the image.
        channels: of the image.

    Raises:
        UserError: the network takes no image of this size, or has loops whose length the program does not say.
    """
    return count(net, [InputSpec([1, channels, *size], "float32", "image")])


def count_detector(model: nn.Layer, size: Sequence[int]) -> Operations:
    """Operations of a whole detector in evaluation, its post-processing among them, for one image; see above."""
    inputs = {"image": InputSpec([1, 3, *size], "float32", "image")}
    inputs.update({name: InputSpec([1, 2], "float32", name) for name in ("im_shape", "scale_factor")})
    return count(model, [inputs])


def count(layer: nn.Layer, spec: list[Any]) -> Operations:
    """Operations of a layer in evaluation for inputs of a spec without unknown sides; the layer stays as it was."""
    training = [one for one in layer.sublayers(include_self=True) if one.training]
    own = vars(layer).get("forward")
    static: Any
    layer.eval()
    try:
        with kernels.disabled():  # the eager kernels have no part in a program
            static = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
            program = static.forward.concrete_program.main_program
        return _total(_calls(program))
    finally:
        vars(layer).pop("forward", None)  # to_static leaves its own there
        if own is not None:
            vars(layer)["forward"] = own
        for one in training:
            one.training = True


def _total(calls: Iterator[Call]) -> Operations:
    macs: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for call in calls:
        number[call.name] += 1
        if call.name in COUNTED:
            try:
                macs[kind_of(call)] += COUNTED[call.name](call)
            except ValueError:
                raise UserError(f"operations cannot be counted: the program does not know the sizes that {call.name} "
                                f"works on ({list(call.inputs[0])})") from None
    return Operations(dict(macs), dict(number))


def _calls(program: Any) -> Iterator[Call]:
    """The operations of a program of Paddle 3 or 2, those in its branches too."""
    block = program.global_block()
    if hasattr(block, "desc"):
        yield from (_call_of_paddle2(op, one) for one in program.blocks for op in one.ops)
    else:
        yield from _calls_of(block)


def _calls_of(block: Any) -> Iterator[Call]:
    for op in block.ops:
        name = op.name().rpartition(".")[2].rstrip("_")
        # shapes are asked for where they count: some operations' values have none
        shapes = name in COUNTED
        yield Call(name, _input_shapes(op) if shapes else [],
                   [_shape(one) for one in op.results()] if shapes else [], op.attrs() if shapes else {})
        for inner in op.blocks():
            yield from _calls_of(inner)


def _input_shapes(op: Any) -> list[Shape]:
    """Those of a list of tensors one by one: an operation 'combine' has made it."""
    sources = [one.source() for one in op.operands()]
    makers = [one.get_defining_op() for one in sources]
    return [list(tensor.shape) for source, maker in zip(sources, makers)
            for tensor in (maker.operands_source() if maker.name() == "builtin.combine" else [source])]


def _shape(value: Any) -> list[int]:
    try:
        return list(value.shape)
    except Exception:  # an output that is no tensor
        return []


def _call_of_paddle2(op: Any, block: Any) -> Call:
    if op.type not in COUNTED:
        return Call(op.type, [], [], {})
    names = [name for key in NAMES if key in op.input_names for name in op.input(key)]
    outputs = [name for key in op.output_names for name in op.output(key)]
    return Call(op.type, [list(block.var(name).shape) for name in names],
                [list(block.var(name).shape) for name in outputs[:1]], {key: op.attr(key) for key in op.attr_names})
