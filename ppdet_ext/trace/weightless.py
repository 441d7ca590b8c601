# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A torch network made without its weights: no storage for what is filled at random, a note of how it is filled."""
from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode

from .initializers import IN_PLACE, InitializerRecorder


class NeedsValues(Exception):
    """A constant of the network was not computed, because the network was made without values."""


class Weightless(TorchFunctionMode):
    """Inside, tensors that are made to be filled with weights have no storage; ``recorder`` notes how.

    Those that count something have, and small ones, which may be constants that are filled later.
    """

    MADE_TO_BE_FILLED = (torch.empty, torch.empty_like, torch.empty_strided, torch.randn, torch.rand)
    SMALL = 1 << 16

    def __init__(self) -> None:
        super().__init__()
        self.recorder = InitializerRecorder()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        result = self._made(function, args, kwargs)
        self.recorder.see(function, args, kwargs, result)
        return result

    def _made(self, function, args, kwargs):
        name = getattr(function, "__name__", "")
        if name in IN_PLACE and args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            return args[0]  # torch would look long at what has no values
        if function in self.MADE_TO_BE_FILLED and kwargs.get("device") is None:
            dtype = kwargs.get("dtype") or (args[0].dtype if isinstance(args[0], torch.Tensor) else torch.float32)
            if dtype.is_floating_point:
                planned = function(*args, **{**kwargs, "device": "meta"})
                if planned.numel() > self.SMALL:
                    return planned
        return function(*args, **kwargs)


def forget_weights(module: torch.nn.Module) -> torch.nn.Module:
    """Parameters and saved buffers lose their storage; constants keep it. Gives the module."""
    saved = set(module.state_dict(keep_vars=True))
    seen: dict[int, torch.Tensor] = {}
    for path, part in module.named_modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is None or not value.is_floating_point():  # an index is what it counts
                    continue
                if not value.is_meta and f"{path}.{name}".lstrip(".") in saved:
                    tensors[name] = seen.setdefault(id(value), _bare(value))
    return module


def _bare(value):
    bare = value.detach().to("meta")
    return torch.nn.Parameter(bare, value.requires_grad) if isinstance(value, torch.nn.Parameter) else bare
