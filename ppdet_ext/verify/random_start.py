# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A network with random weights made fit to be looked at: nothing switched off, values in the range of training."""
from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import paddle
from paddle import nn

MORE = 0.1  # what branches that start switched off are given
NOISE = 0.1


def settle(network: nn.Layer, run: Callable[[], object]) -> None:
    """What the first steps of training do: branches wake up, BatchNorm has statistics of pictures.

    Factors that are zero everywhere (the last BatchNorm of a block) get another value, for what comes before them has
    no gradient until the first step. Without statistics the values of deep networks die away or grow without bounds.

    Args:
        run: runs the network on the picture whose statistics they become; what it raises is for later checks to tell.
    """
    for name, parameter in network.named_parameters():
        if parameter.ndim <= 1 and not name.endswith(("bias", "._mean")) and not bool(paddle.any(parameter != 0)):
            parameter.set_value(paddle.full_like(parameter, MORE))
    norms = [layer for layer in network.sublayers() if isinstance(layer, nn.layer.norm._BatchNormBase)]
    if not norms:
        return
    momenta = [norm._momentum for norm in norms]
    for norm in norms:
        norm.training, norm._momentum = True, 0.0
    try:
        with paddle.no_grad(), contextlib.suppress(Exception):
            run()
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.training, norm._momentum = False, momentum


def stir(network: nn.Layer, seed: int = 0) -> None:
    """Random values in place of the ones and zeros of a random start, which would hide mistakes from a comparison."""
    random = np.random.RandomState(seed)
    trained = {name for name, _ in network.named_parameters()}
    for name, value in network.state_dict().items():
        noise = paddle.to_tensor(random.standard_normal(value.shape).astype("float32") * NOISE)
        if name.endswith("._variance"):
            value.set_value(value * paddle.exp(noise))
        elif name in trained and value.ndim == 1:
            value.set_value(value + noise.astype(value.dtype))
