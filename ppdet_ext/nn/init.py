# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How parameters start: filled in place; convolutions have their own start from ``conv2d``."""
import paddle


def normal_(parameter: paddle.Tensor, std: float) -> None:
    """Fill a parameter of any shape from N(0, std)."""
    parameter.set_value(paddle.normal(0.0, std, parameter.shape))


def uniform_(parameter: paddle.Tensor, bound: float) -> None:
    """Fill a parameter of any shape from U(-bound, bound)."""
    parameter.set_value(paddle.uniform(parameter.shape, min=-bound, max=bound))


def constant_(parameter: paddle.Tensor, value: float) -> None:
    """Fill a parameter of any shape with one value."""
    parameter.set_value(paddle.full(parameter.shape, value))
