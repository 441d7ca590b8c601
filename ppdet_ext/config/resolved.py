# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The config that a run really had, as YAML text: bases, options and resolved values in one."""
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


def as_yaml(cfg: Mapping[str, Any]) -> str:
    """All that the files and options of a config say, with the values that they have now; without passwords.

    Args:
        cfg: ppdet's global config, in which a registered class holds its own settings, none where nothing says any.
    """
    names = sorted((name for name, value in cfg.items() if not isinstance(value, SchemaDict) or dict.__len__(value)),
                   key=lambda name: isinstance(cfg[name], SchemaDict))
    values = {name: _plain(cfg[name]) for name in names if name not in LEFT_OUT}
    return masked(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100,
                            default_flow_style=None))


def _plain(value, depth=0):
    """Dicts, lists, texts and numbers; a tagged object as {its tag: its settings}."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if depth >= DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, depth + 1) for one in value[:LONGEST]] + ["..."] * (len(value) > LONGEST)
    if hasattr(value, "__dict__"):  # settings are what its class is made with; the rest, such as a data set's, is not
        settings = inspect.signature(type(value).__init__).parameters
        return {f"!{type(value).__name__}": {name: _plain(one, depth + 1) for name, one in vars(value).items()
                                             if name in settings}}
    return str(value)
