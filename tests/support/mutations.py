# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Changes to configs and annotations, one value at a time, each of a class that says what must come of it."""
from __future__ import annotations

import copy
import math
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny import TINY

from ppdet_ext.config import config_file

NAN, INF = float("nan"), float("inf")
HOSTILE = ["abc", "ten", "-", "nan", "", "a\nb\x1b[2J", "../..", NAN, INF, -INF, -5, -1, -0.5, 10 ** 9, 1e300,
           10 ** 60, 1.5, 0, None, True, [], [1], ["a"], [[1, 2], [3]], [NAN], {}, {"a": 1}, {"name": "Nope"},
           {"name": [1]}, {1: 2}]
_SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
# what may be put in a place: mostly what is known to hurt, and whatever hypothesis thinks of
VALUES = st.sampled_from(HOSTILE) | _SIMPLE | st.lists(_SIMPLE, max_size=4) | st.dictionaries(
    st.text(max_size=6), _SIMPLE, max_size=3)


def kind(value):
    """The class of a value: text, not finite, number, flag, list, group or nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    kinds = {bool: "flag", int: "number", float: "number", str: "text", list: "list", dict: "group"}
    return kinds.get(type(value), "nothing")


def plain(value):
    """A config's values with its tagged objects as groups with a name."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return {"name": type(value).__name__, **plain(vars(value))} if hasattr(value, "__dict__") else value


def tiny_values(folder, configs, data):
    """The tiny detector's config, merged with its bases."""
    path = folder / "whole.yml"
    path.write_text(TINY.format(configs=configs, data=data, output=folder / "output"))
    return plain(config_file.read(path))


def places(values, here=()):
    """Every place in nested dicts and lists, groups and lists themselves too: tuples of keys and numbers."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*here, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*here, key))


def at(values, place):
    """What stands in a place."""
    for key in place:
        values = values[key]
    return values


def put(values, place, value):
    """A copy with another value in a place."""
    changed = copy.deepcopy(values)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def drop(values, place):
    """A copy without a place."""
    changed = copy.deepcopy(values)
    del at(changed, place[:-1])[place[-1]]
    return changed


def write(path, values):
    """A config file of plain values."""
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return path


def is_one_line(message):
    """Whether a message can be printed: one line, no control characters, not endless."""
    return "\n" not in message and len(message) < 2100 and not re.search(r"[\x00-\x1f\x7f]", message)


def cases(count, check):
    """A test that calls ``check(..., data=hypothesis's data)`` ``count`` times, the same ones in every run."""
    settled = settings(derandomize=True, deadline=None, max_examples=count, database=None,
                       suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    return settled(given(data=st.data())(check))


def many_cases(count, check):
    """The same as a slow test."""
    return pytest.mark.slow(cases(count, check))
