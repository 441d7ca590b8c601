# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Code blocks of docs that carry a marker, such as ``<!-- tutorial: train -->``."""
import re

from .paths import REPO

_BLOCK = re.compile(r"<!-- (?P<marker>[\w-]+): (?P<name>[\w-]+) -->\n```\w*\n(?P<text>.*?)```", re.DOTALL)


def blocks(page, marker):
    """{name: text} of the blocks of docs/``page`` with this marker, in their order."""
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    found = [(each["name"], each["text"]) for each in _BLOCK.finditer(text) if each["marker"] == marker]
    assert len(dict(found)) == len(found) == text.count(f"<!-- {marker}: "), f"{page}: a marker without block, or twice"
    return dict(found)


def commands(text):
    """The lines of a block, without comments; a line that ends in a backslash goes on in the next."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
