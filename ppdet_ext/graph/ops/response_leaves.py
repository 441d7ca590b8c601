# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""timm's norms that are their own activation: EvoNorm (arXiv:2004.02967) and FilterResponseNorm (arXiv:1911.09737)."""
from __future__ import annotations

from typing import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from ._leaf_tools import channels, constant
from ._table import leaf
from ._values import Sizes, Tensor


def mean_square(x: Tensor) -> Tensor:
    return (x * x).mean([2, 3], keepdim=True)


def variance(x: Tensor, axes: list[int]) -> Tensor:
    """Biased, with the axes kept."""
    centred = x - x.mean(axes, keepdim=True)
    return (centred * centred).mean(axes, keepdim=True)


def grouped(x: Tensor, groups: int, statistic: Callable) -> Tensor:
    """``statistic`` [B, groups, 1] of every group of channels, given to each of its channels: [B, C, 1, 1]."""
    count = x.shape[1]
    value = statistic(x.reshape([0, groups, -1]))
    return value.expand([-1, -1, count // groups]).reshape([0, count, 1, 1])


def group_variance(x: Tensor) -> Tensor:
    return variance(x, [2])


def group_mean_square(x: Tensor) -> Tensor:
    return (x * x).mean(2, keepdim=True)


class Affine(nn.Layer):
    """What all share: ``weight`` and ``bias`` of every channel, perhaps ``v`` or ``tau``, perhaps an activation."""

    def __init__(self, features: int, eps: float, extra: str = "", start: float = 1.0,
                 act: nn.Layer | None = None) -> None:
        super().__init__()
        self.features = features
        self.eps = eps
        self.weight = constant(self, [features], 1)
        self.bias = constant(self, [features], 0)
        if extra:
            setattr(self, extra, constant(self, [features], start))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.normalised(x) * channels(self.weight) + channels(self.bias)

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"


class EvoNormBatch(Affine):
    """EvoNorm-B0, B1, B2: x / max(batch deviation, another measure of x). ``momentum`` is torch's.

    The running variance averages the unbiased one, as timm's does.
    """

    def __init__(self, features: int, eps: float, momentum: float, apply_act: bool, kind: str) -> None:
        super().__init__(features, eps, extra="v" if kind == "B0" and apply_act else "")
        self.momentum = momentum
        self.apply_act = apply_act
        self.other = getattr(self, f"_{kind.lower()}")
        self.register_buffer("_variance", paddle.ones([features]))

    def normalised(self, x: Tensor) -> Tensor:
        if not self.apply_act:
            return x
        deviation = paddle.sqrt(self._batch_variance(x) + self.eps)
        return x / paddle.maximum(deviation.expand_as(x), self.other(x).expand_as(x))

    def _batch_variance(self, x):
        if not self.training:
            return channels(self._variance)
        batch = variance(x, [0, 2, 3])
        count = paddle.numel(x).astype(x.dtype) / self.features
        with paddle.no_grad():
            step = self.momentum * batch.detach().flatten() * (count / (count - 1))
            paddle.assign(self._variance * (1 - self.momentum) + step, self._variance)
        return batch

    def _b0(self, x):
        return x * channels(self.v) + paddle.sqrt(variance(x, [2, 3]) + self.eps)

    def _b1(self, x):
        return (x + 1) * paddle.sqrt(mean_square(x) + self.eps)

    def _b2(self, x):
        return paddle.sqrt(mean_square(x) + self.eps) - x


class EvoNormSample(Affine):
    """EvoNorm-S0, S1, S2: an activation of x over a group's deviation (S2: root mean square).

    Without activation nothing is normalised, but for the variants that end in a.
    """

    def __init__(self, features: int, eps: float, groups: int, active: bool, statistic: Callable, extra: str = "",
                 act: nn.Layer | None = None) -> None:
        super().__init__(features, eps, extra, act=act)
        self.groups = groups
        self.active = active
        self.statistic = statistic

    def normalised(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        measure = paddle.sqrt(grouped(x, self.groups, self.statistic) + self.eps)
        return self._activated(x) / measure

    def _activated(self, x):
        if self.act is not None:
            return self.act(x)
        return x * F.sigmoid(x * channels(self.v)) if hasattr(self, "v") else x


class FilterResponse(Affine):
    """x / rms over the places, then scale, shift, and an activation or a learnt threshold ``tau``."""

    def normalised(self, x: Tensor) -> Tensor:
        return x * paddle.rsqrt(mean_square(x) + self.eps)

    def forward(self, x: Tensor) -> Tensor:
        x = Affine.forward(self, x)
        if self.act is not None:
            return self.act(x)
        return paddle.maximum(x, channels(self.tau)) if hasattr(self, "tau") else x


for kind in ("B0", "B1", "B2"):
    leaf(f"EvoNorm2d{kind}", args=("weight.shape", "eps", "momentum", "apply_act"))(
        lambda weight_shape, eps, momentum, apply_act, kind=kind:
        EvoNormBatch(weight_shape[0], eps, momentum, apply_act, kind))


@leaf("EvoNorm2dS0", args=("weight.shape", "eps", "groups", "v"))
def evo_norm_s0(weight_shape: Sizes, eps: float, groups: int, v: bool) -> nn.Layer:
    return EvoNormSample(weight_shape[0], eps, groups, v, group_variance, "v" if v else "")


@leaf("EvoNorm2dS0a", args=("weight.shape", "eps", "groups", "v"))
def evo_norm_s0a(weight_shape: Sizes, eps: float, groups: int, v: bool) -> nn.Layer:
    return EvoNormSample(weight_shape[0], eps, groups, True, group_variance, "v" if v else "")


for name, statistic in (("EvoNorm2dS1", group_variance), ("EvoNorm2dS2", group_mean_square)):
    leaf(name, args=("weight.shape", "eps", "groups", "apply_act"), children=("act",))(
        lambda weight_shape, eps, groups, apply_act, act, statistic=statistic:
        EvoNormSample(weight_shape[0], eps, groups, apply_act, statistic, act=act))
    leaf(f"{name}a", args=("weight.shape", "eps", "groups"), children=("act",))(
        lambda weight_shape, eps, groups, act, statistic=statistic:
        EvoNormSample(weight_shape[0], eps, groups, True, statistic, act=act))


@leaf("FilterResponseNormAct2d", args=("weight.shape", "eps"), children=("act",))
def filter_response_norm_act(weight_shape: Sizes, eps: float, act: nn.Layer) -> nn.Layer:
    return FilterResponse(weight_shape[0], eps, act=act)


@leaf("FilterResponseNormTlu2d", args=("weight.shape", "eps", "tau"))
def filter_response_norm_tlu(weight_shape: Sizes, eps: float, tau: bool) -> nn.Layer:
    return FilterResponse(weight_shape[0], eps, "tau" if tau else "", 0.0)
