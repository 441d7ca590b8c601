# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Names to classes, on PaddleDetection's registry: register, build, and the rule for name clashes.

A name that is taken is an error, unless the caller asks to replace it, which is logged. Everything lives in
``ppdet.core.workspace.global_config``, so PaddleDetection's own ``create`` and ``__inject__`` find our classes.
"""
from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from paddle import nn
from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict, extract_schema
from ppdet.utils.logger import setup_logger

from ..errors import UserError, nearest
from .user_class import adapt

logger = setup_logger("ppdet_ext")

_replaced_by_us: dict[str, str] = {}


def register(cls: type[Any] | None = None, *, replace: bool = False) -> Any:
    """Register a class under its own name; use as ``@register`` or ``@register(replace=True)``.

    A plain class with a ``forward`` becomes an nn.Layer, and a network without ``out_shape`` gets one: see
    user_class.adapt. Settings that a config has given under this name already are kept.

    Args:
        replace: take over a name that is held, with a warning that says what was replaced.

    Returns:
        the class to use from here on (a new one where ``cls`` was a plain class).

    Raises:
        UserError: the name is taken and ``replace`` is False; or ``cls`` is no class.
    """
    if cls is None:
        return functools.partial(register, replace=replace)
    if not inspect.isclass(cls):
        raise UserError(f"register takes a class, not {cls!r}; write @register right above the class")
    holder = holder_of(cls.__name__)
    if holder and holder != _full_name(cls):
        if not replace:
            raise UserError(f"the name '{cls.__name__}' is taken by {holder}; rename {_full_name(cls)}, or take the "
                            "name over with @register(replace=True)")
        logger.warning("'%s' now means %s; it replaces %s, which configs no longer reach by this name",
                       cls.__name__, _full_name(cls), holder)
    cls = adapt(cls)
    _put(cls)
    return cls


def register_user(cls: type[Any] | None = None, *, replace: bool = True) -> Any:
    """``register`` as the guide imports it from rt_detr_paddle: a name that is held is replaced, with a warning."""
    return register(cls, replace=replace)


def register_over(cls: type[Any]) -> type[Any]:
    """Decorator for this package's own detector classes: ours is always the one used, whatever ppdet holds.

    What was replaced is collected and said once, by ``announce_replaced``.
    """
    holder = holder_of(cls.__name__)
    if holder and holder != _full_name(cls):
        _replaced_by_us[cls.__name__] = holder
    _put(cls)
    return cls


def announce_replaced() -> dict[str, str]:
    """One log line for everything that ``register_over`` replaced since the last call. Returns {name: holder}."""
    replaced = dict(_replaced_by_us)
    _replaced_by_us.clear()
    if replaced:
        logger.info("using ppdet_ext's %s in place of ppdet's", ", ".join(sorted(replaced)))
    return replaced


def serializable(cls: type[Any]) -> type[Any]:
    """ppdet's: ``!Name {...}`` in YAML makes an instance, which must keep each argument under its own name."""
    return workspace.serializable(adapt(cls))


def holder_of(name: str) -> str:
    """'module.Class' of what is registered under ``name``; '' for a free name or one that only has settings."""
    entry = workspace.global_config.get(name)
    if entry is None or (isinstance(entry, Mapping) and not isinstance(entry, SchemaDict)):
        return ""
    return _full_name(_class_of(entry)) if isinstance(entry, SchemaDict) else f"a config value ({entry!r})"


def schema_of(name: str) -> SchemaDict:
    """ppdet's schema of a registered class, which also holds the settings of its config section.

    Raises:
        UserError: no class has this name, with the nearest ones.
    """
    schema = workspace.global_config.get(name)
    if not isinstance(schema, SchemaDict):
        raise UserError(f"no class is registered as '{name}'{nearest(name, registered_names())}")
    return schema


def registered_names() -> list[str]:
    """Sorted names of all registered classes."""
    return sorted(workspace.get_registered_modules())


