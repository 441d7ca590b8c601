# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Numbers of networks that README and docs name are those of the registry, the graphs and the sweep."""
import re

import pytest
from support.paths import REPO

from ppdet_ext.backbones import list_families, list_models
from ppdet_ext.trace import on_demand


def text(path):
    return (REPO / path).read_text(encoding="utf-8")


def numbers(path, pattern):
    """Whole numbers that stand where the pattern's groups are; the pattern must be found."""
    found = list(re.finditer(pattern, text(path)))
    assert found, f"{path} no longer says {pattern!r}"
    return [int(number.replace(",", "")) for match in found for number in match.groups()]


@pytest.mark.parametrize("path", ["README.md", "README_cn.md"])
def test_the_table_of_families(path):
    """A row begins with the family's name."""
    rows = re.findall(r"^\| (\w[^|]*?) \| (\d+) \| [^|]*\|$", text(path), re.MULTILINE)
    counts = {re.split("[,、]", name)[0].lower(): int(count) for name, count in rows}
    assert counts == {family: len(archs) for family, archs in list_families().items()}


@pytest.mark.parametrize("path, pattern", [
    ("README.md", r"Written out in Paddle, to read and change, are (\d+)"),
    ("README_cn.md", r"其中 (\d+) 个用 Paddle 逐个写出"),
])
def test_native_networks(path, pattern):
    assert set(numbers(path, pattern)) == {len(list_models())}


@pytest.mark.parametrize("path, pattern", [
    ("README.md", r"(\d+) of them torchvision's"), ("README_cn.md", r"其中 (\d+) 个属于 torchvision"),
])
def test_torchvisions_networks(path, pattern):
    assert numbers(path, pattern) == [len(list_models(source="torchvision"))]


@pytest.mark.parametrize("path, pattern", [
    ("README.md", r"more than (\d+) often used networks"), ("README_cn.md", r"(\d+) 多个常用网络的图"),
    ("docs/bridge.md", r"more than (\d+) often used networks"), ("docs/bridge_cn.md", r"(\d+) 多个常用网络的图"),
])
def test_graphs_in_the_package(path, pattern):
    """'More than 80' holds up to 89."""
    said = numbers(path, pattern)
    assert set(said) == {(len(on_demand.shipped()) - 1) // 10 * 10}


@pytest.mark.parametrize("path, pattern", [
    ("README.md", r"have ([\d,]+) names.*\n(?:.*\n)*?.*All ([\d,]+) were held against their originals:\n"
                  r"([\d,]+) agree .*, (\d+) are only traced"),
    ("README_cn.md", r"共有 ([\d,]+) 个名字(?:.*\n)*?.*全部 ([\d,]+) 个都已与原网络逐一对照:"
                     r"([\d,]+) 个.*?, *(\d+) 个过大"),
])
def test_the_sweeps_totals(path, pattern):
    rows = dict(re.findall(r"^\| -? ?(names|within tolerance|traced only[^|]*?|falling short) \|.*\| (\d+) \|$",
                           text("docs/bridge/sweep.md"), re.MULTILINE))
    names, right, traced_only, short = map(int, rows.values())
    assert numbers(path, pattern) == [names, names, right, traced_only]
    assert (right + traced_only, short) == (names, 0)
