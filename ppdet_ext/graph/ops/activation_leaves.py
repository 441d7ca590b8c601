# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations of torch.nn and of timm.layers; timm's with ``inplace`` and memory-saving variants among them."""
from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

from ...nn.activation import LeakyReLU, SiLU
from ._leaf_tools import Function, constant
from ._table import leaf
from ._values import Tensor

# Class names -> Paddle layer without settings
PLAIN = {
    ("ReLU",): nn.ReLU,
    ("ReLU6",): nn.ReLU6,
    ("SiLU", "Swish", "SwishMe"): SiLU,
    ("Sigmoid",): nn.Sigmoid,
    ("LogSigmoid",): nn.LogSigmoid,
    ("Tanh",): nn.Tanh,
    ("Tanhshrink",): nn.Tanhshrink,
    ("Softsign",): nn.Softsign,
    ("SELU",): nn.SELU,
    ("Mish", "MishMe"): nn.Mish,
    ("Hardswish", "HardSwish", "HardSwishMe"): nn.Hardswish,
}
for names, layer in PLAIN.items():
    leaf(*names)(lambda layer=layer: layer())


class PReLU(nn.Layer):
    """x, or weight * x where x < 0. (Paddle's own calls the parameter ``_weight``.)"""

    def __init__(self, num_parameters: int, init: float = 0.25) -> None:
        super().__init__()
        self.weight = constant(self, [num_parameters], init)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)


def hard_sigmoid(x: Tensor) -> Tensor:
    """relu6(x + 3) / 6. Paddle's own layer has the slope 0.1666667."""
    return F.hardsigmoid(x, slope=1 / 6, offset=0.5)


def hard_mish(x: Tensor) -> Tensor:
    """x / 2 * clip(x + 2, 0, 2), an approximation of mish."""
    return 0.5 * x * paddle.clip(x + 2, 0, 2)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), OpenAI CLIP's approximation of GELU."""
    return x * F.sigmoid(1.702 * x)


def above(x: Tensor, limit: float, value: float) -> Tensor:
    """x where it is above ``limit``, else ``value``."""
    return paddle.where(x > limit, x, paddle.full_like(x, value))


def implicit_axis(ndim: int) -> int:
    """The axis that torch takes for softmax when none is given."""
    return 0 if ndim in (0, 1, 3) else 1


def softmax(x: Tensor, axis: int | None = None) -> Tensor:
    return F.softmax(x, implicit_axis(x.ndim) if axis is None else axis)


def softmin(x: Tensor, axis: int | None = None) -> Tensor:
    return softmax(-x, axis)


def log_softmax(x: Tensor, axis: int | None = None) -> Tensor:
    return F.log_softmax(x, implicit_axis(x.ndim) if axis is None else axis)


FUNCTIONS = {
    ("Hardsigmoid", "HardSigmoid", "HardSigmoidMe"): hard_sigmoid,
    ("HardMish", "HardMishMe"): hard_mish,
    ("QuickGELU",): quick_gelu,
}
for names, function in FUNCTIONS.items():
    leaf(*names)(lambda function=function: Function(function))


@leaf("GELU", args=("approximate",))
def gelu(approximate: str = "none") -> nn.Layer:  # timm's GELU has no such setting
    return nn.GELU(approximate == "tanh")


@leaf("GELUTanh")
def gelu_tanh() -> nn.Layer:
    return nn.GELU(True)


@leaf("LeakyReLU", args=("negative_slope",))
def leaky_relu(negative_slope: float) -> nn.Layer:
    return LeakyReLU(negative_slope)


@leaf("PReLU", args=("num_parameters",))
def prelu(num_parameters: int) -> nn.Layer:
    return PReLU(num_parameters)


@leaf("RReLU", args=("lower", "upper"))
def rrelu(lower: float, upper: float) -> nn.Layer:
    return nn.RReLU(lower, upper)


@leaf("ELU", args=("alpha",))
def elu(alpha: float) -> nn.Layer:
    return nn.ELU(alpha)


@leaf("CELU", args=("alpha",))
def celu(alpha: float) -> nn.Layer:
    return nn.CELU(alpha)


@leaf("Hardtanh", args=("min_val", "max_val"))
def hardtanh(min_val: float, max_val: float) -> nn.Layer:
    return nn.Hardtanh(min_val, max_val)


@leaf("Hardshrink", args=("lambd",))
def hardshrink(lambd: float) -> nn.Layer:
    return nn.Hardshrink(lambd)


@leaf("Softshrink", args=("lambd",))
def softshrink(lambd: float) -> nn.Layer:
    return nn.Softshrink(lambd)


@leaf("Softplus", args=("beta", "threshold"))
def softplus(beta: float, threshold: float) -> nn.Layer:
    return nn.Softplus(beta, threshold)


@leaf("Threshold", args=("threshold", "value"))
def threshold_leaf(threshold: float, value: float) -> nn.Layer:
    return Function(above, limit=threshold, value=value)


@leaf("GLU", args=("dim",))
def glu(dim: int) -> nn.Layer:
    return nn.GLU(dim)


@leaf("Softmax", args=("dim",))
def softmax_leaf(dim: int | None) -> nn.Layer:
    return Function(softmax, axis=dim)


@leaf("Softmin", args=("dim",))
def softmin_leaf(dim: int | None) -> nn.Layer:
    return Function(softmin, axis=dim)


@leaf("Softmax2d")
def softmax_2d() -> nn.Layer:
    return nn.Softmax(-3)


@leaf("LogSoftmax", args=("dim",))
def log_softmax_leaf(dim: int | None) -> nn.Layer:
    return Function(log_softmax, axis=dim)
