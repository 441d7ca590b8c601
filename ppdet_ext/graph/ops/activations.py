# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations and dropout, as functions."""
from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ...nn import activation
from . import _values
from ._table import op
from ._values import DType, Tensor, axis, cast, dtype_of


@op("torch.softmax", ".softmax", "torch.nn.functional.softmax")
def softmax(x: Tensor, dim: int = -1, dtype: DType = None, _stacklevel: int = 3) -> Tensor:
    return F.softmax(cast(x, dtype), axis(x, dim))


@op("torch.log_softmax", ".log_softmax", "torch.nn.functional.log_softmax")
def log_softmax(x: Tensor, dim: int = -1, dtype: DType = None, _stacklevel: int = 3) -> Tensor:
    return F.log_softmax(cast(x, dtype), axis(x, dim))


@op("torch.relu", "torch.relu_", ".relu", ".relu_", "torch.nn.functional.relu")
def relu(x: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(x)


@op("torch.nn.functional.relu6")
def relu6(x: Tensor, inplace: bool = False) -> Tensor:
    return F.relu6(x)


@op("torch.nn.functional.silu")
def silu(x: Tensor, inplace: bool = False) -> Tensor:
    return activation.silu(x)


@op("torch._C._nn.gelu", "torch.nn.functional.gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """torch's strings; Paddle has a flag, with the tanh formula for True."""
    return F.gelu(x, approximate == "tanh")


@op("torch.nn.functional.hardtanh")
def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    return F.hardtanh(x, min_val, max_val)


@op("torch.nn.functional.hardsigmoid")
def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """Written out: Paddle's slope is 0.1666667."""
    return F.relu6(x + 3.0) / 6.0


@op("torch.nn.functional.hardswish")
def hardswish(x: Tensor, inplace: bool = False) -> Tensor:
    return F.hardswish(x)


@op("torch.nn.functional.mish")
def mish(x: Tensor, inplace: bool = False) -> Tensor:
    return F.mish(x)


@op("torch.nn.functional.leaky_relu", "torch._C._nn.leaky_relu_")
def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return F.leaky_relu(x, negative_slope)


@op("torch.nn.functional.elu")
def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return F.elu(x, alpha)


@op("torch.nn.functional.celu")
def celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return F.celu(x, alpha)


@op("torch.nn.functional.selu")
def selu(x: Tensor, inplace: bool = False) -> Tensor:
    return F.selu(x)


@op("torch.prelu")
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    return F.prelu(x, weight)


@op("torch._C._nn.softplus")
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    return F.softplus(x, beta, threshold)


@op("torch._C._nn.log_sigmoid")
def logsigmoid(x: Tensor) -> Tensor:
    return F.log_sigmoid(x)


@op("torch.nn.functional.softsign")
def softsign(x: Tensor) -> Tensor:
    return F.softsign(x)


@op("torch.nn.functional.glu")
def glu(x: Tensor, dim: int = -1) -> Tensor:
    return F.glu(x, axis(x, dim))


@op("torch.nn.functional.dropout", "torch.dropout", view=True, random=True)
def dropout(x: Tensor, p: Any = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return F.dropout(x, p, training=training) if training and p else x


def _whole_parts(x, p, training, dims):
    """Dropout of everything beyond the first ``dims`` dimensions at once."""
    if not training or not p:
        return x
    sizes = _values.sizes(x)
    kept = paddle.bernoulli(paddle.full(sizes[:dims] + [1] * (x.ndim - dims), 1.0 - p, dtype_of(x)))
    return x * kept / (1.0 - p) if p < 1 else x * kept


@op("torch.nn.functional.dropout1d", "torch.nn.functional.dropout2d", "torch.nn.functional.dropout3d",
    "torch.feature_dropout", view=True, random=True)
def feature_dropout(x: Tensor, p: Any = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels."""
    return _whole_parts(x, p, training, 2)


@op("timm.layers.drop.drop_path", view=True, random=True)
def drop_path(x: Tensor, drop_prob: float = 0.0, training: bool = False, scale_by_keep: bool = True) -> Tensor:
    """Whole samples."""
    dropped = _whole_parts(x, drop_prob, training, 1)
    return dropped if scale_by_keep or not training else dropped * (1.0 - drop_prob)


@op("torchvision.ops.stochastic_depth.stochastic_depth", view=True, random=True)
def stochastic_depth(input: Tensor, p: Any, mode: str, training: bool = True) -> Tensor:
    """Whole samples ('row') or the whole batch."""
    return _whole_parts(input, p, training, 1 if mode == "row" else 0)
