# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page of a data set that was checked: what was found, classes by split, sizes of objects, examples with boxes."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.check_kinds import KINDS, SERIOUS, SEVERITIES, WARNING
from ..datasets.check_subject import Example, Subject
from ..datasets.dataset_checks import class_counts
from ..deploy.deploy_error import DeployError
from ..deploy.image_files import read_image
from ..errors import printable
from ..files import atomic_path
from . import figures
from .page import Picture, Words, render
from .thumbnails import NAME, Box, Thumbnail, thumbnail

FINDING_COLUMNS: dict[str, Words] = {
    "severity": ("severity", "程度"), "what": ("what", "内容"), "count": ("count", "数量"),
    "more": ("more on it", "详情"), "advice": ("what to do", "处理办法"), "mended": ("--fix", "")}
FIX_COLUMNS: dict[str, Words] = {"what": ("what was wrong", "问题"), "count": ("changes", "修改数"),
                                 "mended": ("what was done", "处理")}
#: in question, others of the picture
COLOURS = {True: "#d02f2f", False: "#2e9e4f"}
CLASSES = 400  # rows of the table
BARS = 40  # of a histogram
PLACES = 3  # of a finding, in the table
Fixes = Sequence[tuple[str, int, Words, Words]]


def write(subject: Subject, path: str | Path, fixes: Fixes = ()) -> None:
    """Write the page; it appears whole.

    Args:
        fixes: (kind, how many, what was wrong, what was done), of a corrected copy.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(as_html(subject, fixes), encoding="utf-8")


def as_html(subject: Subject, fixes: Fixes = ()) -> str:
    """The page as HTML; arguments as those of :func:`write`."""
    name = printable(subject.data.root.name or subject.data.root, NAME)
    return render(
        "check.html.j2", title=(f"Data set: {name}", f"数据集：{name}"), tiles=_tiles(subject), facts=_facts(subject),
        findings=[_row(finding) for finding in subject.findings], finding_columns=FINDING_COLUMNS, marked=SERIOUS,
        fixes=[{"what": title, "count": count, "mended": mended} for _, count, title, mended in fixes],
        fix_columns=FIX_COLUMNS, classes=_classes(subject)[:CLASSES],
        classes_left_out=max(len(subject.data.names) - CLASSES, 0), class_columns=_class_columns(subject),
        figures=_figures(subject), examples=_examples(subject))


def _tiles(subject):
    counts = {name: sum(finding.severity == name for finding in subject.findings) for name in (SERIOUS, WARNING)}
    advice = {finding.kind: finding.count for finding in subject.findings}
    tiles = [(len(subject.paths), ("pictures", "图片")), (len(subject.boxes), ("boxes", "框")),
             (len(subject.data.names), ("classes", "类别")), *((counts[name], SEVERITIES[name]) for name in counts)]
    return tiles + [(advice[kind], KINDS[kind].title) for kind in ("input_size", "num_queries") if kind in advice]


def _facts(subject):
    data = subject.data
    splits = ", ".join(f"{name} {len(data.splits[name]):,}" for name in subject.splits)
    return [(("folder", "目录"), str(data.root)), (("layout", "格式"), data.layout), (("splits", "划分"), splits),
            (("queries of the detector", "检测器的查询数"), subject.queries),
            *((("note", "说明"), printable(note, 500)) for note in data.notes)]


def _row(finding):
    kind = KINDS[finding.kind]
    more = finding.text if finding.text[0] else "\n".join(finding.places[:PLACES])
    return {"severity": SEVERITIES[finding.severity], SERIOUS: finding.severity == SERIOUS, "what": kind.title,
            "count": f"{finding.count:,}" + (f" / {finding.of:,}" if finding.of else ""), "more": more,
            "advice": kind.advice, "mended": kind.mended}


def _class_columns(subject: Subject) -> dict[str, Words]:
    return {"name": ("class", "类别"), **{name: (name, "") for name in subject.splits}}


def _classes(subject: Subject) -> list[dict[str, Any]]:
    counts = class_counts(subject)
    return [{"name": printable(name, NAME), **{split: int(own) for split, own in zip(subject.splits, column)}}
            for name, column in zip(subject.data.names, counts.T)]


def _figures(subject):
    own = subject.objects & ~np.isnan(subject.box_sizes).any(1)
    if not own.any():
        return []
    side = next((finding.count for finding in subject.findings if finding.kind == "input_size"), 1)
    boxes = subject.corners[own]
    pixels = side * np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], 1) / np.prod(subject.box_sizes[own], 1))
    objects = subject.per_picture(subject.objects)[subject.there]
    most = int(objects.max(initial=1))
    return [
        Picture.of(figures.histogram(pixels, np.geomspace(1, max(side, 2), BARS).tolist(),
                                     f"pixels of an object at {side} x {side}", "objects"),
                   ("Sizes of objects", "目标尺寸"), ("The root of the area.", "面积的平方根。")),
        Picture.of(figures.histogram(objects, (np.arange(0, most + 2, max(1, (most + 1) // BARS)) - 0.5).tolist(),
                                     "objects in a picture", "pictures"), ("Objects in a picture", "每图目标数"))]


def _examples(subject: Subject) -> list[tuple[Words, list[Thumbnail]]]:
    """(title, pictures) of each finding that has examples."""
    found = [(KINDS[finding.kind].title, [one for one in map(_thumbnail, finding.examples) if one])
             for finding in subject.findings if finding.examples]
    return [(title, shown) for title, shown in found if shown]


def _thumbnail(example: Example) -> Thumbnail | None:
    try:
        image = read_image(example.path)
    except DeployError:  # it was there when its file was checked
        return None
    boxes = [Box(min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1), COLOURS[flagged], name, False)
             for x1, y1, x2, y2, name, flagged in reversed(example.boxes)]
    return thumbnail(image, printable(example.path.name, NAME), boxes, example.note)
