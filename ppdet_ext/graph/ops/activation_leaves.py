# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Activations of torch.nn and of timm.layers; timm's with ``inplace`` and memory-saving variants among them."""
import paddle
from paddle import nn
from paddle.nn import functional as F

from ...nn.activation import LeakyReLU, SiLU
from ._leaf_tools import Function, constant
from ._table import leaf

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

    def __init__(self, num_parameters, init=0.25):
        super().__init__()
        self.weight = constant(self, [num_parameters], init)

    def forward(self, x):
        return F.prelu(x, self.weight)


def hard_sigmoid(x):
    """relu6(x + 3) / 6. Paddle's own layer has the slope 0.1666667."""
    return F.hardsigmoid(x, slope=1 / 6, offset=0.5)


def hard_mish(x):
    """x / 2 * clip(x + 2, 0, 2), an approximation of mish."""
    return 0.5 * x * paddle.clip(x + 2, 0, 2)


def quick_gelu(x):
    """x * sigmoid(1.702 x), OpenAI CLIP's approximation of GELU."""
    return x * F.sigmoid(1.702 * x)


def above(x, limit, value):
    """x where it is above ``limit``, else ``value``."""
    return paddle.where(x > limit, x, paddle.full_like(x, value))


def implicit_axis(ndim):
    """The axis that torch takes for softmax when none is given."""
    return 0 if ndim in (0, 1, 3) else 1


def softmax(x, axis=None):
    return F.softmax(x, implicit_axis(x.ndim) if axis is None else axis)


def softmin(x, axis=None):
    return softmax(-x, axis)


def log_softmax(x, axis=None):
    return F.log_softmax(x, implicit_axis(x.ndim) if axis is None else axis)


FUNCTIONS = {
    ("Hardsigmoid", "HardSigmoid", "HardSigmoidMe"): hard_sigmoid,
    ("HardMish", "HardMishMe"): hard_mish,
    ("QuickGELU",): quick_gelu,
}
for names, function in FUNCTIONS.items():
    leaf(*names)(lambda function=function: Function(function))


@leaf("GELU", args=("approximate",))
def gelu(approximate="none"):  # timm's GELU has no such setting
    return nn.GELU(approximate == "tanh")


@leaf("GELUTanh")
def gelu_tanh():
    return nn.GELU(True)


@leaf("LeakyReLU", args=("negative_slope",))
def leaky_relu(negative_slope):
    return LeakyReLU(negative_slope)


@leaf("PReLU", args=("num_parameters",))
def prelu(num_parameters):
    return PReLU(num_parameters)


@leaf("RReLU", args=("lower", "upper"))
def rrelu(lower, upper):
    return nn.RReLU(lower, upper)


@leaf("ELU", args=("alpha",))
def elu(alpha):
    return nn.ELU(alpha)


@leaf("CELU", args=("alpha",))
def celu(alpha):
    return nn.CELU(alpha)


@leaf("Hardtanh", args=("min_val", "max_val"))
def hardtanh(min_val, max_val):
    return nn.Hardtanh(min_val, max_val)


@leaf("Hardshrink", args=("lambd",))
def hardshrink(lambd):
    return nn.Hardshrink(lambd)


@leaf("Softshrink", args=("lambd",))
def softshrink(lambd):
    return nn.Softshrink(lambd)


@leaf("Softplus", args=("beta", "threshold"))
def softplus(beta, threshold):
    return nn.Softplus(beta, threshold)


@leaf("Threshold", args=("threshold", "value"))
def threshold_leaf(threshold, value):
    return Function(above, limit=threshold, value=value)


@leaf("GLU", args=("dim",))
def glu(dim):
    return nn.GLU(dim)


@leaf("Softmax", args=("dim",))
def softmax_leaf(dim):
    return Function(softmax, axis=dim)


@leaf("Softmin", args=("dim",))
def softmin_leaf(dim):
    return Function(softmin, axis=dim)


@leaf("Softmax2d")
def softmax_2d():
    return nn.Softmax(-3)


@leaf("LogSoftmax", args=("dim",))
def log_softmax_leaf(dim):
    return Function(log_softmax, axis=dim)
