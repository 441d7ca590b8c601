# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.nn's pools: Paddle's layers where they agree, the functions of ``pool`` where they do not."""
from __future__ import annotations

from typing import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from . import pool  # noqa: F401  registers the functions
from ._leaf_args import only
from ._leaf_tools import Function
from ._table import OPS, leaf
from ._values import Tensor

MAX_ARGS = ("kernel_size", "stride", "padding", "ceil_mode")
AVG_ARGS = MAX_ARGS + ("count_include_pad", "divisor_override")
MAX_POOLS = {1: nn.MaxPool1D, 2: nn.MaxPool2D, 3: nn.MaxPool3D}
# the kernels: over three axes of a 5-D tensor the gradient of paddle.amax is memory that nobody wrote (3.3.1, CPU)
MAX_KERNELS = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
AVG_POOLS = {1: nn.AvgPool1D, 2: nn.AvgPool2D, 3: nn.AvgPool3D}


def max_pool(dims: int) -> Callable:
    """Builder for one number of dimensions."""
    def build(kernel_size, stride, padding, ceil_mode):
        if ceil_mode:
            return Function(OPS[f"torch.nn.functional.max_pool{dims}d"].function, kernel_size=kernel_size,
              stride=stride,
                            padding=padding, ceil_mode=True)
        return MAX_POOLS[dims](kernel_size, stride, padding)

    return build


def avg_pool(dims: int) -> Callable:
    """Builder for one number of dimensions."""
    def build(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
        if ceil_mode or divisor_override:
            settings = {"divisor_override": divisor_override} if dims > 1 else {}
            return Function(OPS[f"torch.nn.functional.avg_pool{dims}d"].function, kernel_size=kernel_size,
              stride=stride,
                            padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad, **settings)
        return AVG_POOLS[dims](kernel_size, stride, padding, exclusive=not count_include_pad)

    return build


def reduced(x: Tensor, reduce: Callable, sizes: list[int | None]) -> Tensor:
    """The last dimensions, each as it is (None) or reduced to one (1); one at a time, see MAX_KERNELS."""
    for axis, size in enumerate(sizes, -len(sizes)):
        x = x if size is None else reduce(x, axis, keepdim=True)
    return x


def adaptive(function: Callable, reduce: Callable) -> Callable:
    """Builder of an adaptive pool. (Paddle's cannot keep a size that a static graph leaves open.)"""
    def build(output_size):
        if isinstance(output_size, list) and None in output_size and set(output_size) <= {None, 1}:
            return Function(reduced, reduce=reduce, sizes=output_size)
        return Function(function, output_size=output_size)

    return build


for dims in (1, 2, 3):
    leaf(f"MaxPool{dims}d", args=MAX_ARGS)(max_pool(dims))
    leaf(f"AvgPool{dims}d", args=AVG_ARGS)(avg_pool(dims))
    only(f"MaxPool{dims}d", dilation=(1, [1] * dims), return_indices=(False,))
    only(f"AdaptiveMaxPool{dims}d", return_indices=(False,))
    leaf(f"AdaptiveAvgPool{dims}d", args=("output_size",))(
        adaptive(OPS[f"torch.nn.functional.adaptive_avg_pool{dims}d"].function, paddle.mean))
    leaf(f"AdaptiveMaxPool{dims}d", args=("output_size",))(adaptive(MAX_KERNELS[dims], paddle.amax))
