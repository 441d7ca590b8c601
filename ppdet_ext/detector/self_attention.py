# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Multi-head attention (https://arxiv.org/abs/1706.03762) with PaddleDetection's parameters and less copying."""
from __future__ import annotations

import paddle
import paddle.nn.functional as F
from ppdet.modeling import layers

from ..kernels.transpose import transposed


class MultiHeadAttention(layers.MultiHeadAttention):
    """Arguments and parameters as PaddleDetection's, without need_weights; queries, keys and values are of one width.

    The queries are scaled instead of the logits. Each part is projected by itself, so that Paddle Inference can take
    the reshapes and transposes around the two products into them.
    """

    def forward(self, query: paddle.Tensor, key: paddle.Tensor | None = None, value: paddle.Tensor | None = None,
                attn_mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """Attention of the queries to the keys.

        Args:
            query: [B, Q, embed_dim].
            key, value: [B, K, embed_dim]; None for the query.
            attn_mask: what is added to the logits [B, heads, Q, K]; or where to look, as bool or int; or None.

        Returns:
            [B, Q, embed_dim]
        """
        key = query if key is None else key
        value = query if value is None else value
        q, k, v = (self._project(x, part) for part, x in enumerate((query, key, value)))
        weights = self._shares(q, k, attn_mask)
        if self.dropout:
            weights = F.dropout(weights, self.dropout, training=self.training, mode="upscale_in_train")
        joined = transposed(paddle.matmul(weights, v), [0, 2, 1, 3]).reshape([0, 0, self.embed_dim])
        return self.out_proj(joined)

    def shares(self, query: paddle.Tensor, key: paddle.Tensor) -> paddle.Tensor:
        """How ``forward`` shares each query's attention out among the keys, to be shown.

        Args:
            query, key: [B, Q, embed_dim], [B, K, embed_dim].

        Returns:
            [B, heads, Q, K], which add up to 1 over K.
        """
        return self._shares(self._project(query, 0), self._project(key, 1), None)

    def _shares(self, q, k, attn_mask):
        logits = paddle.matmul(q * self.head_dim ** -0.5, k, transpose_y=True)
        if attn_mask is not None:
            # spread, as Paddle broadcasts with one thread; in place, as nothing else needs the logits
            mask = layers._convert_attention_mask(attn_mask, logits.dtype)
            logits = logits.add_(mask.expand(logits.shape))
        return F.softmax(logits)

    def _project(self, x, part):
        """Queries, keys or values (part 0, 1, 2): [B, L, embed_dim] -> [B, heads, L, head_dim]."""
        columns = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[columns]
        y = F.linear(x, self.in_proj_weight[:, columns], bias)
        return transposed(y.reshape([0, 0, self.num_heads, self.head_dim]), [0, 2, 1, 3])
