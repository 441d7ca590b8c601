# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Lists of class names beside a data set's annotations: one name a line."""
from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError, printable
from .tree import Tree, read_lines

NAME_FILES = ("label_list.txt", "classes.txt", "labels.txt", "obj.names", "classes.names", "names.txt",
              "_darknet.labels")


def listed_names(tree: Tree) -> list[str] | None:
    """The names of the list in the root, or in one of its folders; None where there is none.

    Raises:
        UserError: it cannot be read, is empty, or names a class twice.
    """
    found = [path for path in tree.files if path.count("/") <= 1 and path.rpartition("/")[2].lower() in NAME_FILES]
    for path in sorted(found, key=lambda path: path.count("/")):
        lines = [line.strip() for line in read_lines(tree.path(path), "data set")]
        return distinct([line for line in lines if line], f"'{tree.path(path)}'")
    return None


def distinct(names: Sequence[str], where: str) -> list[str]:
    """The names.

    Raises:
        UserError: there are none, or one is empty or there twice.
    """
    seen: set[str] = set()
    for name in names:
        if not name.strip() or name in seen:
            raise UserError(f"{where}: class '{printable(name)}' is empty or there twice; each class needs a name of "
                            "its own")
        seen.add(name)
    if not names:
        raise UserError(f"{where} names no classes")
    return list(names)
