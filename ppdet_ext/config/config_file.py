# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading configs: PaddleDetection's YAML files and ``-o`` options, through a loader that cannot run code.

Same rules as ppdet.core.workspace.load_config (``_BASE_`` first, outer files win, tags such as ``!PiecewiseDecay``),
with its traps removed: files can run code (``allowed`` says what they may name), small files can ask for endless work
(``plain_yaml`` has the limits), a section written twice loses the first, keys of one config leak into the next one of
the same process, ``-o A.b.c=1 A.b.d=2`` drops the first value, and a field of a tagged object cannot be set on its own.
"""
from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ppdet.core.config.schema import SchemaDict
from ppdet.core.workspace import global_config
from yaml.constructor import ConstructorError

from ..errors import UserError, nearest
from ..files import data_path
from ..plain_yaml import LIMITS, Limits, PlainLoader, read_text
from . import allowed

BASE_KEY = "_BASE_"
LONGEST = 300  # characters of what PyYAML says, which may hold much of the file
_schemas: dict[str, SchemaDict] = {}


class ConfigLoader(PlainLoader):
    """Plain YAML, plus ``1e-4`` as a number; :func:`_loader` adds tags."""


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _loader(text: str, limits: Limits) -> ConfigLoader:
    """The loader of a text, with the tags that ``allowed`` lets through of those that there are by now."""
    loader = ConfigLoader(text, limits)
    loader.yaml_constructors = {**ConfigLoader.yaml_constructors, **{
        tag: _maker(tag, cls) if cls else _refuse_tag for tag, cls in allowed.tags().items()}, **allowed.users_tags()}
    return loader


def _maker(tag, cls):
    """Makes a tagged object, as ppdet's ``serializable`` does: of a list or a mapping of arguments."""
    def make(loader, node):
        if isinstance(node, yaml.SequenceNode):
            given, settings = loader.construct_sequence(node, deep=True), {}
        else:
            given, settings = (), loader.construct_mapping(node, deep=True)
        try:
            return cls(*given, **settings)
        except Exception as error:  # whatever a class makes of wrong arguments
            raise ConstructorError(None, None, f"{tag}: {error}", node.start_mark) from None
    return make


def _refuse_tag(_loader, node):
    raise ConstructorError(None, None, f"the tag {node.tag} is not for configs; a part of the network is named, and "
                           f"its settings stand in a section '{node.tag[1:]}:'", node.start_mark)


def parse(text: str, where: str | Path, limits: Limits = LIMITS) -> Any:
    """YAML text -> Python values.

    Raises:
        UserError: not YAML, an unknown tag, a tagged object with wrong arguments, a key twice in one mapping, or beyond
            the limits; names ``where`` and the line.
    """
    return _parse(text, where, limits)[0]


def _parse(text, where, limits):
    """(value, how many nodes it has)."""
    try:
        loader = _loader(text, limits)
        return loader.get_single_data(), loader.nodes
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: {_short(getattr(error, 'problem', None) or error)}") from None
    except UserError:
        raise
    except Exception as error:  # PyYAML's own types fail in many ways: !!bool maybe, !!int '', 2001-99-99
        raise UserError(f"{where}: a value cannot be read ({type(error).__name__}: {_short(error)})") from None


def _short(error):
    return " ".join(str(error).split())[:LONGEST]


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
    path = Path(os.path.expanduser(path))
    if os.path.exists(path):  # unlike Path.exists, also for a name too long to exist
        return path
    own = data_path("configs") / (Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path)
    return own if os.path.isfile(own) else path


def read(path: str | Path, limits: Limits = LIMITS) -> dict[str, Any]:
    """A config file with its ``_BASE_`` files merged, as a plain dict. Both are found as :func:`find` says.

    Raises:
        UserError: a file is missing, is not YAML or not a mapping; the bases run in a circle; beyond the limits.
    """
    return _Reading(limits).read(path, ())


def own_values(path: str | Path) -> dict[str, Any]:
    """What a config file itself says, without its ``_BASE_`` files; raises as :func:`read`."""
    return _Reading(LIMITS)._values(find(path), "")


class _Reading:
    """One config with its bases: what is left of the limits, which they share."""

    def __init__(self, limits):
        self.limits = self.left = limits

    def read(self, path, chain):
        path = find(path)
        if path.suffix not in (".yml", ".yaml"):
            raise UserError(f"config '{path}' is not a .yml or .yaml file")
        if path.resolve() in chain:
            raise UserError(f"config '{path}' is its own {BASE_KEY}")
        values = self._values(path, f", a {BASE_KEY} of '{chain[-1]}'" if chain else "")
        merged: dict[str, Any] = {}
        for base in _bases(values.pop(BASE_KEY, None), path):
            beside = path.parent / os.path.expanduser(base)
            found = beside if os.path.exists(beside) else find(base)
            merge(merged, self.read(found, (*chain, path.resolve())), path)
        return merge(merged, values, path)

    def _values(self, path, by):
        """The file's own, counted."""
        if not self.left.files:
            raise UserError(f"cannot read config '{path}'{by}: more than {self.limits.files} files in all")
        try:
            text = read_text(path, self.left)
        except (OSError, ValueError) as error:  # UnicodeDecodeError is the latter, as is what a name may not hold
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UserError(f"cannot read config '{path}'{by} ({reason})") from None
        values, nodes = _parse(text, path, self.left)
        if not isinstance(values, dict):
            raise UserError(f"config '{path}' holds no 'key: value' lines")
        self.left = dataclasses.replace(self.left, files=self.left.files - 1, nodes=self.left.nodes - nodes,
                                        size=self.left.size - len(text))
        return values


def _bases(value, path):
    """File names: one, several or none."""
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) and "\0" not in name for name in names):
        raise UserError(f"config '{path}': {BASE_KEY} is {value!r:.60}; it takes a file name, or a list of them")
    return names


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
        if len(groups) > LIMITS.depth:
            raise UserError(f"-o {name:.60}...: names lie at most {LIMITS.depth} deep")
        here = values
        for group in groups:
            here = here.setdefault(group, {})
            if not isinstance(here, dict):
                raise UserError(f"-o {option}: '{group}' was given a value by an earlier -o")
        here[key] = parse(text, f"-o {name}")
    return values


def forget() -> None:
    """Take back what earlier configs of this process left in ppdet's global config; keep its registered classes.

    Those that no config may name are taken out: then no way leads to them.
    """
    _schemas.update({name: value for name, value in global_config.items() if isinstance(value, SchemaDict)})
    global_config.clear()
    for name, schema in _schemas.items():
        schema.clear()
        if allowed.is_module(schema):
            global_config[name] = schema


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Inside, another config can be loaded and built from; after it ppdet's global config is as it was before."""
    kept = {name: (value, dict(value) if isinstance(value, SchemaDict) else None)
            for name, value in global_config.items()}
    try:
        yield
    finally:
        forget()
        for name, (value, settings) in kept.items():
            if settings is not None:
                value.clear()
                value.update(settings)
            global_config[name] = value


def registered_groups() -> set[str]:
    """Names of registered classes, whose keys at the top of a config hold their settings; known after a load."""
    return set(_schemas)


def replace_section(cfg: dict[str, Any], name: str, values: Mapping[str, Any]) -> None:
    """Let a section of a loaded config say ``values`` and nothing else; what a YAML tag has built there is gone."""
    schema = _schemas.get(name)
    if schema is None:
        cfg[name] = dict(values)
        return
    schema.clear()
    schema.update(values)
    cfg[name] = schema


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
