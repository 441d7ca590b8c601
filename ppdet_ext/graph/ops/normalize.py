# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Normalisation with weights given as tensors."""
from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ._table import op
from ._values import Dims, Sizes, Tensor, axes, cast, dtype_of, sizes
from .padding import pad
from .reduce import vector_norm
from .shape import to_shape


def _scaled(x, weight, bias, shape):
    if weight is not None:
        x = x * paddle.reshape(weight, shape)
    return x if bias is None else x + paddle.reshape(bias, shape)


def _standardised(x, dims, eps):
    mean = paddle.mean(x, dims, True)
    centred = x - mean
    return centred * paddle.rsqrt(paddle.mean(centred * centred, dims, True) + eps)


def _per_channel(x):
    return [1, -1] + [1] * (x.ndim - 2)


@op("torch.nn.functional.batch_norm")
def batch_norm(x: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """In training, running statistics keep 1 - torch's momentum of themselves in Paddle.

    Without statistics (weight standardisation in timm's StdConv2d) the batch's own are used and none are kept.
    """
    if running_mean is None:
        return _scaled(_standardised(x, [0, *range(2, x.ndim)], eps), weight, bias, _per_channel(x))
    ones = paddle.ones_like(running_mean) if weight is None else weight
    zeros = paddle.zeros_like(running_mean) if bias is None else bias
    return F.batch_norm(x, running_mean, running_var, ones, zeros, training, 1.0 - momentum, eps)


@op("torch.nn.functional.layer_norm", "torch.layer_norm")
def layer_norm(x: Tensor, normalized_shape: Sizes, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5, cudnn_enable: bool = True) -> Tensor:
    """Paddle's weights are flat."""
    weight, bias = (w if w is None or w.ndim == 1 else paddle.flatten(w) for w in (weight, bias))
    return F.layer_norm(x, list(normalized_shape), weight, bias, eps)


@op("torch.nn.functional.group_norm", "torch.group_norm")
def group_norm(x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5, cudnn_enabled: bool = True) -> Tensor:
    """Paddle 2.6 has it as a layer only."""
    shape = sizes(x)
    grouped = to_shape(x, [shape[0], num_groups, x.shape[1] // num_groups, -1])
    return _scaled(to_shape(_standardised(grouped, [2, 3], eps), shape), weight, bias, _per_channel(x))


@op("torch.nn.functional.instance_norm")
def instance_norm(x: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
                  weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1,
                  eps: float = 1e-5) -> Tensor:
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _scaled(_standardised(x, list(range(2, x.ndim)), eps), weight, bias, _per_channel(x))


@op("torch.instance_norm")
def instance_norm_op(x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
                     use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool = True) -> Tensor:
    """The order in which torch's own operator has them."""
    return instance_norm(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@op("torch.nn.functional.rms_norm", "torch.rms_norm")
def rms_norm(x: Tensor, normalized_shape: Sizes, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """eps is the dtype's smallest step where none is given; the mean of squares is taken in float32."""
    dims = list(range(x.ndim - len(normalized_shape), x.ndim))
    eps = {"float64": 2.0 ** -52, "float16": 2.0 ** -10}.get(dtype_of(x), 2.0 ** -23) if eps is None else eps
    wide = cast(x, "float32") if dtype_of(x) in ("float16", "bfloat16") else x
    out = cast(wide * paddle.rsqrt(paddle.mean(wide * wide, dims, True) + eps), dtype_of(x))
    return out if weight is None else out * weight


@op("torch.nn.functional.normalize")
def normalize(x: Tensor, p: Any = 2.0, dim: Dims = 1, eps: float = 1e-12) -> Tensor:
    length = vector_norm(x, p, axes(x, dim), True)
    return x / paddle.clip(length, min=eps)


@op("torch.nn.functional.local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Over ``size`` neighbouring channels. Paddle's must know every size."""
    squares = pad(x * x, [0, 0] * (x.ndim - 2) + [size // 2, (size - 1) // 2])
    total = sum(squares[:, i:i + x.shape[1]] for i in range(size))
    return x / paddle.pow(k + alpha / size * total, beta)


@op("torch.cosine_similarity", "torch.nn.functional.cosine_similarity")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    return F.cosine_similarity(x1, x2, dim, eps)
