# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Squeeze and excitation (Hu et al. 2017, arXiv:1709.01507)."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import paddle
from paddle import nn

from .conv2d import conv2d


class SqueezeExcite(nn.Layer):
    """[B, chs, H, W] -> the same shape: each channel times a gate in [0, 1] that sees the means of all channels.

    Args:
        chs: of the map.
        reduced_chs: channels between the two 1x1 convolutions (both with a bias).
        act, gate: make the activation between them and the one after them.
        names: of the two convolutions; timm's differ from family to family.
    """

    def __init__(self, chs: int, reduced_chs: int, act: Callable[[], nn.Layer] = nn.ReLU,
                 gate: Callable[[], nn.Layer] = nn.Sigmoid, names: Sequence[str] = ("conv_reduce", "conv_expand")):
        super().__init__()
        self._names = tuple(names)
        self.add_sublayer(self._names[0], conv2d(chs, reduced_chs, 1, bias=True))
        self.add_sublayer(self._names[1], conv2d(reduced_chs, chs, 1, bias=True))
        self.act = act()
        self.gate = gate()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, chs, H, W] -> the same shape."""
        reduce, expand = (self._sub_layers[name] for name in self._names)
        # one axis at a time: Paddle's mean over both has a gradient ten times slower, and rounds ten times more
        means = x.mean(3, keepdim=True).mean(2, keepdim=True)
        return x * self.gate(expand(self.act(reduce(means))))
