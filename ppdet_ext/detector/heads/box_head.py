# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Box heads: from tokens to boxes, each one refining the box that its token had before."""
from __future__ import annotations

from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F
from ppdet.modeling.heads.detr_head import MLP
from ppdet.modeling.initializer import constant_

from ...registry import register_over


class BoxHead(nn.Layer):
    """Base of the box heads, made as ``Head(hidden_dim=C, **settings of the config)``.

    Its two halves are apart because in training one forward is decoded twice: from the last box with and without its
    gradient.
    """

    def forward(self, tokens: paddle.Tensor) -> Any:
        """Tokens [B, Q, C] -> what ``decode`` takes; here moves [B, Q, 4] in float32."""
        raise NotImplementedError

    def decode(self, moves: Any, raw_boxes: paddle.Tensor) -> paddle.Tensor:
        """The refined boxes.

        Args:
            moves: what ``forward`` gave.
            raw_boxes: [B, Q, 4] float32, the boxes before (cx, cy, w, h), before the sigmoid.

        Returns:
            [B, Q, 4] float32, before the sigmoid.
        """
        return moves + raw_boxes


@register_over
class MLPBoxHead(BoxHead):
    """RT-DETR's: a small network gives four numbers, which are added to the box before the sigmoid.

    Args:
        hidden_dim: C, of the tokens and between the layers.
        num_layers: of the network.
    """

    def __init__(self, hidden_dim: int = 256, num_layers: int = 3):
        super().__init__()
        self.layers = MLP(hidden_dim, hidden_dim, 4, num_layers).layers
        # at the start it moves nothing
        constant_(self.layers[-1].weight)
        constant_(self.layers[-1].bias)

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Tokens [B, Q, C] -> moves [B, Q, 4].

        They are float32 also under mixed precision: half precision would place boxes to a third of a pixel at 640.
        """
        *hidden, last = self.layers
        for layer in hidden:
            tokens = F.relu(layer(tokens))
        return last(tokens).astype('float32')
