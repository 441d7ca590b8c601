# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading configs: PaddleDetection's YAML files and ``-o`` options, through a loader that cannot run code.

Same rules as ppdet.core.workspace.load_config (``_BASE_`` first, outer files win, tags such as ``!PiecewiseDecay``),
with four of its traps removed: files can run code, keys of one config leak into the next one of the same process,
``-o A.b.c=1 A.b.d=2`` drops the first value, and a field of a tagged object cannot be set on its own.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ppdet.core.config.schema import SchemaDict
from ppdet.core.workspace import global_config

from ..errors import UserError, nearest
from ..files import data_path

BASE_KEY = "_BASE_"
# !Callable names any Python function, and ppdet calls what stands for a data set
UNSAFE_TAGS = {"!Callable"}
_schemas: dict[str, SchemaDict] = {}


class ConfigLoader(yaml.SafeLoader):
    """YAML's safe types, plus ``1e-4`` as a number; :func:`_loader` adds ppdet's tags."""


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _loader() -> type[ConfigLoader]:
    """The loader with every class that ppdet's ``@serializable`` has tagged so far.

    ppdet hangs its constructors on PyYAML's own loaders; the single-``!`` tags there are exactly those.
    """
    known = {tag: make for tag, make in yaml.FullLoader.yaml_constructors.items()
             if isinstance(tag, str) and tag.startswith("!") and tag not in UNSAFE_TAGS}
    ConfigLoader.yaml_constructors = {**ConfigLoader.yaml_constructors, **known}
    return ConfigLoader


def parse(text: str, where: str | Path) -> Any:
    """YAML text -> Python values.

    Raises:
        UserError: not YAML, an unknown tag, or a tagged object with wrong arguments; names ``where`` and the line.
    """
    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506  a SafeLoader; its tags run no code
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"{where}{line}: {' '.join(problem.split())}") from None
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None


def merge(into: dict[str, Any], values: Mapping[str, Any], where: str | Path = "config") -> dict[str, Any]:
    """Merge ``values`` into the dict ``into``, in depth. A mapping over a tagged object sets that object's fields."""
    for key, value in values.items():
        old = dict.get(into, key)
        if isinstance(value, Mapping) and isinstance(old, dict):
            merge(old, value, where)
        elif isinstance(value, Mapping) and hasattr(old, "__dict__") and "name" not in value:
            _set_fields(old, value, f"{where}: {key}")
        else:
            into[key] = value
    return into


def _set_fields(target, values, where):
    for name, value in values.items():
        if name not in vars(target):
            raise UserError(f"{where} ({type(target).__name__}) has no field '{name}'{nearest(name, vars(target))}")
        setattr(target, name, value)


def find(path: str | Path) -> Path:
    """A config file: where ``path`` says, else of that name among the package's own configs.

    ``rtdetr_cspresnet.yml`` and ``configs/rtdetr_cspresnet.yml`` both mean the package's, in any working directory
    that has no such file itself. What is nowhere comes back as it is.
    """
    path = Path(path).expanduser()
    if path.exists():
        return path
    own = data_path("configs") / (Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path)
    return own if own.is_file() else path


def read(path: str | Path, _chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A config file with its ``_BASE_`` files merged, as a plain dict. Both are found as :func:`find` says.

    Raises:
        UserError: a file is missing, is not YAML or not a mapping, or the bases run in a circle.
    """
    path = find(path)
    if path.suffix not in (".yml", ".yaml"):
        raise UserError(f"config '{path}' is not a .yml or .yaml file")
    if path.resolve() in _chain:
        raise UserError(f"config '{path}' is its own {BASE_KEY}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        by = f", a {BASE_KEY} of '{_chain[-1]}'" if _chain else ""
        raise UserError(f"cannot read config '{path}'{by} ({reason})") from None
    values = parse(text, path)
    if not isinstance(values, dict):
        raise UserError(f"config '{path}' holds no 'key: value' lines")
    bases = values.pop(BASE_KEY, None) or []
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        beside = path.parent / Path(base).expanduser()
        merge(merged, read(beside if beside.exists() else find(base), (*_chain, path.resolve())), path)
    return merge(merged, values, path)


def safe_reader(_own: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """For ppdet's ``_load_config_with_base``: :func:`read`."""
    return read


def parse_options(options: Iterable[str] | None) -> dict[str, Any]:
    """``['a.b=1', 'c=x']`` -> ``{'a': {'b': 1}, 'c': 'x'}``; values are YAML.

    Raises:
        UserError: an option without ``=``, or one that needs ``a`` to be both a value and a group.
    """
    values: dict[str, Any] = {}
    for option in options or []:
        name, equals, text = option.strip().partition("=")
        if not equals or not name:
            raise UserError(f"-o {option}: write it as key=value or group.key=value")
        *groups, key = name.split(".")
        here = values
        for group in groups:
            here = here.setdefault(group, {})
            if not isinstance(here, dict):
                raise UserError(f"-o {option}: '{group}' was given a value by an earlier -o")
        here[key] = parse(text, f"-o {name}")
    return values


def forget() -> None:
    """Take back what earlier configs of this process left in ppdet's global config; keep its registered classes."""
    _schemas.update({name: value for name, value in global_config.items() if isinstance(value, SchemaDict)})
    global_config.clear()
    for name, schema in _schemas.items():
        schema.clear()
        global_config[name] = schema


def registered_groups() -> set[str]:
    """Names of registered classes, whose keys at the top of a config hold their settings; known after a load."""
    return set(_schemas)


def load(path: str | Path, options: Iterable[str] = ()) -> dict[str, Any]:
    """Load a config file and ``-o`` options into ppdet's (emptied) global config and return that.

    Raises:
        UserError: see :func:`read`, :func:`parse_options`.
    """
    values = read(path)
    forget()
    merge(global_config, values, path)
    merge(global_config, parse_options(options), "-o")
    global_config["filename"] = Path(path).stem
    return global_config
