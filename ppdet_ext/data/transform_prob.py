# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``prob`` of RandomDistort and RandomCrop, the chance to act at all: develop has it, ppdet 2.6.0 does not."""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import numpy as np


def take_prob(init: Callable) -> Callable:
    """For ``__init__``: takes ``prob`` too. The class stays the same object, as it names itself in ``super``."""
    signature = inspect.signature(init)
    if "prob" in signature.parameters:
        return init

    @functools.wraps(init)
    def with_prob(self, *args, prob=1.0, **kwargs):
        init(self, *args, **kwargs)
        self.prob = prob

    prob = inspect.Parameter("prob", inspect.Parameter.KEYWORD_ONLY, default=1.0)
    with_prob.__signature__ = signature.replace(parameters=[*signature.parameters.values(), prob])
    return with_prob


def apply_sometimes(apply: Callable) -> Callable:
    """For ``apply``: acts with the probability ``self.prob``."""
    @functools.wraps(apply)
    def sometimes(self, sample, context=None):
        return apply(self, sample, context) if np.random.rand() <= self.prob else sample
    return sometimes
