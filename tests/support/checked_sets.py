# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set in memory in which nothing is wrong, and its check: no file is read."""
import dataclasses
import os
from pathlib import Path

import numpy as np

from ppdet_ext.datasets import dataset_checks
from ppdet_ext.datasets.check_subject import Subject
from ppdet_ext.datasets.picture_facts import Facts
from ppdet_ext.datasets.picture_set import Box, Picture, PictureSet

WIDTH, HEIGHT = 640, 480
NAMES = ("cat", "dog")
SPLITS = {"train": 30, "val": 10}
BOXES = ((10, 20, 110, 140), (300, 200, 420, 330))
#: findings that every set has
ALWAYS = {"input_size", "num_queries"}


def good_set(layout="COCO"):
    """(PictureSet, {path: Facts}): two boxes a picture, one of each class."""
    splits = {split: [Picture(Path(f"/data/{split}/{number}.jpg"),
                              tuple(Box(label, *corners, where=f"box {label}") for label, corners in enumerate(BOXES)),
                              WIDTH, HEIGHT) for number in range(count)] for split, count in SPLITS.items()}
    paths = [picture.path for pictures in splits.values() for picture in pictures]
    rng = np.random.default_rng(0)
    facts = {path: Facts("", WIDTH, HEIGHT, 1, str(path), int(rng.integers(2**62)),
                         rng.integers(0, 256, 256, np.uint8).tobytes()) for path in paths}
    return PictureSet(Path("/data"), layout, NAMES, splits), facts


class Spoilt:
    """A set to spoil: its pictures and facts by (split, number)."""

    def __init__(self, layout="COCO"):
        self.data, self.facts = good_set(layout)
        self.problems = []

    def picture(self, number=0, split="train", **values):
        """Change what the annotations say of a picture."""
        self.data.splits[split][number] = dataclasses.replace(self.data.splits[split][number], **values)

    def box(self, *corners, number=0, split="train", label=0):
        """Put a box in the place of the picture's first one."""
        boxes = self.data.splits[split][number].boxes
        self.picture(number, split, boxes=(Box(label, *corners, where="box 0"), *boxes[1:]))

    def add(self, *boxes, number=0, split="train"):
        """Add boxes (label, x1, y1, x2, y2) to a picture."""
        self.picture(number, split, boxes=(*self.data.splits[split][number].boxes, *(Box(*box) for box in boxes)))

    def all_boxes(self, change, splits=tuple(SPLITS)):
        """Change the corners of all boxes of some splits: change(x1, y1, x2, y2) -> four numbers."""
        for split in splits:
            for number, picture in enumerate(self.data.splits[split]):
                self.picture(number, split, boxes=tuple(
                    Box(box.class_id, *change(box.x1, box.y1, box.x2, box.y2)) for box in picture.boxes))

    def file(self, number=0, split="train", **values):
        """Change what a file says."""
        path = self.data.splits[split][number].path
        self.facts[path] = dataclasses.replace(self.facts[path], **values)

    def like(self, number, split, other, other_split="train", keys=("look", "small", "digest")):
        """Let a picture be a copy of another, or with fewer keys look like it."""
        source = self.facts[self.data.splits[other_split][other].path]
        self.file(number, split, **{key: getattr(source, key) for key in keys})

    def check(self, queries=300):
        """The Subject after all checks."""
        return dataset_checks.check(Subject(self.data, self.facts, self.problems, queries))


def again(subject):
    """The check of what ``--fix`` would write."""
    mended = subject.mended()
    return dataset_checks.check(Subject(mended, dict(zip(subject.paths, subject.facts)), (), subject.queries))


def kinds(subject):
    """{kind: count} of what was found, without what is always there."""
    return {finding.kind: finding.count for finding in subject.findings if finding.kind not in ALWAYS}


def die(paths):
    """In the place of what a process does with its pictures."""
    os._exit(1)
