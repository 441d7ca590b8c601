# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Arguments that a config gives to a class that ppdet builds by name: their names and values against its signature."""
from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import UserError, nearest
from . import rules, values


def unknown(where: str, key: object, choices: Collection[str]) -> UserError:
    """The error for a setting that is not there."""
    return UserError(f"{where} has no setting {rules.name(key)}{nearest(key, choices)}")


def signature(owner: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """({parameter name: parameter}, takes any keyword) of a class; ``**kwargs`` go on to its base."""
    names: dict[str, inspect.Parameter] = {}
    for cls in inspect.getmro(owner):
        if "__init__" in vars(cls):
            parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
            names = {**{item.name: item for item in parameters
                        if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)}, **names}
            if not any(item.kind is item.VAR_KEYWORD for item in parameters):
                return names, False
    return names, True


def check_call(where: str, owner: type, given: Mapping[str, Any]) -> None:
    """Hold the arguments of a class to what it takes.

    Raises:
        UserError: one is unknown, one that is needed is missing, or a value is not allowed.
    """
    check_names(where, owner, given)
    check_values(where, owner, given)


def check_names(where: str, owner: type, given: Collection[str]) -> None:
    """Hold the names of a class's arguments to what it takes.

    Raises:
        UserError: one is unknown, or one that is needed is missing.
    """
    names, any_keyword = signature(owner)
    extra = [key for key in given if key not in names]
    if extra and not any_keyword:
        raise unknown(where, extra[0], names)
    missing = [key for key, item in names.items() if item.default is item.empty and key not in given]
    if missing:
        raise UserError(f"{where} needs the setting '{missing[0]}'")


def check_values(where: str, owner: type, given: Mapping[str, Any]) -> None:
    """Hold the values of a class's arguments to their rules.

    Raises:
        UserError: one is not allowed.
    """
    for key, item in signature(owner)[0].items():
        if key in given:
            annotation = None if item.annotation is item.empty else item.annotation
            default = None if item.default is item.empty else item.default
            values.check(f"{where}.{key}", given[key],
                         values.rule_for(owner.__name__, key, owner.__module__, annotation, default))
