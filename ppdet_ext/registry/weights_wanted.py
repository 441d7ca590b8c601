# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Are a backbone's own weights wanted? Not where a checkpoint of the whole detector follows."""
from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

_weights_wanted = [True]


@contextlib.contextmanager
def without_pretrained() -> Iterator[None]:
    """Backbones made inside start from random values whatever ``pretrained`` says.

    For evaluation, inference, export and resuming: a checkpoint of the whole detector follows, and the machine need
    not have the backbone's own weights.
    """
    _weights_wanted.append(False)
    try:
        yield
    finally:
        _weights_wanted.pop()


def weights_wanted() -> bool:
    """False inside ``without_pretrained``."""
    return _weights_wanted[-1]


class _NoWeights(dict):
    """In place of weights that are not fetched; whatever part of it is asked for is the same."""

    def __missing__(self, key):
        return self


def _nothing(*_args: Any, **_kwargs: Any) -> _NoWeights:
    return _NoWeights()


def _unless_nothing(load: Callable) -> Callable:
    """torch's ``load_state_dict`` that leaves the module as it is where the weights were not fetched."""
    def load_state_dict(self, state_dict, *args, **kwargs):
        return None if isinstance(state_dict, _NoWeights) else load(self, state_dict, *args, **kwargs)
    return load_state_dict


# where libraries fetch or read the weights of a network that they have made: module, name in it
FETCHING = (("timm.models._builder", "load_pretrained"), ("timm.models._factory", "load_checkpoint"),
            ("torchvision.models._api", "load_state_dict_from_url"), ("torch.hub", "load_state_dict_from_url"))


@contextlib.contextmanager
def libraries_fetch_nothing() -> Iterator[None]:
    """Networks that timm and torchvision make inside keep their random values whatever they are asked to load.

    A class may write ``pretrained=True`` in its code, where no setting reaches it.
    """
    torch = sys.modules.get("torch")
    with contextlib.ExitStack() as stack:
        if torch is not None:
            stack.enter_context(mock.patch.object(torch.nn.Module, "load_state_dict",
                                                  _unless_nothing(torch.nn.Module.load_state_dict)))
        for module, name in FETCHING:
            # a library that is imported later, inside, is not reached; those of a user's file are imported by now
            if module.partition(".")[0] in sys.modules:
                with contextlib.suppress(ImportError, AttributeError):
                    stack.enter_context(mock.patch.object(importlib.import_module(module), name, _nothing))
        yield
