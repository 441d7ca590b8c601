# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The config that a run really had, as YAML text: bases, options and resolved values in one.

Written whole it is a config: the same run comes from it alone.
"""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import yaml
from ppdet.core.config.schema import SchemaDict

from ..errors import masked

LEFT_OUT = ("command",)  # said elsewhere
LONGEST, DEEPEST = 1000, 12  # entries of a list, levels


class _Dumper(yaml.SafeDumper):
    """Writes every value out, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Tagged:
    """An object that a YAML tag has built: the tag, and its settings as plain values."""

    def __init__(self, tag: str, settings: dict[str, Any]) -> None:
        self.tag, self.settings = tag, settings


_Dumper.add_representer(_Tagged, lambda dumper, value: dumper.represent_mapping(value.tag, value.settings,
                                                                                flow_style=True))


def as_yaml(cfg: Mapping[str, Any], whole: bool = False) -> str:
    """All that the files and options of a config say, with the values that they have now; without passwords.

    Args:
        cfg: ppdet's global config, in which a registered class holds its own settings, none where nothing says any.
        whole: a config that can be loaded: nothing is cut, tags are tags; else a text to read.
    """
    names = sorted((name for name, value in cfg.items() if not isinstance(value, SchemaDict) or dict.__len__(value)),
                   key=lambda name: isinstance(cfg[name], SchemaDict))
    values = {name: _plain(cfg[name], whole) for name in names if name not in LEFT_OUT}
    return masked(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100,
                            default_flow_style=None))


def _plain(value, whole, depth=0):
    """Dicts, lists, texts and numbers; a tagged object as {its tag: its settings}, or with its tag."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if depth >= DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _plain(one, whole, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        most = len(value) if whole else LONGEST
        return [_plain(one, whole, depth + 1) for one in value[:most]] + ["..."] * (len(value) > most)
    if hasattr(value, "__dict__"):  # settings are what its class is made with; the rest, such as a data set's, is not
        settings = inspect.signature(type(value).__init__).parameters
        found = {name: _plain(one, whole, depth + 1) for name, one in vars(value).items() if name in settings}
        tag = f"!{type(value).__name__}"
        return _Tagged(tag, found) if whole else {tag: found}
    return str(value)
