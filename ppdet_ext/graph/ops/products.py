# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Matrix products, einsum and attention."""
from __future__ import annotations

import string
from typing import Any

import paddle
import paddle.nn.functional as F

from . import _values
from ._table import op
from ._values import Dims, Tensor, cast, dtype_of, listed, promote, scalar


@op("_operator.matmul", "torch.matmul", ".matmul", "torch.bmm", ".bmm", "torch.mm", ".mm", "torch.mv", ".mv",
    "torch.dot", ".dot")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Batches get one number of dimensions: Paddle 3.3 fails on the gradients where they differ and broadcast."""
    a, b = promote(a, b)
    if a.ndim != b.ndim and min(a.ndim, b.ndim) > 2:
        missing = a.ndim - b.ndim
        a, b = _lifted(a, -missing), _lifted(b, missing)
    return paddle.matmul(a, b)


def _lifted(x, count):
    return paddle.unsqueeze(x, list(range(count))) if count > 0 else x


@op("torch.outer", ".outer", "torch.ger")
def outer(a: Tensor, b: Tensor) -> Tensor:
    a, b = promote(a, b)
    return paddle.unsqueeze(a, 1) * paddle.unsqueeze(b, 0)


@op("torch.baddbmm", ".baddbmm", "torch.addmm", ".addmm")
def add_product(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = paddle.matmul(a, b)
    product = product if alpha == 1 else product * alpha
    if beta == 0:  # torch does not read x then, so it may hold NaN
        return product
    return (x if beta == 1 else x * beta) + product


@op("torch._C._nn.linear", "torch.nn.functional.linear")
def linear(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """torch's weight is [out, in], Paddle's [in, out]."""
    out = paddle.matmul(x, weight, transpose_y=True)
    return out if bias is None else out + bias


@op("torch.einsum", "torch.functional.einsum", view=True)
def einsum(equation: str, *operands: Any) -> Any:
    return paddle.einsum(equation, *promote(*listed(operands)))


@op("torch.tensordot", "torch.functional.tensordot")
def tensordot(a: Tensor, b: Tensor, dims: Dims = 2, out: int | None = None) -> Tensor:
    """As an einsum: Paddle's own must know every size."""
    left, right = (range(a.ndim - dims, a.ndim), range(dims)) if isinstance(dims, int) else dims
    first, second = list(string.ascii_letters[:a.ndim]), list(string.ascii_letters[a.ndim:a.ndim + b.ndim])
    for i, j in zip(left, right):
        second[j] = first[i]
    kept = [name for name in first + second if (name in first) != (name in second)]
    return einsum(f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)


@op("torch.kron", ".kron")
def kron(a: Tensor, b: Tensor) -> Tensor:
    return paddle.kron(a, b)


@op("torch.functional.cdist", "torch.cdist")
def cdist(x1: Tensor, x2: Tensor, p: Any = 2.0, compute_mode: str | None = None) -> Tensor:
    return paddle.cdist(x1, x2, p)


def _added_mask(scores, mask):
    """torch's masks: False is shut, numbers are added."""
    if dtype_of(mask) == "bool":
        return paddle.where(mask, scores, scalar(float("-inf"), dtype_of(scores)))
    return scores + cast(mask, dtype_of(scores))


def _causal_mask(query, key):
    rows, columns = _values.size(query, -2), _values.size(key, -2)
    return paddle.unsqueeze(paddle.arange(rows), 1) >= paddle.unsqueeze(paddle.arange(columns), 0)


@op("torch._C._nn.scaled_dot_product_attention", "torch.nn.functional.scaled_dot_product_attention", random=True)
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: Any = None,
                                 enable_gqa: bool = False) -> Tensor:
    """torch has [..., heads, length, channels] with any number of dimensions in front; Paddle's own function wants
    [batch, length, heads, channels], four dimensions and no scale, so this is written out."""
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (paddle.repeat_interleave(x, groups, x.ndim - 3) for x in (key, value))
    width: Any = _values.size(query, -1)
    if scale is None:  # a static graph may know the width as a tensor only
        scale = width ** -0.5 if isinstance(width, int) else cast(width, dtype_of(query)) ** -0.5
    scores = paddle.matmul(query * scale, key, transpose_y=True)
    if is_causal:
        scores = _added_mask(scores, _causal_mask(query, key))
    if attn_mask is not None:
        scores = _added_mask(scores, attn_mask)
    weights = F.softmax(scores, -1)
    return paddle.matmul(F.dropout(weights, dropout_p) if dropout_p else weights, value)
