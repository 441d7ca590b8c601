# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Annotation files with anything in them: they are read, or refused in one line."""
import random

import pytest
from support.layout_cases import CASES

from ppdet_ext.datasets import data_folder, layouts
from ppdet_ext.errors import UserError

TEXTS = [b"", b"\0", b"-1", b"1e400", b"9" * 400, b"nan", b"../", b"null", b"[]", b"{}", b"\xff\xfe", b"\n", b'"', b"<",
         b",", b"true", b"/", b"&a;", b"'", b": "]


def mutated(content, chance):
    """A text with a piece of it replaced, doubled or cut out."""
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((0, 1, 3, 10, 60)))
    return content[:start] + chance.choice((*TEXTS, content[start:end] * 2)) + content[end:]


def attempts(case, folder, count):
    """Read the set ``count`` times, each time with another change to one of its texts."""
    CASES[case][0](folder)
    texts = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".jpg"]
    chance = random.Random(case)
    refused = 0
    for _ in range(count):
        path = chance.choice(texts)
        good = path.read_bytes()
        path.write_bytes(mutated(good, chance))
        try:
            layouts.read(folder, [])
            data_folder.read(folder, folder.parent / "out")
        except UserError:
            refused += 1
        path.write_bytes(good)
    return refused


@pytest.mark.parametrize("case", CASES)
def test_changed_texts_are_read_or_refused(case, tmp_path):
    attempts(case, tmp_path / "in", 3)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_many_changed_texts(case, tmp_path):
    assert attempts(case, tmp_path / "in", 300)
