# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The initializers of a torch network's parameters: watched while it is built without values, so that ours begin alike.

An initializer is ['constant', value], ['normal', mean, std] or ['uniform', low, high]. Tensors are told apart by their
storage, which a parameter shares with the tensor it was made from. Imports no torch.
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import torch

INITIALIZERS = "_ppdet_ext_initializers"  # attribute of a network made without values: what of_module found
# kind of initializer and its figures, which are given in this order or by name
FILLS = {
    "normal_": ("normal", ("mean", 0), ("std", 1)),
    "uniform_": ("uniform", ("from", 0), ("to", 1)),
    "fill_": ("constant", ("value", 0)),
    "zero_": ("constant", ("", 0)),
    "randn": ("normal", ("mean", 0), ("std", 1)),
    "rand": ("uniform", ("from", 0), ("to", 1)),
}


def _of_fill(name, args, kwargs):
    """The initializer that ``tensor.name(*args, **kwargs)`` gives a tensor; None for what fills nothing."""
    if name not in FILLS:
        return None
    kind, *numbers = FILLS[name]
    return [kind, *(float(args[index] if len(args) > index else kwargs.get(key, default))
                    for index, (key, default) in enumerate(numbers))]


def _of_init(function, args, kwargs):
    """The initializer that a function of torch.nn.init gives a tensor; None for other functions."""
    if getattr(function, "__module__", "") != "torch.nn.init":
        return None
    import inspect

    from torch.nn import init
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    value = given.arguments
    plain = {
        "uniform_": ("uniform", "a", "b"), "normal_": ("normal", "mean", "std"),
        "trunc_normal_": ("normal", "mean", "std"), "constant_": ("constant", "val"),
    }
    if function.__name__ in plain:
        kind, *keys = plain[function.__name__]
        return [kind, *(float(value[key]) for key in keys)]
    scaled = function.__name__.partition("_")
    if scaled[0] != "kaiming":
        return None
    fans = dict(zip(("fan_in", "fan_out"), init._calculate_fan_in_and_fan_out(value["tensor"])))
    deviation = init.calculate_gain(value["nonlinearity"], value["a"]) / math.sqrt(fans[value["mode"]])
    bound = math.sqrt(3) * deviation
    return ["normal", 0.0, deviation] if scaled[2] == "normal_" else ["uniform", -bound, bound]


# uniform numbers through the inverse error function are normal ones of variance 1/2: how truncated normals are drawn
CHANGES: dict[str, Callable] = {
    "erfinv_": lambda start: ["normal", 0.0, math.sqrt(0.5)],
    "mul": lambda start, by: [start[0], *(value * by for value in start[1:])],
    "div": lambda start, by: [start[0], *(value / by for value in start[1:])],
    "add": lambda start, by: [start[0], start[1] + by, *(value + by * (start[0] == "uniform") for value in start[2:])],
    "clamp_": lambda start, *limits, **named_limits: start,
}
CHANGES.update({f"{name}_": CHANGES[name] for name in ("mul", "div", "add")}, __mul__=CHANGES["mul"],
               __rmul__=CHANGES["mul"], __truediv__=CHANGES["div"])
#: methods of a tensor that change its values and give it back
IN_PLACE = {name for name in (*FILLS, *CHANGES) if name.endswith("_") and not name.startswith("_")}


class InitializerRecorder:
    """Watches calls on tensors; ``of`` tells the initializer of one."""

    def __init__(self) -> None:
        self._known: dict[int, list] = {}
        self._kept: list[torch.Tensor] = []

    def see(self, function: Callable, args: tuple, kwargs: dict, result: Any) -> None:
        """Note what a call of a torch function did to the tensor that it gave."""
        if not hasattr(result, "untyped_storage") or not result.is_floating_point():
            return
        start = _of_init(function, args, kwargs)
        name = getattr(function, "__name__", "")
        before = self._known.get(_key(args[0])) if args and hasattr(args[0], "untyped_storage") else None
        start = start or _of_fill(name, args[1:] if before or name.endswith("_") else (), kwargs)
        if start is None and before and name in CHANGES:
            start = self._changed(name, before, args[1:], kwargs)
        if start:
            self._known[_key(result)] = start
            self._kept.append(result)  # so that no other tensor gets its place

    @staticmethod
    def _changed(name: str, before: list, args: tuple, kwargs: dict) -> list | None:
        numbers = [arg for arg in args if isinstance(arg, (int, float))]
        return CHANGES[name](before, *numbers, **kwargs) if len(numbers) == len(args) else None

    def of(self, tensor: torch.Tensor) -> list | None:
        """The initializer of a tensor; from its values where it has some and no call was seen."""
        start = self._known.get(_key(tensor))
        if tensor.is_meta or tensor.numel() == 0 or not tensor.is_floating_point():
            return start
        low, high = tensor.min().item(), tensor.max().item()
        if low == high:
            return ["constant", low]
        deviation = tensor.std().item() if tensor.numel() > 1 else 0.0
        return start or ["normal", tensor.mean().item(), deviation]


def _key(tensor):
    return tensor.untyped_storage()._cdata


def of_module(module: torch.nn.Module, recorder: InitializerRecorder) -> dict[str, list]:
    """{parameter name: initializer} of a torch module, where it is known; figures rounded for the file they go to."""
    found = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        start = recorder.of(parameter.detach())
        if start:
            found[name] = [start[0], *(float(f"{value:.5g}") for value in start[1:])]
    return found
