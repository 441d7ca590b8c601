# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the channels of a map."""
from paddle import nn
from paddle.nn import functional as F

from ..kernels.transpose import transposed


class LayerNorm2d(nn.LayerNorm):
    """[B, C, H, W] -> the same shape; each position is normalised over its channels."""

    def __init__(self, channels, epsilon=1e-6):
        super().__init__(channels, epsilon)

    def forward(self, x):
        x = F.layer_norm(transposed(x, [0, 2, 3, 1]), self._normalized_shape, self.weight, self.bias, self._epsilon)
        return transposed(x, [0, 3, 1, 2])
