# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where torchvision's classification networks have their features, their first convolution and their classifier.

They have no features_only of their own. The rule: the last module, among those of the first two levels, whose output
is a map at 1/2, 1/4, ... 1/32 of the image. What the rule does not cover is data.
"""
from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from ..errors import UserError
from ..graph.graph import Graph, Node, Ref

if TYPE_CHECKING:
    from .tracer import Tracer

# first convolution and classifier by arch
ENDS = {
    "resnet*": ("conv1", "fc"), "resnext*": ("conv1", "fc"), "wide_resnet*": ("conv1", "fc"),
    "regnet*": ("stem.0", "fc"), "googlenet": ("conv1.conv", "fc"), "inception*": ("Conv2d_1a_3x3.conv", "fc"),
    "shufflenet*": ("conv1.0", "fc"), "alexnet": ("features.0", "classifier.6"), "vgg*": ("features.0", "classifier.6"),
    "densenet*": ("features.conv0", "classifier"), "squeezenet*": ("features.0", "classifier.1"),
    "mnasnet*": ("layers.0", "classifier.1"), "mobilenet_v2": ("features.0.0", "classifier.1"),
    "mobilenet_v3*": ("features.0.0", "classifier.3"), "efficientnet*": ("features.0.0", "classifier.1"),
    "convnext*": ("features.0.0", "classifier.2"), "swin*": ("features.0.0", "head"),
    "vit*": ("conv_proj", "heads.head"), "maxvit*": ("stem.0.0", "classifier.5"),
}
# modules that already belong to the classifier: 1x1 convolutions that widen the last features, pooling to a fixed size
HEADS = {
    "vgg*": ("avgpool",),
    "mobilenet_v2": ("features.18",), "mobilenet_v3_large": ("features.16",), "mobilenet_v3_small": ("features.12",),
    "efficientnet_v2_s": ("features.7",), "efficientnet*": ("features.8",), "shufflenet*": ("conv5",),
    "mnasnet*": ("layers.14", "layers.15", "layers.16"),
}
CHANNELS_LAST = ("swin*",)
# made for one image size, and the setting that changes it
FIXED = {"vit*": "image_size", "maxvit*": "input_size"}
BUILT_FOR = 224  # side of the image that they are made for where nothing is said
# in training these also compute auxiliary logits, which no feature depends on
AUXILIARY = ("googlenet", "inception_v3")
STRIDES = (2, 4, 8, 16, 32)


def ends(arch: str) -> dict[str, list[str]]:
    """{'first_conv': [path], 'classifier': [path]}."""
    first, last = _of(arch, ENDS, ((), ()))
    return {"first_conv": [first] if first else [], "classifier": [last] if last else []}


def size_setting(arch: str) -> str:
    """The constructor's name for the image size of a network that is made for one; '' for the others."""
    return _of(arch, FIXED, "")


def add_features(graph: Graph, tracer: Tracer, arch: str) -> None:
    """Make outputs['features'] and ``features`` of a traced plain network.

    Args:
        tracer: the Tracer that followed it; its ``module_outputs`` are looked through.
    """
    image = tuple(tracer.example.shape)
    taps = _token_taps(tracer) if arch.startswith("vit") else _map_taps(tracer, arch, image)
    if not taps:
        raise UserError(f"torchvision/{arch} gives no feature maps")
    refs = []
    for path, (node, shape), reduction in taps:
        node, channels = _as_map(graph, arch, node, shape, image, reduction)
        refs.append(Ref(node))
        graph.features.append({"num_chs": channels, "reduction": reduction, "module": path})
    if arch in AUXILIARY:
        graph.info["training_differs"] = []
    graph.outputs = {"features": refs, "logits": graph.outputs["output"]}


def _of(arch, table, default):
    return next((value for pattern, value in table.items() if fnmatch.fnmatchcase(arch, pattern)), default)


def _map_taps(tracer, arch, image):
    """[(path, (node, shape), stride)], finest first."""
    skipped = {"features", *_of(arch, HEADS, ())}
    classifier = _of(arch, ENDS, ("", "?"))[1].partition(".")[0]
    axis = 1 if _of(arch, dict.fromkeys(CHANNELS_LAST, True), False) else 2
    found = {}
    for path, (node, shape) in tracer.module_outputs.items():
        outside = path in skipped or path.partition(".")[0] == classifier
        if path.count(".") > 1 or outside or len(shape) != 4:
            continue
        stride = _stride(image[2], shape[axis])
        before = found.get(stride)
        if stride and not (before and before[1][0] == node and before[0].count(".") <= path.count(".")):
            found[stride] = (path, (node, shape))
    return [(*found[stride], stride) for stride in sorted(found)]


def _stride(image, size):
    """The power of two that a map's size comes from, also where unpadded convolutions took rows away; 0 for none."""
    return next((stride for stride in STRIDES if 0.85 * image / stride < size <= image / stride), 0)


def _token_taps(tracer):
    """The output of every encoder layer of a ViT."""
    layers = [(path, out) for path, out in tracer.module_outputs.items()
              if path.startswith("encoder.layers.") and path.count(".") == 2]
    patches = [out[1] for path, out in tracer.module_outputs.items() if path == "conv_proj"]
    return [(path, out, tracer.example.shape[2] // patches[0][2]) for path, out in layers]


def _as_map(graph, arch, node, shape, image, reduction):
    """Add the nodes that make a feature [B, C, H, W]; gives the last one's name and C."""
    def add(target, *args):
        name = f"{node}_map_{len(graph.nodes)}"
        graph.nodes.append(Node(name, "call", target, list(args)))
        return Ref(name)

    if len(shape) == 3:  # [B, 1 + H*W, C], the class token first
        height, width = image[2] // reduction, image[3] // reduction
        tokens = add("_operator.getitem", Ref(node), (slice(None), slice(1, None)))
        return str(add(".unflatten", add(".transpose", tokens, 1, 2), 2, [height, width])), shape[2]
    if _of(arch, dict.fromkeys(CHANNELS_LAST, True), False):
        return str(add(".permute", Ref(node), 0, 3, 1, 2)), shape[3]
    return node, shape[1]
