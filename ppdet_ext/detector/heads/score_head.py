# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Score heads: from tokens to one logit for each class."""
from __future__ import annotations

import paddle
from paddle import nn
from ppdet.modeling.initializer import bias_init_with_prob, constant_, linear_init_

from ...registry import register_over

#: scores start at one per cent, which keeps the focal-type losses of the many background queries small
PRIOR = 0.01


class ScoreHead(nn.Layer):
    """Base of the score heads, made as ``Head(hidden_dim=C, num_classes=classes, **settings of the config)``."""

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Tokens [B, Q, C] -> logits [B, Q, classes], before the sigmoid."""
        raise NotImplementedError

    def reset_classes(self) -> None:
        """Fill all parameters that depend on the classes as at the start; called once before training, and when a
        checkpoint for other classes is loaded."""
        raise NotImplementedError


@register_over
class LinearScoreHead(nn.Linear, ScoreHead):
    """RT-DETR's: one linear layer."""

    def __init__(self, hidden_dim: int = 256, num_classes: int = 80):
        super().__init__(hidden_dim, num_classes)

    def reset_classes(self) -> None:
        """Uniform weights; every score starts at PRIOR."""
        linear_init_(self)
        constant_(self.bias, bias_init_with_prob(PRIOR))
