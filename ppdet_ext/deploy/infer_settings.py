# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""infer_cfg.yml of an exported model, read as data: what each key may be, and how much of it there may be."""
from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import preprocess
from .deploy_error import DeployError, shown

#: bytes of the file; 20,000 class names are about half of it
MAX_BYTES = 1 << 20
MAX_LABELS, MAX_STEPS, MAX_TEXT = 100_000, 50, 300
MAX_DEPTH, MAX_ALIASES = 20, 100
# the reader in C, where PyYAML has it; both make plain values only
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_LOADER):
    """A safe loader that takes no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """The mapping of ``node``; yaml.YAMLError for a key that stands twice."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise yaml.YAMLError(f"the key {shown(twice[0])} stands twice")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class InferSettings:
    """What detection needs of infer_cfg.yml."""

    arch: str
    labels: list[str]
    steps: list[preprocess.Step]
    min_subgraph_size: int
    use_dynamic_shape: bool


def read(path: Path) -> InferSettings:
    """Read and check infer_cfg.yml.

    Raises:
        DeployError: it cannot be read, is not YAML, lacks a key, or a value cannot be used; names it.
    """
    values = _load(path)
    missing = [key for key in ("arch", "Preprocess", "label_list") if not isinstance(values, dict) or key not in values]
    if missing:
        raise DeployError(f"'{path}' lacks {', '.join(missing)}; export the model again with tools/export_model.py")
    for key, (good, wanted) in _VALUES.items():
        if key in values and not good(values[key]):
            raise DeployError(f"'{path}': {key} must be {wanted}, not {shown(values[key])}")
    try:
        steps = preprocess.build(values["Preprocess"])
        preprocess.check_order(steps)
    except DeployError as error:
        raise DeployError(f"'{path}': {error}") from None
    return InferSettings(arch=values["arch"], labels=[str(label) for label in values["label_list"]], steps=steps,
                         min_subgraph_size=values.get("min_subgraph_size", 3),
                         use_dynamic_shape=values.get("use_dynamic_shape", False))


def _load(path):
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DeployError(f"'{path}' has more than {MAX_BYTES >> 10} KB; that is no infer_cfg.yml")
        text = path.read_text(encoding="utf-8")
        _check_form(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a safe loader
    except OSError as error:
        raise DeployError(f"cannot read '{path}' ({error.strerror})") from None
    except DeployError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, the 99th of a month
        raise DeployError(f"'{path}' is not YAML: {' '.join(str(error).split())[:300]}") from None


def _check_form(text):
    """Before anything is made of the text: nesting, and values that stand for others, of which few can mean many."""
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > MAX_DEPTH or aliases > MAX_ALIASES:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} levels or {MAX_ALIASES} aliases")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise yaml.YAMLError("'<<' is not used in infer_cfg.yml")


def _is_text(value):
    return (isinstance(value, str) and len(value) <= MAX_TEXT
            and not any(unicodedata.category(sign) == "Cc" for sign in value))


def _is_label(value):
    # YAML reads names such as 1, 2.5, no and 2026-11-29 as values of their own
    return _is_text(value) if isinstance(value, str) else value is not None and not isinstance(value, (list, dict, set))


def _is_list(limit, good):
    return lambda value: isinstance(value, list) and len(value) <= limit and all(map(good, value))


def _is_step(value):
    return isinstance(value, dict) and all(map(_is_text, value)) and _is_text(value.get("type"))


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "arch": (_is_text, f"a text of at most {MAX_TEXT} signs"),
    "label_list": (_is_list(MAX_LABELS, _is_label), f"a list of at most {MAX_LABELS} class names"),
    "Preprocess": (_is_list(MAX_STEPS, _is_step),
                   f"a list of at most {MAX_STEPS} steps (type: NAME, and its settings)"),
    "min_subgraph_size": (lambda value: type(value) is int and 0 < value < 1 << 20, "a number from 1"),
    "use_dynamic_shape": (lambda value: isinstance(value, bool), "true or false"),
}
