# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Random weights as timm starts its networks."""
import math

import paddle
from paddle import nn


def normal_(parameter, std):
    """Fill in place from N(0, std)."""
    parameter.set_value(paddle.normal(0.0, std, parameter.shape))


def uniform_(parameter, bound):
    """Fill in place from U(-bound, bound)."""
    parameter.set_value(paddle.uniform(parameter.shape, min=-bound, max=bound))


def constant_(parameter, value):
    """Fill in place with one value."""
    parameter.set_value(paddle.full(parameter.shape, value))


def init_convs(net, per_group=False):
    """Kaiming normal over the outputs (He et al. 2015) for every Conv2D of ``net``, biases zero.

    ``per_group`` counts the outputs of one group only, as TensorFlow's EfficientNet code does.
    """
    for layer in net.sublayers():
        if isinstance(layer, nn.Conv2D):
            out_chs, _, height, width = layer.weight.shape
            fan_out = out_chs * height * width // (layer._groups if per_group else 1)
            normal_(layer.weight, math.sqrt(2.0 / fan_out))
            if layer.bias is not None:
                constant_(layer.bias, 0.0)
