# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm's and torchvision's normalisations, those with an activation inside among them."""
from __future__ import annotations

from typing import Any, Callable

import paddle
from paddle import nn

from . import norm_leaves as norms
from ._leaf_tools import attr, channels
from ._table import leaf
from ._values import Sizes, Tensor
from .norm_leaves import Norm

SHAPED = ("normalized_shape", "eps", "weight", "bias")
ACT = ("drop", "act")


def shaped(function: Callable, fp32: bool = False) -> Callable:
    """Builder of a Norm over ``normalized_shape``; which parameters it has, the torch module says."""
    def build(normalized_shape, eps, weight, bias=False, drop=None, act=None):
        return Norm(function, normalized_shape, eps, weight, bias, fp32, drop, act)

    return build


# function -> the classes that compute in the input's type, those that compute in float32
NORMS = {
    norms.layer_norm: (("LayerNormAct",), ("LayerNormFp32", "LayerNormActFp32")),
    norms.layer_norm_2d: (("LayerNorm2d", "LayerNormExp2d", "LayerNormAct2d"),
                          ("LayerNorm2dFp32", "LayerNormAct2dFp32")),
    norms.rms_norm: (("RmsNorm", "RmsNormAct"), ("RmsNormFp32", "RmsNormActFp32")),
    norms.rms_norm_2d: (("RmsNorm2d", "RmsNormAct2d"), ("RmsNorm2dFp32", "RmsNormAct2dFp32")),
    norms.simple_norm: (("SimpleNorm",), ("SimpleNormFp32",)),
    norms.simple_norm_2d: (("SimpleNorm2d",), ("SimpleNorm2dFp32",)),
}
for function, kinds in NORMS.items():
    for fp32, names in enumerate(kinds):
        leaf(*names, args=SHAPED, children=ACT)(shaped(function, bool(fp32)))


@leaf("GroupNormAct", "GroupNorm1Act", args=("num_groups", "num_channels", "eps", "weight"), children=ACT)
def group_norm_act(num_groups: int, num_channels: int, eps: float, weight: bool, drop: nn.Layer | None = None,
                   act: nn.Layer | None = None) -> nn.Layer:
    return Norm(norms.group_norm, [num_channels], eps, weight, weight, drop=drop, act=act, groups=num_groups)


def followed(norm: nn.Layer, x: Tensor) -> Tensor:
    """``drop`` and ``act`` where the norm has them: it has no sub-layer of that name otherwise."""
    drop, act = norm._sub_layers.get("drop"), norm._sub_layers.get("act")
    x = x if drop is None or type(drop) is nn.Identity else drop(x)  # a call costs a small network 1 % of its time
    return x if act is None or type(act) is nn.Identity else act(x)


class BatchNormAct2d(nn.BatchNorm2D):
    """BatchNorm, then ``drop`` and ``act``.

    Paddle's ``SyncBatchNorm.convert_sync_batchnorm`` would drop what comes after the norm: see ``sync_batch_norms``.
    """

    def __init__(self, num_features: int, drop: nn.Layer | None = None, act: nn.Layer | None = None,
                 **settings: Any) -> None:
        super().__init__(num_features, **settings)
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return followed(self, nn.BatchNorm2D.forward(self, x))


class CumulativeBatchNormAct2d(BatchNormAct2d):
    """See norm_leaves.count_step."""

    def forward(self, x: Tensor) -> Tensor:
        norms.count_step(self)
        return BatchNormAct2d.forward(self, x)


class SyncBatchNormAct2d(nn.SyncBatchNorm):
    """BatchNormAct2d with statistics over all processes."""

    def forward(self, x: Tensor) -> Tensor:
        return followed(self, nn.SyncBatchNorm.forward(self, x))


def sync_batch_norms(layer: nn.Layer) -> nn.Layer:
    """Paddle's conversion of all BatchNorms in ``layer``, with the activations that BatchNormAct2d keeps inside."""
    acting = {path for path, sub in layer.named_sublayers(include_self=True) if isinstance(sub, BatchNormAct2d)}
    layer = nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    for path, sub in layer.named_sublayers(include_self=True):
        if path in acting:
            sub.__class__ = SyncBatchNormAct2d  # Paddle has put drop and act under it as sub-layers
    return layer


@leaf("BatchNormAct2d", "SyncBatchNormAct", args=norms.BATCH_ARGS, children=ACT)
def batch_norm_act(num_features: int, eps: float, momentum: float, weight: bool, running_mean: bool,
                   drop: nn.Layer | None = None, act: nn.Layer | None = None) -> nn.Layer:
    if not running_mean:
        return Norm(norms.batch_statistics_norm, [num_features], eps, weight, weight, drop=drop, act=act)
    settings = dict(epsilon=eps, weight_attr=attr(weight), bias_attr=attr(weight))
    if momentum is None:
        return CumulativeBatchNormAct2d(num_features, drop, act, **settings)
    return BatchNormAct2d(num_features, drop, act, momentum=1 - momentum, **settings)


class FrozenBatchNorm2d(nn.Layer):
    """A BatchNorm whose statistics and parameters are buffers and never move."""

    def __init__(self, num_features: int, eps: float, drop: nn.Layer | None = None,
                 act: nn.Layer | None = None) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("_mean", 0.0), ("_variance", 1.0)):
            self.register_buffer(name, paddle.full([num_features], value, "float32"))
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * paddle.rsqrt(self._variance + self.eps)
        x = x * channels(scale) + channels(self.bias - self._mean * scale)
        x = x if self.drop is None else self.drop(x)
        return x if self.act is None else self.act(x)


@leaf("FrozenBatchNorm2d", "FrozenBatchNormAct2d", args=("eps", "weight.shape"), children=ACT)
def frozen_batch_norm(eps: float, weight_shape: Sizes, drop: nn.Layer | None = None,
                      act: nn.Layer | None = None) -> nn.Layer:
    return FrozenBatchNorm2d(weight_shape[0], eps, drop, act)
