# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Random starts, in place. (Convolutions have theirs from ``conv2d``.)"""
import paddle


def normal_(parameter, std):
    """Fill from N(0, std)."""
    parameter.set_value(paddle.normal(0.0, std, parameter.shape))


def uniform_(parameter, bound):
    """Fill from U(-bound, bound)."""
    parameter.set_value(paddle.uniform(parameter.shape, min=-bound, max=bound))


def constant_(parameter, value):
    """Fill with one value."""
    parameter.set_value(paddle.full(parameter.shape, value))
