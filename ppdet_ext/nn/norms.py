# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Normalisation layers: over a map's channels, and such as regularizers leave alone."""
from typing import Any

import paddle
from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.regularizer import L2Decay

from ..kernels.transpose import transposed

#: ends of the names of BatchNorm's running statistics, which Paddle counts among the parameters
STATISTICS = ("._mean", "._variance")


def batch_norms(network: nn.Layer) -> list[Any]:
    """All batch normalisations inside a network."""
    return [layer for layer in network.sublayers() if isinstance(layer, nn.layer.norm._BatchNormBase)]


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the channels of each position of a map."""

    def __init__(self, channels: int, epsilon: float = 1e-6):
        super().__init__(channels, epsilon)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, C, H, W] -> the same shape."""
        x = F.layer_norm(transposed(x, [0, 2, 3, 1]), self._normalized_shape, self.weight, self.bias, self._epsilon)
        return transposed(x, [0, 3, 1, 2])


def batch_norm_without_decay(channels: int) -> nn.BatchNorm2D:
    """BatchNorm2D whose weight and bias no regularizer decays, as in PaddleDetection's RT-DETR.

    AdamW, which the recipes use, heeds no regularizer: it decays every parameter alike.
    """
    return nn.BatchNorm2D(channels, weight_attr=_no_decay(), bias_attr=_no_decay())


def layer_norm_without_decay(channels: int) -> nn.LayerNorm:
    """LayerNorm over the last axis; see ``batch_norm_without_decay``."""
    return nn.LayerNorm(channels, weight_attr=_no_decay(), bias_attr=_no_decay())


def _no_decay() -> ParamAttr:
    return ParamAttr(regularizer=L2Decay(0.0))