def check_settings(name: str, settings: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
    """Compare the settings of a registered name (its config section, and ``settings``) with what the class takes.

    Settings of parts that it names (``loss: {name: DINOLoss, ...}``) are compared too.

    Raises:
        UserError: unknown name, unknown setting (with the nearest ones), or a required one is missing.
    """
    schema = schema_of(name)
    given = {**dict(schema), **dict(settings)}
    if schema.strict:
        for key in given:
            if key not in schema.schema:
                raise UserError(f"{name} has no setting '{key}'{_nearest_setting(key, schema.schema)}")
    # from_config makes what it names itself, so only plain constructors can be held to their required arguments
    if not hasattr(_class_of(schema), "from_config"):
        missing = [key for key in schema.schema if key not in given and not schema.has_default(key)]
        if missing:
            raise UserError(f"{name} needs a setting '{missing[0]}'; write it in the config's {name} section")
    for key in schema.inject:
        part = given.get(key, schema.schema[key].default if schema.has_default(key) else None)
        if isinstance(part, str):
            if not hasattr(workspace.global_config.get(part), "__dict__"):
                check_settings(part)
        elif isinstance(part, Mapping) and "name" in part:
            check_settings(*_name_and_settings(part))


def build(spec: str | type[Any] | Mapping[str, Any] | nn.Layer, **kwargs: Any) -> Any:
    """An instance from a registered name, a class, or ``{'name': X, **settings}``; an nn.Layer is given back as it is.

    As ppdet's ``create``: the name's config section, ``__shared__``, ``__inject__`` and ``from_config`` count. Unlike
    it, neither ``settings`` nor those of nested parts stay in the global config, and unknown ones are errors.

    Args:
        kwargs: go to ``from_config`` where the class has one (such as input_shape), else they are settings.

    Raises:
        UserError: as ``check_settings``.
    """
    entry = workspace.global_config.get(spec) if isinstance(spec, str) else spec
    if isinstance(entry, nn.Layer):
        if kwargs:
            raise UserError(f"{type(entry).__name__} is built already and takes no settings: {', '.join(kwargs)}")
        return entry
    with _global_config_kept(spec):
        if inspect.isclass(spec):
            _lend_name(spec)
        name, settings = _name_and_settings(spec)
        schema = schema_of(name)
        if not hasattr(_class_of(schema), "from_config"):
            settings, kwargs = {**settings, **kwargs}, {}
        check_settings(name, settings)
        for key, value in settings.items():
            dict.__setitem__(schema, key, value)
        return workspace.create(name, **kwargs)


def _put(cls):
    """Enter the class into ppdet's global config, keeping settings that are there under its name."""
    if hasattr(cls, "__op__"):
        cls = workspace.make_partial(cls)
    schema = extract_schema(cls)
    # ppdet looks the class up by name in this "module": a namespace serves classes made inside functions too
    schema.pymodule = types.SimpleNamespace(**{"__name__": cls.__module__, cls.__name__: cls})
    earlier = workspace.global_config.get(cls.__name__)
    if isinstance(earlier, Mapping):
        schema.update(earlier)
    workspace.global_config[cls.__name__] = schema


def _full_name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


def _class_of(schema):
    return getattr(schema.pymodule, schema.name)


def _nearest_setting(key, known):
    hint = nearest(key, known)
    if hint:
        return hint
    close = difflib.get_close_matches(key, list(known), n=3, cutoff=0.3)
    return f"; it takes {', '.join(close or known)}" if known else "; it takes none"


def _name_and_settings(spec):
    if inspect.isclass(spec):
        return spec.__name__, {}
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise UserError(f"cannot build from {spec!r}; give a registered name, a class, or {{name: ..., settings}}")
    return spec["name"], copy.deepcopy({key: value for key, value in spec.items() if key != "name"})


def _lend_name(cls):
    """Enter a class that is not registered; ``_global_config_kept`` takes it out again."""
    registered = workspace.global_config.get(cls.__name__)
    if not isinstance(registered, SchemaDict) or _class_of(registered) is not cls:
        workspace.global_config.pop(cls.__name__, None)
        _put(adapt(cls))


@contextlib.contextmanager
def _global_config_kept(spec: object) -> Iterator[None]:
    """Put every entry that was in ppdet's global config back as it was; other names than the spec's may come new."""
    config = workspace.global_config
    entries = dict(config)
    sections = {name: dict(entry) for name, entry in entries.items() if isinstance(entry, dict)}
    try:
        yield
    finally:
        if inspect.isclass(spec):
            config.pop(spec.__name__, None)
        config.update(entries)
        for name, section in sections.items():
            entries[name].clear()
            entries[name].update(section)
