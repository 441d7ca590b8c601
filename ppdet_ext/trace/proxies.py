# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a traced network computes with: proxies that record what is done to them and know the value it has."""
from __future__ import annotations

import builtins
import math
import operator
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch import fx

from ..errors import Unsupported
from .aliases import Alias
from .fx_nodes import training_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tracer import Tracer


class ValueProxy(fx.Proxy, Alias):
    """A proxy with the value that the traced run has at this place."""

    tracer: Any  # Tracer

    def __init__(self, node: fx.Node, tracer: Tracer, value: Any = None) -> None:
        super().__init__(node, tracer)
        self.value = value

    def decide(self, convert: Callable) -> Any:
        """``convert(value)``, as a branch or a loop count needs it; recorded as a guard."""
        if isinstance(self.value, torch.Tensor) and self.value.is_meta:
            raise self.tracer.error("data-dependent control flow: a tensor's content decides what to compute, which a "
                                    "traced network cannot follow", Unsupported)
        known = convert(self.value)
        self.tracer.add_guard(self, known)
        return known

    def __bool__(self) -> bool:
        return self.decide(bool)

    def __int__(self) -> int:
        return self.decide(int)

    def __float__(self) -> float:
        return self.decide(float)

    def __index__(self):
        return self.decide(operator.index)

    def __len__(self) -> int:
        count = len(self.value)
        if isinstance(self.value, torch.Tensor):
            return self.shape[0].decide(int)
        return count

    def __iter__(self) -> Iterator[ValueProxy]:
        return iter([self[index] for index in range(len(self))])  # type: ignore[index]  # fx adds it to the class

    def __contains__(self, item):
        return item in self.value

    def __hash__(self):
        return id(self)

    def __reversed__(self):
        return iter(list(self)[::-1])

    def __ceil__(self):
        return self.tracer.create_proxy("call_function", math.ceil, (self,), {})

    def __floor__(self):
        return self.tracer.create_proxy("call_function", math.floor, (self,), {})

    def __round__(self, digits=None):
        return self.tracer.create_proxy("call_function", builtins.round, (self,), {})

    def __setitem__(self, index, value):
        self.tracer.in_place(operator.setitem, self, (index, value))

    def __iadd__(self, other):
        return self._augmented(operator.iadd, operator.add, other)

    def __isub__(self, other):
        return self._augmented(operator.isub, operator.sub, other)

    def __imul__(self, other):
        return self._augmented(operator.imul, operator.mul, other)

    def __itruediv__(self, other):
        return self._augmented(operator.itruediv, operator.truediv, other)

    def _augmented(self, in_place, plain, other):
        """x += y changes the tensor that x names; a size is merely computed anew."""
        if isinstance(self.value, torch.Tensor):
            return self.tracer.in_place(in_place, self, (other,))
        return plain(self, other)

    def __getattr__(self, name: str) -> Any:  # an AttributeProxy
        return AttributeProxy(self, name)

    def dim(self) -> int:
        return self.value.dim()

    ndimension = dim

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> torch.dtype:
        return self.value.dtype

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")  # where tensors made beside it have values

    @property
    def requires_grad(self) -> bool:
        return False

    @property
    def is_cuda(self) -> bool:
        return False

    def is_floating_point(self) -> bool:
        return self.value.is_floating_point()

    def is_contiguous(self, **_settings: Any) -> bool:
        return True


class AttributeProxy(ValueProxy):
    """``x.name``: a node only once it is used as a value; a call makes it a method call."""

    def __init__(self, owner: ValueProxy, name: str) -> None:
        self.owner = owner
        self.attr = name
        self.tracer = owner.tracer
        self._node: fx.Node | None = None

    @property
    def value(self) -> Any:
        return getattr(self.owner.value, self.attr)

    @property
    def node(self) -> fx.Node:  # type: ignore[override]  # made when it is first asked for
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", builtins.getattr, (self.owner, self.attr), {}).node
        return self._node

    def __call__(self, *args, **kwargs):
        return self.tracer.create_proxy("call_method", self.attr, (self.owner, *args), kwargs)


class TrainingProxy:
    """Stands for ``self.training`` of a module looked into: an argument stays an expression, a branch is noted."""

    def __init__(self, tracer: Tracer, module: torch.nn.Module) -> None:
        self.tracer, self.module = tracer, module

    def __bool__(self) -> bool:
        if getattr(self.module, "aug_active", False):  # it leads to AUGMENTATION, which looks at the mode itself
            return True
        self.tracer.mode_branches.add(type(self.module).__name__)
        return self.tracer.training

    def __fx_create_arg__(self, tracer):
        return tracer.create_node("call_function", training_mode, (), {})
