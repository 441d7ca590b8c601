# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A network with random weights made fit to be looked at: nothing switched off, values in the range of training."""
from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import paddle
from paddle import nn

from ..nn.norms import STATISTICS, batch_norms

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
        one_each = np.prod(parameter.shape) == max([1, *parameter.shape])  # a gain may be [C, 1, 1, 1]
        if one_each and not name.endswith(("bias", "._mean")) and not bool(paddle.any(parameter != 0)):
            parameter.set_value(paddle.full_like(parameter, MORE))
    norms = batch_norms(network)
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
    """Random values in place of the ones and zeros of a random start, which would hide mistakes from a comparison.

    ``settle`` is to follow: statistics that do not fit magnify rounding from layer to layer.
    """
    random = np.random.RandomState(seed)
    for name, value in network.named_parameters():
        if value.ndim == 1 and not name.endswith(STATISTICS):
            noise = paddle.to_tensor(random.standard_normal(value.shape).astype("float32") * NOISE)
            value.set_value(value + noise.astype(value.dtype))
