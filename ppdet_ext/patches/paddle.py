# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The rows about Paddle."""
from .ledger import Change, Patch

_F = "paddle.nn.functional"
_KERNELS = "ppdet_ext.kernels"


def _pointwise(name, module):
    return Patch(
        name, (Change(f"{_F}:{name}", f"{_KERNELS}.pointwise:in_place_of_{name}", (f"{_F}.{module}:{name}",
                                                                                  f"paddle.nn.layer.norm:{name}")),),
        f"eager {name} on a CPU runs on one thread and not in oneDNN", "paddle>=2.6,<4", "kernels")


ROWS = (
    Patch("convolution",
          (Change(f"{_F}.conv:_conv_nd", f"{_KERNELS}.convolution:in_place_of_conv_nd"),
           Change(f"{_F}.conv:_C_ops", f"{_KERNELS}.convolution:in_place_of_operations")),
          "eager convolutions on a CPU do not run in oneDNN", "paddle>=2.6,<4", "kernels"),
    Patch("linear", (Change(f"{_F}:linear", f"{_KERNELS}.linear:in_place_of_linear"),),
          "the gradient of a bias is summed by one thread on a CPU", "paddle>=2.6,<4", "kernels"),
    *(_pointwise(name, "activation") for name in ("relu", "silu", "gelu", "softmax")),
    _pointwise("layer_norm", "norm"),
)
