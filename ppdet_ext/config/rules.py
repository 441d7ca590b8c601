# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a value may be, as a small object: a test, the words for it, an example; ``|`` joins two."""
from __future__ import annotations

import functools
import math
import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 6


@dataclass(frozen=True)
class Rule:
    """A rule for one value.

    Attributes:
        allowed: completes "it is 5, not ...".
        fits: whether a value keeps the rule; takes anything and never raises.
        example: a value that fits, as it is written in YAML.
    """

    allowed: str
    fits: Callable[[Any], bool]
    example: str

    def __or__(self, other: Rule) -> Rule:
        return Rule(f"{self.allowed} or {other.allowed}", lambda value: self.fits(value) or other.fits(value),
                    self.example)


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    # an int beyond the floats is not finite to what computes with it
    return abs(value) < 1 << 1023 if _is_whole(value) else isinstance(value, float) and math.isfinite(value)


def _range(least, most):
    if least is None:
        return "" if most is None else f" up to {most}"
    return f" from {least}" if most is None else f" from {least} to {most}"


def whole(least: int | None = None, most: int | None = None, example: int | None = None) -> Rule:
    """A whole number from ``least`` to ``most``, both allowed."""
    text = "a whole number above 0" if (least, most) == (1, None) else f"a whole number{_range(least, most)}"
    return Rule(text, lambda value: _is_whole(value) and (least is None or value >= least)
                and (most is None or value <= most), str(least or 0 if example is None else example))


def number(least: float | None = None, most: float | None = None, *, above: float | None = None,
           below: float | None = None, example: float = 0.5) -> Rule:
    """A finite number from ``least`` to ``most``; not ``above`` and ``below`` themselves."""
    limits = (("above", above), ("from", least), ("below", below), ("up to", most))
    text = " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)
    return Rule(f"a number {text}" if text else "a number", lambda value: _is_number(value)
                and (least is None or value >= least) and (most is None or value <= most)
                and (above is None or value > above) and (below is None or value < below), str(example))


def one_of(*names: str) -> Rule:
    """One of these words."""
    return Rule(f"one of {', '.join(names)}" if len(names) > 1 else names[0],
                lambda value: isinstance(value, str) and value in names, names[0])


def each(rule: Rule, counts: Sequence[int] | None = None, least: int = 1, example: str | None = None) -> Rule:
    """A list of what keeps ``rule``: of one of these ``counts`` of entries, or at least ``least``."""
    size = f"{' or '.join(map(str, counts))} entries" if counts else f"at least {least}"
    fill = [rule.example] * (counts[0] if counts else max(least, 1))
    return Rule(f"a list ({size}; each {rule.allowed})", lambda value: isinstance(value, (list, tuple))
                and (len(value) in counts if counts else len(value) >= least) and all(map(rule.fits, value)),
                example or f"[{', '.join(fill)}]")


def table(rule: Rule, needs: Sequence[str] = (), example: str = "{name: 1.0}", only: Sequence[str] = ()) -> Rule:
    """A group ``{name: value}`` of what keeps ``rule``, with at least the names ``needs``, with none but ``only``."""
    text = f" with {', '.join(needs)}" if needs else f" of {', '.join(only)}" if only else ""
    return Rule(f"a group {{name: value}}{text} (each {rule.allowed})", lambda value: isinstance(value, dict)
                and all(isinstance(key, str) and (not only or key in only) for key in value)
                and set(needs) <= set(value) and all(map(rule.fits, value.values())), example)


def _is_pattern(value):
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _is_text(value):
    """Text that can be a path: file systems raise errors of their own for others."""
    return isinstance(value, str) and "\0" not in value and len(value) <= 4096 and all(
        len(part.encode(errors="replace")) <= 255 for part in value.split("/"))


ANYTHING = Rule("anything", lambda value: True, "x")
NONE = Rule("null", lambda value: value is None, "null")
OFF = Rule("false", lambda value: value is False, "false")
# 0 and 1 work wherever true and false do
FLAG = Rule("true or false", lambda value: isinstance(value, int) and value in (0, 1), "true")
SWITCH = Rule("true or false", lambda value: isinstance(value, bool), "true")
TEXT = Rule("text (names in it of at most 255 bytes)", _is_text, "name")
PATTERN = Rule("a regular expression", _is_pattern, "'backbone.*'")
LIST = Rule("a list", lambda value: isinstance(value, (list, tuple)), "[]")
GROUP = Rule("a group of settings {key: value}", lambda value: isinstance(value, dict), "{}")

# annotations of a parameter -> Rule, joined by " | "
_ANNOTATIONS = {"int": whole(), "float": number(), "bool": FLAG, "str": TEXT, "None": NONE, "dict": GROUP, "list": LIST,
                "Sequence[int]": each(whole(), least=0), "Sequence[float]": each(number(), least=0),
                "Sequence[str]": each(TEXT, least=0), "dict[str, float]": table(number()),
                "Mapping[str, Any]": GROUP}
# a default's type -> Rule; an int may be a float elsewhere (scale=1)
_DEFAULTS = {bool: FLAG, int: number(), float: number(), str: TEXT, list: LIST, tuple: LIST, dict: GROUP}


def of_parameter(annotation: Any, default: Any) -> Rule:
    """The rule that a parameter's annotation states, else its default's type; ANYTHING where neither says."""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    parts = name.split(" | ")
    if set(parts) <= set(_ANNOTATIONS):
        return functools.reduce(Rule.__or__, (_ANNOTATIONS[part] for part in parts))
    return ANYTHING if name else _DEFAULTS.get(type(default), ANYTHING)


def shown(value: Any) -> str:
    """A value for a message: short, on one line, control characters escaped."""
    try:
        return _SHORT.repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits
        return f"a {type(value).__name__} that is too long to print"


def name(value: object) -> str:
    """A name for a message, in quotes: as it is, but on one line, without control characters and not endless."""
    text = value if isinstance(value, str) else shown(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return f"'{text[:80]}{'...' if len(text) > 80 else ''}'"
