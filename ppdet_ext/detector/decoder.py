# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The decoder's layers: queries attend to each other and to the image, and each layer refines the boxes.

Parameters as PaddleDetection develop's ppdet/modeling/transformers/rtdetr_transformer.py.
"""
from __future__ import annotations

import copy
from collections.abc import Sequence

import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from ppdet.modeling.initializer import linear_init_, xavier_uniform_

from ..nn import layer_norm_without_decay, recomputed
from .attention import PPMSDeformableAttention
from .boxes import inverse_sigmoid
from .heads import BoxHead, ScoreHead
from .self_attention import MultiHeadAttention


class TransformerDecoderLayer(nn.Layer):
    """Self-attention among queries, deformable cross-attention to the memory, feed-forward; [B, Q, C] -> [B, Q, C].

    Args:
        d_model: C.
        n_head: heads of the self-attention.
        dim_feedforward: width of the feed-forward network.
        dropout: after each part.
        activation: of the feed-forward network, a name of paddle.nn.functional.
        cross_attn: the attention to the memory.
    """

    def __init__(self, d_model: int, n_head: int, dim_feedforward: int, dropout: float, activation: str,
                 cross_attn: PPMSDeformableAttention):
        super().__init__()
        self.self_attn = MultiHeadAttention(d_model, n_head, dropout=dropout)
        self.dropout1 = nn.Dropout(dropout)
        self.norm1 = layer_norm_without_decay(d_model)
        self.cross_attn = cross_attn
        self.dropout2 = nn.Dropout(dropout)
        self.norm2 = layer_norm_without_decay(d_model)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.activation = activation  # a name of paddle.nn.functional, looked up when it is used
        self.dropout3 = nn.Dropout(dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.dropout4 = nn.Dropout(dropout)
        self.norm3 = layer_norm_without_decay(d_model)
        for linear in (self.linear1, self.linear2):
            linear_init_(linear)
            xavier_uniform_(linear.weight)

    def forward(self, queries: paddle.Tensor, boxes: paddle.Tensor, memory: paddle.Tensor,
                spatial_shapes: Sequence[tuple[int, int]], attn_mask: paddle.Tensor | None,
                position: paddle.Tensor) -> paddle.Tensor:
        """One layer.

        Args:
            queries: [B, Q, C], their content.
            boxes: [B, Q, 1, 4], cx, cy, w, h in [0, 1], which the sampled points lie around.
            memory: [B, L, C], the tokens of all levels.
            spatial_shapes: (h, w) of each level.
            attn_mask: [Q, Q], what is added to the logits of the self-attention, or None.
            position: [B, Q, C], embeddings of the boxes.

        Returns:
            [B, Q, C]
        """
        placed = queries + position
        attended = self.self_attn(placed, placed, value=queries, attn_mask=attn_mask)
        queries = self.norm1(queries + self.dropout1(attended))
        attended = self.cross_attn(queries + position, boxes, memory, spatial_shapes)
        queries = self.norm2(queries + self.dropout2(attended))
        hidden = self.dropout3(getattr(F, self.activation)(self.linear1(queries)))
        return self.norm3(queries + self.dropout4(self.linear2(hidden)))


class TransformerDecoder(nn.Layer):
    """A stack of layers, each of which moves the boxes that the one before gave.

    Args:
        decoder_layer: cloned for each layer.
        num_layers: how many.
        eval_idx: the layer whose output counts outside training.
        recompute: while training, run the layers again in the backward pass, for less memory.
    """

    def __init__(self, decoder_layer: TransformerDecoderLayer, num_layers: int, eval_idx: int = -1,
                 recompute: bool = False):
        super().__init__()
        self.recompute = recompute
        self.layers = nn.LayerList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.eval_idx = eval_idx if eval_idx >= 0 else num_layers + eval_idx

    def forward(self, queries: paddle.Tensor, raw_boxes: paddle.Tensor, memory: paddle.Tensor,
                spatial_shapes: Sequence[tuple[int, int]], box_heads: Sequence[BoxHead],
                score_heads: Sequence[ScoreHead], query_pos_head: nn.Layer, attn_mask: paddle.Tensor | None = None,
                query_pos_head_inv_sig: bool = False) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Boxes and scores of the layers.

        Args:
            queries: [B, Q, C], their content.
            raw_boxes: [B, Q, 4], their boxes before the sigmoid.
            memory: [B, L, C], the tokens of all levels.
            spatial_shapes: (h, w) of each level.
            box_heads, score_heads: one of each for every layer.
            query_pos_head: boxes [B, Q, 4] -> position embeddings [B, Q, C].
            attn_mask: [Q, Q], what is added to the logits of the self-attention, or None.
            query_pos_head_inv_sig: query_pos_head gets the boxes before the sigmoid.

        Returns:
            boxes [layers, B, Q, 4] (cx, cy, w, h in [0, 1]) and logits [layers, B, Q, classes]: of every layer in
            training, of layer eval_idx otherwise.
        """
        boxes, logits = [], []
        # gradients reach a layer's boxes through its own head and the head before it, not through all before
        previous: paddle.Tensor | None = None
        detached = F.sigmoid(raw_boxes)
        for i, layer in enumerate(self.layers):
            position = query_pos_head(inverse_sigmoid(detached) if query_pos_head_inv_sig else detached)
            queries = self._run(layer, (spatial_shapes, attn_mask), queries, detached.unsqueeze(2), memory, position)
            moves = box_heads[i](queries)
            refined = F.sigmoid(box_heads[i].decode(moves, inverse_sigmoid(detached)))
            if self.training:
                logits.append(score_heads[i](queries))
                boxes.append(refined if previous is None else
                             F.sigmoid(box_heads[i].decode(moves, inverse_sigmoid(previous))))
            elif i == self.eval_idx:
                return refined.unsqueeze(0), score_heads[i](queries).unsqueeze(0)
            previous = refined
            detached = refined.detach() if self.training else refined
        return paddle.stack(boxes), paddle.stack(logits)

    def _run(self, layer, settings, *tensors):
        def call(queries, boxes, memory, position):
            return layer(queries, boxes, memory, *settings, position)
        return recomputed(call, [layer], *tensors) if self.recompute and self.training else call(*tensors)
