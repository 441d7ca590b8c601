# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.nn's normalisations. Paddle's momentum is 1 - torch's, and its running variance averages the biased one."""
from __future__ import annotations

from typing import Any, Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from ...kernels.transpose import transposed
from . import normalize
from ._leaf_args import only
from ._leaf_tools import Function, attr, channels, constant
from ._table import leaf
from ._values import Sizes, Tensor
from .padding import pad

BATCH_ARGS = ("num_features", "eps", "momentum", "weight", "running_mean")


class AnyBatchNorm(nn.BatchNorm2D):
    """BatchNorm over all but axis 1, of any number of dimensions."""

    def _check_input_dim(self, input):
        pass


def count_step(layer: nn.Layer) -> None:
    """torch's ``momentum=None``: the statistics are the plain mean over all training steps so far.

    Their number is torch's ``num_batches_tracked``, which Paddle's BatchNorm does not keep: here it counts from the
    start of the process.
    """
    if layer.training:
        layer.steps = getattr(layer, "steps", 0) + 1
        layer._momentum = 1 - 1 / layer.steps


class CumulativeBatchNorm(AnyBatchNorm):
    """See count_step."""

    def forward(self, x: Tensor) -> Tensor:
        count_step(self)
        return nn.BatchNorm2D.forward(self, x)


def batch_statistics_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    """torch's ``track_running_stats=False``: the batch's own statistics, in eval mode too."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    centred = x - x.mean(axes, keepdim=True)
    x = centred * paddle.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    return x if weight is None else x * channels(weight, x.ndim) + channels(bias, x.ndim)


def batch_norm(kind: type[nn.Layer]) -> Callable:
    """Builder of a BatchNorm that is ``kind`` in Paddle."""
    def build(num_features, eps, momentum, weight, running_mean):
        if not running_mean:
            return Norm(batch_statistics_norm, [num_features], eps, weight, weight)
        settings = dict(epsilon=eps, weight_attr=attr(weight), bias_attr=attr(weight))
        if momentum is None:
            return CumulativeBatchNorm(num_features, **settings)
        return kind(num_features, momentum=1 - momentum, **settings)

    return build


leaf("BatchNorm1d", args=BATCH_ARGS)(batch_norm(nn.BatchNorm1D))
leaf("BatchNorm2d", args=BATCH_ARGS)(batch_norm(nn.BatchNorm2D))
leaf("BatchNorm3d", args=BATCH_ARGS)(batch_norm(nn.BatchNorm3D))
# ppdet's own conversion makes it a Paddle SyncBatchNorm where several GPUs train; on one device they are the same
leaf("SyncBatchNorm", args=BATCH_ARGS)(batch_norm(AnyBatchNorm))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    flat = [None if each is None else each.reshape([-1]) for each in (weight, bias)]
    return F.layer_norm(x, shape, flat[0], flat[1], eps)


def layer_norm_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    """Over the channels of [B, C, H, W]."""
    return transposed(F.layer_norm(transposed(x, [0, 2, 3, 1]), shape, weight, bias, eps), [0, 3, 1, 2])


def rms_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    """x / rms over the last dimensions (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    return normalize.rms_norm(x, shape, weight, eps)


def rms_norm_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    """Over the channels of [B, C, H, W]."""
    x = x * paddle.rsqrt((x * x).mean(1, keepdim=True) + eps)
    return x if weight is None else x * channels(weight)


def simple_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    """x / standard deviation over the last dimensions, unbiased, mean kept."""
    x = x * paddle.rsqrt(paddle.var(x, list(range(-len(shape), 0)), unbiased=True, keepdim=True) + eps)
    return x if weight is None else x * weight


def simple_norm_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    """Over the channels of [B, C, H, W]."""
    x = x * paddle.rsqrt(paddle.var(x, 1, unbiased=True, keepdim=True) + eps)
    return x if weight is None else x * channels(weight)


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes, groups: int) -> Tensor:
    """Written out: without a weight Paddle's gradient of x is wrong (3.3.1 on a CPU), and 2.6 has no function."""
    return normalize.group_norm(x, groups, weight, bias, eps)


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, shape: Sizes) -> Tensor:
    return F.instance_norm(x, weight=weight, bias=bias, eps=eps)


class Norm(nn.Layer):
    """A normalising function with torch's parameter names, then timm's ``drop`` and ``act`` where there are any.

    Args:
        function: ``f(x, weight, bias, eps, shape, **settings)``.
        shape: of ``weight`` and ``bias``, each there or not.
        fp32: compute in float32 whatever the input, and give back the input's type.
    """

    def __init__(self, function: Callable, shape: Sizes, eps: float, weight: bool = True, bias: bool = False,
                 fp32: bool = False, drop: nn.Layer | None = None, act: nn.Layer | None = None,
                 **settings: Any) -> None:
        super().__init__()
        self.function = function
        self.shape = list(shape)
        self.eps = eps
        self.fp32 = fp32
        self.settings = settings
        self.weight = constant(self, shape, 1) if weight else None
        self.bias = constant(self, shape, 0) if bias else None
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        given: Any = (x, self.weight, self.bias)
        if self.fp32:
            given = [None if each is None else each.astype("float32") for each in given]
        y = self.function(*given, self.eps, self.shape, **self.settings)
        y = y.astype(x.dtype) if self.fp32 else y
        y = y if self.drop is None else self.drop(y)
        return y if self.act is None else self.act(y)

    def extra_repr(self) -> str:
        return f"{self.function.__name__}, {self.shape}, eps={self.eps}"


@leaf("LayerNorm", args=("normalized_shape", "eps", "weight", "bias"))
def layer_norm_leaf(normalized_shape: Sizes, eps: float, weight: bool, bias: bool) -> nn.Layer:
    if len(normalized_shape) > 1:  # Paddle's own keeps the parameters flat
        return Norm(layer_norm, normalized_shape, eps, weight, bias)
    return nn.LayerNorm(normalized_shape, eps, weight_attr=attr(weight), bias_attr=attr(bias))


@leaf("GroupNorm", "GroupNorm1", args=("num_groups", "num_channels", "eps", "weight"))
def group_norm_leaf(num_groups: int, num_channels: int, eps: float, weight: bool) -> nn.Layer:
    if not weight:  # Paddle's own makes the parameters anyhow
        return Norm(group_norm, [num_channels], eps, False, False, groups=num_groups)
    return nn.GroupNorm(num_groups, num_channels, eps)


@leaf("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", args=("num_features", "eps", "weight"))
def instance_norm_leaf(num_features: int, eps: float, weight: bool) -> nn.Layer:
    return Norm(instance_norm, [num_features], eps, weight, weight)


only("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", track_running_stats=(False,))


@leaf("RMSNorm", args=("normalized_shape", "eps", "weight"))
def rms_norm_leaf(normalized_shape: Sizes, eps: float, weight: bool) -> nn.Layer:
    return Norm(rms_norm, normalized_shape, eps, weight)


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: int) -> Tensor:
    """x / (k + alpha * mean of squares over ``size`` neighbouring channels) ** beta; written out for open sizes."""
    count = x.shape[1]
    squares = pad(x * x, [0, 0] * (x.ndim - 2) + [size // 2, (size - 1) // 2])
    total = sum(squares[:, i:i + count] for i in range(size))
    return x / paddle.pow(total * (alpha / size) + k, beta)


@leaf("LocalResponseNorm", args=("size", "alpha", "beta", "k"))
def local_response_norm_leaf(**settings: Any) -> nn.Layer:
    return Function(local_response_norm, **settings)
