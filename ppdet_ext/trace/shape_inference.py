# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The shape and dtype of each call of a traced network, by running it without values; equal calls run once."""
from __future__ import annotations

from typing import Any, Callable

import torch

from ..errors import UserError
from ..graph.ops._leaf_args import read_leaf
from .aliases import shared_memory


class ShapeInference:
    """Computes calls on tensors without values.

    Args:
        root: the module whose submodules are called.
        run: ``run(kind, target, args, kwargs)`` -> the call's result.
    """

    def __init__(self, root: torch.nn.Module, run: Callable) -> None:
        self.root, self.run = root, run
        self._results: dict[Any, tuple] = {}  # of calls made before: shape, strides and dtype; whose memory it shares

    def compute(self, kind: str, target: Any, args: tuple, kwargs: dict,
                inputs: list[torch.Tensor]) -> tuple[Any, list[int]]:
        """The result, and which of ``inputs``, tensors among the arguments, it shares memory with."""
        args, kwargs = _on_one_device(args, kwargs)
        key = self._key(kind, target, args, kwargs)
        if key not in self._results:
            result = self.run(kind, target, args, kwargs)
            shared = shared_memory(result, inputs)
            if key is None or not isinstance(result, torch.Tensor) or not result.is_meta:
                return result, shared
            self._results[key] = tuple(result.shape), result.stride(), result.dtype, shared
        shape, strides, dtype, shared = self._results[key]
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta"), shared

    def _key(self, kind: str, target: Any, args: tuple, kwargs: dict) -> Any:
        """What the result's shape and dtype follow from, so that equal blocks are computed once; None: too much."""
        try:
            if kind == "call_module":
                module = self.root.get_submodule(target)
                held = [tuple(value.shape) for value in module.state_dict().values()]
                target = repr((read_leaf(module), held))
            return kind, target, _signature(args), _signature(kwargs)
        except (LookupError, UserError):
            return None


def run_leaf(module: torch.nn.Module, args: tuple, kwargs: dict) -> Any:
    """``module`` called, without values where it has parameters."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if tensors:
        args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    if all(tensor.is_meta for tensor in tensors.values()):
        return module.forward(*args, **kwargs)
    return torch.func.functional_call(module, {key: value.to("meta") for key, value in tensors.items()}, args, kwargs)


def _signature(value: Any) -> Any:
    """Arguments as a key: of tensors their shapes and dtypes.

    Raises:
        LookupError: a tensor has values, or an argument is of a kind that is not known here.
    """
    if isinstance(value, torch.Tensor) and value.is_meta:
        return torch.Tensor, tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, (tuple, list)):
        return type(value), *map(_signature, value)
    if isinstance(value, dict):
        return tuple((name, _signature(item)) for name, item in value.items())
    if isinstance(value, slice):
        return slice, *map(_signature, (value.start, value.stop, value.step))
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device, type(Ellipsis))):
        return type(value), value  # 1, 1.0 and True are equal, and not the same
    raise LookupError


def _on_one_device(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Constants have values and activations have none: together, nothing has."""
    tensors: list[torch.Tensor] = []
    torch.utils._pytree.tree_map_only(torch.Tensor, tensors.append, (args, kwargs))
    if any(tensor.is_meta for tensor in tensors) and not all(tensor.is_meta for tensor in tensors):
        return torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    return args, kwargs
