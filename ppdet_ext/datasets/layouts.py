# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which layout a data set has, and its reader: one table. ``read`` is the way in."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from . import coco_layout, csv_layout, voc_layout, yolo_layout
from .picture_set import Complaints, PictureSet, Problem
from .tree import Tree


class Layout(NamedTuple):
    """A row: how a layout is told, and read.

    Args:
        suffixes: of the one file that can be named instead of the folder.
        root: the data set's folder, from that file.
        recognise: what in a folder makes it this layout, in words; None where nothing does.
        read: reads a folder, or the one file.
        needs: what such a folder has, for who has none.
    """

    name: str
    suffixes: tuple[str, ...]
    root: Callable[[Path], Path]
    recognise: Callable[[Tree], str | None]
    read: Callable[[Tree, Complaints, str | None], PictureSet]
    needs: str


def _parent(path: Path) -> Path:
    return path.parent


#: the first that recognises a folder reads it
LAYOUTS = (
    Layout("VOC lists", (), _parent, voc_layout.recognise_lists, voc_layout.read_lists,
           "label_list.txt, train.txt and val.txt with '<image> <xml>' lines"),
    Layout("COCO", (".json",), coco_layout.root_of, coco_layout.recognise, coco_layout.read,
           "annotations/train.json and val.json"),
    Layout("YOLO", (".yaml", ".yml"), _parent, yolo_layout.recognise, yolo_layout.read,
           "data.yaml, images/ and labels/"),
    Layout("VOC", (), _parent, voc_layout.recognise, voc_layout.read,
           "JPEGImages/ and Annotations/, or pictures and XML files of the same names"),
    Layout("CSV", (".csv",), _parent, csv_layout.recognise, csv_layout.read,
           "a CSV with the columns filename, xmin, ymin, xmax, ymax, class"),
)


def read(path: str | Path, problems: list[Problem] | None = None) -> PictureSet:
    """Read a data set: a folder, or the file that describes it.

    Args:
        problems: gets what is wrong, one by one, and reading goes on; without it the first mistake ends it.

    Raises:
        UserError: there is no such folder or file, no layout fits, or (strict) anything in it is wrong.
    """
    given = Path(path).expanduser()
    if given.is_dir():
        tree = Tree(given)
        fits = [(layout, evidence) for layout in LAYOUTS if (evidence := layout.recognise(tree))]
        if not fits:
            raise UserError(f"data set '{given}': no data set is recognised here; one has "
                            f"{'; or '.join(f'{layout.needs} ({layout.name})' for layout in LAYOUTS)}; "
                            "docs/custom_dataset.md shows them")
        (layout, _), *others = fits
        only = None
    elif given.is_file():
        layout, others = _of_file(given), []
        tree = Tree(layout.root(given.absolute()))
        only = tree.inside("", str(given.absolute()))
    else:
        raise UserError(f"data set '{given}': there is no such folder or file")
    found = layout.read(tree, Complaints(problems), only)
    found.notes += [f"the folder looks like {other.name}, too ({evidence}); to take that, name its file"
                    for other, evidence in others]
    return found


def _of_file(path):
    fits = [layout for layout in LAYOUTS if path.name.lower().endswith(layout.suffixes)]
    if not fits:
        known = ", ".join(suffix for layout in LAYOUTS for suffix in layout.suffixes)
        raise UserError(f"data set '{path}': a file must be one of {known}; or name the data set's folder")
    return fits[0]
