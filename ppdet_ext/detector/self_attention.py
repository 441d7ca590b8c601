# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-head attention (https://arxiv.org/abs/1706.03762) with PaddleDetection's parameters and less copying."""
import paddle
import paddle.nn.functional as F
from ppdet.modeling import layers

from ..transpose import transposed


class MultiHeadAttention(layers.MultiHeadAttention):
    """Arguments and parameters as PaddleDetection's, without need_weights; queries, keys and values are of one width.

    Queries and keys of the same tensor come from one product, and the queries are scaled instead of the logits.
    """

    def forward(self, query, key=None, value=None, attn_mask=None):
        """
        Args:
            query: [B, Q, embed_dim].
            key, value: [B, K, embed_dim]; None for the query.
            attn_mask: what is added to the logits [B, heads, Q, K]; or where to look, as bool or int; or None.

        Returns:
            [B, Q, embed_dim]
        """
        value = query if value is None else value
        if key is None or key is query:
            q, k = self._project(query, 0, 2)
        else:
            (q,), (k,) = self._project(query, 0, 1), self._project(key, 1, 2)
        v, = self._project(value, 2, 3)
        logits = paddle.matmul(q * self.head_dim ** -0.5, k, transpose_y=True)
        if attn_mask is not None:
            # spread, as Paddle broadcasts with one thread; in place, as nothing else needs the logits
            mask = layers._convert_attention_mask(attn_mask, logits.dtype)
            logits = logits.add_(mask.expand(logits.shape))
        weights = F.softmax(logits)
        if self.dropout:
            weights = F.dropout(weights, self.dropout, training=self.training, mode="upscale_in_train")
        joined = transposed(paddle.matmul(weights, v), [0, 2, 1, 3]).flatten(2)
        return self.out_proj(joined)

    def _project(self, x, first, last):
        """``last - first`` tensors [B, heads, L, head_dim], of the three that queries, keys and values are."""
        columns = slice(first * self.embed_dim, last * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[columns]
        y = F.linear(x, self.in_proj_weight[:, columns], bias)
        y = y.reshape([0, 0, last - first, self.num_heads, self.head_dim])
        return transposed(y, [2, 0, 3, 1, 4]).unbind(0)
