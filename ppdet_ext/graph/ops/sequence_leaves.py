# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""torch.nn's recurrent layers and its multi-head attention."""
from __future__ import annotations

from typing import Any

import paddle
from paddle import nn
from paddle.jit import not_to_static
from paddle.nn import functional as F

from ...kernels.transpose import transposed
from ._leaf_args import only
from ._leaf_tools import attr
from ._table import leaf
from ._values import Tensor, sizes
from .shape import to_shape

RNN_ARGS = ("input_size", "hidden_size", "num_layers", "batch_first", "dropout", "bidirectional")


class Settled:
    """A recurrent layer without its cells: the parameters are its own too, under torch's names, and those stay."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._sub_layers.clear()  # type: ignore[attr-defined]  # of the layer it is mixed into
        self._dropout_state = paddle.zeros([1], "uint8")  # Paddle's own has no memory, at which ``to`` fails

    def __bool__(self):  # an empty LayerList counts as False, and to_static then loses ``self``
        return True


@not_to_static
def zero_states(layer: nn.Layer, x: Tensor) -> Tensor:
    """The first state, [layers * directions, B, hidden]."""
    batch = sizes(x)[1 if layer.time_major else 0]
    return paddle.zeros([layer.num_layers * layer.num_directions, batch, layer.hidden_size], x.dtype)


class LSTM(Settled, nn.LSTM):
    """Paddle's, with torch's parameter names and open batch sizes in a static graph."""

    def forward(self, x: Tensor, states: Any = None) -> Any:  # type: ignore[override]  # lengths are not used
        return nn.LSTM.forward(self, x, states or (zero_states(self, x), zero_states(self, x)))


class GRU(Settled, nn.GRU):
    """See LSTM."""

    def forward(self, x: Tensor, states: Any = None) -> Any:  # type: ignore[override]  # lengths are not used
        return nn.GRU.forward(self, x, zero_states(self, x) if states is None else states)


for name, kind in (("LSTM", LSTM), ("GRU", GRU)):
    leaf(name, args=RNN_ARGS)(
        lambda input_size, hidden_size, num_layers, batch_first, dropout, bidirectional, kind=kind:
        kind(input_size, hidden_size, num_layers, "bidirect" if bidirectional else "forward",
             time_major=not batch_first, dropout=dropout))
    only(name, proj_size=(0,), bias=(True,))


class MultiheadAttention(nn.Layer):
    """torch.nn.MultiheadAttention: one projection ``in_proj_weight`` [3E, E] of queries, keys and values.

    ``forward`` returns (output, weights or None), [B, L, E] with ``batch_first``, else [L, B, E]. Masks are True (or
    -inf) where a key must not be looked at.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float, bias: bool, batch_first: bool) -> None:
        super().__init__()
        self.heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.in_proj_weight = self.create_parameter([3 * embed_dim, embed_dim])
        self.in_proj_bias = self.create_parameter([3 * embed_dim], is_bias=True) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias_attr=attr(bias))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
                need_weights: bool = True, attn_mask: Tensor | None = None,
                average_attn_weights: bool = True, is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
        inputs: Any = (query, key, value)
        if not self.batch_first:
            inputs = [transposed(each, [1, 0, 2]) for each in inputs]
        query, key, value = self._projected(inputs)
        scores = paddle.matmul(query, key, transpose_y=True)
        for mask in (attn_mask, None if key_padding_mask is None else key_padding_mask.unsqueeze([1, 2])):
            scores = scores if mask is None else scores + self._addend(mask, scores)
        weights = F.dropout(F.softmax(scores, -1), self.dropout, training=self.training)
        out = self.out_proj(paddle.flatten(transposed(paddle.matmul(weights, value), [0, 2, 1, 3]), 2))
        out = out if self.batch_first else transposed(out, [1, 0, 2])
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights

    def _projected(self, inputs):
        """Queries (scaled), keys and values as [B, heads, L, E / heads]."""
        weights = paddle.split(self.in_proj_weight, 3)
        biases = [None] * 3 if self.in_proj_bias is None else paddle.split(self.in_proj_bias, 3)
        heads = []
        for x, weight, bias in zip(inputs, weights, biases):
            y = F.linear(x, weight.t(), bias)
            y = y.reshape([0, 0, self.heads, weight.shape[0] // self.heads])
            heads.append(transposed(y, [0, 2, 1, 3]))
        return heads[0] * heads[0].shape[-1] ** -0.5, heads[1], heads[2]

    @not_to_static
    def _addend(self, mask, scores):
        if mask.dtype == paddle.bool:
            zero = paddle.zeros([], scores.dtype)
            mask = paddle.where(mask, zero - float("inf"), zero)
        if mask.ndim == 3:  # [B * heads, L, S]
            batch, _heads, *rest = sizes(scores)
            mask = to_shape(mask, [batch, self.heads, *rest])
        return mask


@leaf("MultiheadAttention", args=("embed_dim", "num_heads", "dropout", "in_proj_bias", "batch_first"))
def multihead_attention(embed_dim: int, num_heads: int, dropout: float, in_proj_bias: bool,
                        batch_first: bool) -> nn.Layer:
    return MultiheadAttention(embed_dim, num_heads, dropout, in_proj_bias, batch_first)


only("MultiheadAttention", _qkv_same_embed_dim=(True,), bias_k=(None,), bias_v=(None,), add_zero_attn=(False,))
