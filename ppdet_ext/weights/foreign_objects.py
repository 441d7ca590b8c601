# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Objects of unknown classes in a torch file: of a pickled network the tensors are kept, of others nothing.

No class that a file names is looked up or called. A stand-in takes the place of each, and one that is called, which is
how a pickle runs code, is refused. Format: object.__reduce_ex__ (copyreg.py), torch.nn.Module's __dict__ (module.py).
"""
from __future__ import annotations

from typing import Any

from ..limits import refuse
from .safe_pickle import Forbidden, Mapping

MOST = 2000  # classes and functions that one file names; a whole network names a hundred
PARAMETERS, BUFFERS, MODULES = PARTS = ("_parameters", "_buffers", "_modules")
UNSAVED = "_non_persistent_buffers_set"


class _Uncallable(type):
    def __call__(cls, *_args: Any, **_settings: Any) -> Any:
        raise Forbidden(f"it calls {cls.__name__}")


class Foreign(dict, metaclass=_Uncallable):
    """Stands in for an object of a class of others. Where its state is a torch module's, it holds the PARTS of that."""
    __slots__ = ()

    def __new__(cls, *_args: Any, **_settings: Any) -> Foreign:
        return dict.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict) and all(isinstance(state.get(part), dict) for part in PARTS):
            for key in (*PARTS, UNSAVED):
                dict.__setitem__(self, key, state.get(key, []))

    def __setitem__(self, key: Any, value: Any) -> None:
        """What dictionaries' subclasses are filled by; nothing is kept."""

    def append(self, value: Any) -> None:
        """What lists' subclasses are filled by; nothing is kept."""

    def extend(self, values: Any) -> None:
        """The same."""


class Dropped:
    """Stands in for a value of which nothing is wanted, a path or a date; what it is made of is not looked at."""
    __slots__ = ()

    def __init__(self, *_args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _listed(items: Any = ()) -> list:
    return list(items)


def _counting(*_factory: Any) -> Mapping:
    return Mapping()


# what lies beside weights and is made by calls: as a list or a dictionary, or nothing of it
PLAIN = {
    **{f"{module}.{name}": _listed for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    "collections.defaultdict": _counting,
    **{name: Dropped for module in ("pathlib", "pathlib._local") for kind in ("Pure", "") for system in (
        "Posix", "Windows") for name in (f"{module}.{kind}{system}Path",)},
    **dict.fromkeys(("functools.partial", "datetime.datetime", "datetime.date", "datetime.timedelta", "torch.device",
                     "torch._C.Generator"), Dropped),
}


class Classes:
    """``module.name`` -> a class that stands in for it, the same each time."""

    def __init__(self) -> None:
        self._made: dict[str, type] = {}

    def __call__(self, name: str) -> type:
        if name not in self._made and len(self._made) >= MOST:
            refuse("VALUES", f"it names more than {MOST} classes")
        return self._made.setdefault(name, _Uncallable(name, (Foreign,), {"__slots__": ()}))


def states(content: Any) -> Any:
    """``content`` (plain dictionaries and lists) with each torch module in it as its flat state_dict."""
    if isinstance(content, list):
        return [states(item) for item in content]
    if not isinstance(content, dict):
        return content
    return dict(_state(content)) if all(part in content for part in PARTS) else \
        {key: states(value) for key, value in content.items()}


def _state(module, before=""):
    """``(name, tensor)`` of a module and all in it, in torch's order."""
    own = {**module[PARAMETERS], **{name: value for name, value in module[BUFFERS].items()
                                    if name not in module.get(UNSAVED, ())}}
    yield from ((f"{before}{name}", value) for name, value in own.items() if value is not None)
    for name, child in module[MODULES].items():
        if isinstance(child, dict) and all(isinstance(child.get(part), dict) for part in PARTS):
            yield from _state(child, f"{before}{name}.")
