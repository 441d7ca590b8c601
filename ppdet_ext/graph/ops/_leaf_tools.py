# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What several leaf files share: a function as a layer, parameters and their shapes, padding."""
from __future__ import annotations

from typing import Any, Callable

import paddle
from paddle import nn

from ._values import Sizes, Tensor
from .padding import pad_same


def attr(present: bool) -> bool | None:
    """Paddle's ``weight_attr`` / ``bias_attr`` for a parameter that is there or not."""
    return None if present else False


def channels(parameter: Tensor, ndim: int = 4) -> Tensor:
    """A vector [C] as [1, C, 1, ...] for an input of ``ndim`` dimensions."""
    return parameter.reshape([1, -1] + [1] * (ndim - 2))


def padded_same(x: Tensor, kernel_size: Sizes, stride: Sizes, dilation: Sizes = (1, 1)) -> Tensor:
    """``padding.pad_same`` of [B, C, H, W] that keeps the number of channels known (Paddle 2.6 forgets it)."""
    return pad_same(x, kernel_size, stride, dilation).reshape([0, x.shape[1], 0, 0])


def constant(layer: nn.Layer, shape: Sizes, value: float) -> Tensor:
    """A parameter of ``layer`` that starts with one value."""
    return layer.create_parameter(list(shape), default_initializer=paddle.nn.initializer.Constant(float(value)))


class Function(nn.Layer):
    """A function of one tensor as a layer, with the settings it was given."""

    def __init__(self, function: Callable, **settings: Any) -> None:
        super().__init__()
        self.function = function
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join([self.function.__name__] + [f"{key}={value}" for key, value in self.settings.items()])
