# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The checks of a data set: one function each, in the order in which they see it. CHECKS is the table.

What spoils all boxes comes first, as the others would else count its consequences.
"""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..data.coco import box_problems
from ..data.contents import MANY_OVER, MOST_COUNTED
from ..data.images import difference
from ..errors import printable
from . import picture_hash, recommended
from .check_kinds import KINDS, SERIOUS, SEVERITIES, WARNING, Words
from .check_subject import EXAMPLES, Example, Subject

TINY = 3  # pixels of a side
#: overlap (IoU) from which two boxes are one object
SAME = 0.95
#: share of val or test that looks like training pictures: above the first it is serious, above the second nothing is
#: moved, as such a set needs another division
LEAK, MOST_MOVED = 0.05, 0.25
FEW_OBJECTS = 10
IMBALANCE = 20  # times as many objects
NAMES = 8  # of classes in a sentence
ROWS = 256  # boxes that are held against all of their picture at a time, for the memory
#: pictures that were resized: their ratio stays up to that, and one box at least reaches so far
RATIO, REACH = 0.01, 0.9


# ---- files

def annotation_files(subject: Subject) -> None:
    """What the reader could not understand."""
    by_kind = defaultdict(list)
    for problem in subject.problems:
        by_kind[problem.kind].append(problem)
    for kind, problems in by_kind.items():
        places = [": ".join(filter(None, (one.where, one.message))) for one in problems]
        subject.note(kind, len(problems), places=places[:EXAMPLES])
        for place in places:
            subject.note_left_out(kind, place)


def readable(subject: Subject) -> None:
    """Files that are no whole pictures."""
    bad = np.array([bool(fact.reason) for fact in subject.facts], bool)
    if bad.any():
        numbers = np.flatnonzero(bad).tolist()
        places = [f"{subject.file(number)}: {subject.facts[number].reason}" for number in numbers[:EXAMPLES]]
        subject.note("picture", len(numbers), len(bad), places=places)
        subject.drop_pictures("picture", bad)


def sizes(subject: Subject) -> None:
    """What the annotations say of widths and heights."""
    known = subject.there & ~np.isnan(subject.said).any(1)
    kinds = np.full(len(subject.paths), "", dtype=object)
    for number in np.flatnonzero(known & (subject.said != subject.real).any(1)).tolist():
        written, upright = (tuple(size[number].astype(int).tolist()) for size in (subject.said, subject.real))
        kinds[number] = difference(written, upright, int(subject.orientation[number]))
    resized = _resized(subject, kinds == "other")
    for kind, mask, corners in (("turned", kinds == "turned", _turned(subject)),
                                ("exchanged", kinds == "exchanged", None),
                                ("resized", resized, _scaled(subject)),
                                ("other_size", (kinds == "other") & ~resized, None)):
        if not mask.any():
            continue
        first = int(np.flatnonzero(mask)[0])
        said, real = ("x".join(f"{side:.0f}" for side in size[first]) for size in (subject.said, subject.real))
        name = subject.file(first)
        subject.about_pictures(kind, mask, (f"{name} is {real}, its annotation says {said}",
                                            f"{name} 实为 {real}，标注为 {said}"))
        if corners is not None:
            subject.set_corners(None, mask[subject.owner] & subject.valid, corners)
        subject.set_sizes(kind, mask)


def _turned(subject):
    """Boxes of the picture as stored -> of the upright one, by its EXIF orientation."""
    x1, y1, x2, y2 = subject.corners.T
    height, width = subject.box_sizes.T  # of the stored picture: a turn exchanges them
    turns = {5: (y1, x1, y2, x2), 6: (height - y2, x1, height - y1, x2),
             7: (height - y2, width - x2, height - y1, width - x1), 8: (y1, width - x2, y2, width - x1)}
    orientation = subject.orientation[subject.owner]
    return np.select([(orientation == number)[:, None] for number in turns],
                     [np.stack(corners, 1) for corners in turns.values()], subject.corners)


def _resized(subject, other):
    """Which pictures of another size were resized: same ratio, and boxes that belong to the annotated size."""
    with np.errstate(invalid="ignore"):
        scale = subject.real / subject.said
        same = other & (abs(scale[:, 0] / scale[:, 1] - 1) <= RATIO)
    for place in range(len(subject.splits)):
        own = same & (subject.split == place)
        boxes = own[subject.owner] & subject.valid
        far = subject.corners[boxes][:, 2:]
        said, real = subject.said[subject.owner[boxes]], subject.real[subject.owner[boxes]]
        inside = (far <= said + 1).all()
        reaches = ((far > real + 1) | ((far > REACH * said) & (real > said))).any()
        if not (len(far) and inside and reaches):
            same &= ~own
    return same


def _scaled(subject):
    with np.errstate(invalid="ignore"):
        scale = (subject.real / subject.said)[subject.owner]
    return subject.corners * np.hstack([scale, scale])


def orientation(subject: Subject) -> None:
    """EXIF orientations that fit the annotations, or do not show in them."""
    subject.about_pictures("exif", subject.there & (subject.orientation > 1))


# ---- boxes

def shares(subject: Subject) -> None:
    """A split whose boxes all lie between 0 and 1."""
    for own in _boxes_of_splits(subject):
        boxes = subject.corners[own]
        size = np.hstack([subject.box_sizes] * 2)
        if len(boxes) and (boxes >= 0).all() and (boxes <= 2).all() and (boxes[:, :2] <= 1).all() \
                and (boxes[:, 2:] - boxes[:, :2] <= 1).all() and np.nanmax(size[own]) > 2:
            subject.about_boxes("shares", own)
            subject.set_corners("shares", own, subject.corners * size)


def corners(subject: Subject) -> None:
    """A split in COCO's layout whose [x, y, width, height] make sense as two corners only."""
    for own in _boxes_of_splits(subject):
        as_corners = subject.corners.copy()
        as_corners[:, 2:] -= as_corners[:, :2]
        size = np.where(np.isnan(subject.said), subject.real, subject.said)[subject.owner[own]]
        over = (subject.corners[own][:, 2:] > size + 1).any(1)
        good = (as_corners[own][:, 2:] > as_corners[own][:, :2]).all(1) & (as_corners[own][:, 2:] <= size + 1).all(1)
        if subject.data.layout == "COCO" and len(over) and over.mean() > MANY_OVER and good.all():
            subject.about_boxes("corners", own)
            subject.set_corners("corners", own, as_corners)


def _boxes_of_splits(subject: Subject) -> Iterator[np.ndarray]:
    for place in range(len(subject.splits)):
        yield subject.valid & (subject.split[subject.owner] == place)


def borders(subject: Subject) -> None:
    """Boxes against their pictures: the wrong way round, outside, over the border, without an area."""
    low, high = subject.corners[:, :2], subject.corners[:, 2:]
    reverse = subject.valid & (high < low).any(1)
    subject.about_boxes("reversed", reverse)
    subject.set_corners("reversed", reverse, np.hstack([np.minimum(low, high), np.maximum(low, high)]))
    low, high = subject.corners[:, :2], subject.corners[:, 2:]
    size = np.nan_to_num(subject.box_sizes, nan=np.inf)
    found = box_problems(np.hstack([low, high - low]), size)
    for kind, name in (("outside", "outside"), ("no_area", "empty")):
        subject.about_boxes(kind, found[name] & subject.valid)
        subject.drop_boxes(kind, found[name])
    over = found["over"] & subject.valid
    subject.about_boxes("over", over)
    cut = np.clip(subject.corners, 0, np.hstack([size, size]))
    subject.set_corners("over", over, cut)
    subject.corners = np.where(subject.valid[:, None], cut, subject.corners)  # rounding: less than a pixel


def tiny(subject: Subject) -> None:
    """Boxes of hardly a pixel."""
    sides = (subject.corners[:, 2:] - subject.corners[:, :2]).min(1, initial=np.inf)
    subject.about_boxes("tiny", subject.objects & (sides < TINY))


def doubles(subject: Subject) -> None:
    """Objects with two boxes, of one class or of two."""
    same, other = np.zeros(len(subject.boxes), bool), np.zeros(len(subject.boxes), bool)
    numbers = np.flatnonzero(subject.objects)
    numbers = numbers[np.argsort(subject.owner[numbers], kind="stable")]
    for own in np.split(numbers, np.flatnonzero(np.diff(subject.owner[numbers])) + 1):
        if len(own) > 1:
            first, second = _overlapping(subject.corners[own])
            one_class = subject.label[own[first]] == subject.label[own[second]]
            same[own[second[one_class]]] = True
            other[own[second[~one_class]]] = True
    subject.about_boxes("same_box", same)
    subject.about_boxes("two_classes", other & ~same)
    subject.drop_boxes("same_box", same)


def _overlapping(boxes):
    """Pairs (first, second) of boxes [k, 4] that overlap by SAME and more."""
    found = [np.zeros((0, 2), int)]
    area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    for start in range(0, len(boxes), ROWS):
        some = boxes[start:start + ROWS, None]
        inner = np.clip(np.minimum(some[..., 2:], boxes[:, 2:]) - np.maximum(some[..., :2], boxes[:, :2]), 0, None)
        inner = inner[..., 0] * inner[..., 1]
        same = inner >= SAME * (area[start:start + ROWS, None] + area - inner)
        found.append(np.argwhere(np.triu(same, start + 1)) + [start, 0])
    return np.concatenate(found).T


# ---- classes

def classes(subject: Subject) -> None:
    """How many objects each class has in each split."""
    names = [printable(name, 40) for name in subject.data.names]
    counts = class_counts(subject)
    train, others = counts[0], counts[1:]
    most = int(train.max(initial=0))
    trained, measured = train > 0, others[others.sum(1) > 0]
    commonest = _named(names, train == most, train)[:1]
    for kind, named, of in (
            ("nothing", [name for name, own in zip(subject.splits, counts) if not own.sum()], len(subject.splits)),
            ("unused", _named(names, counts.sum(0) == 0), len(names)),
            ("untrained", _named(names, ~trained & (others.sum(0) > 0)), len(names)),
            ("unmeasured", _named(names, trained & (measured == 0).any(0)), len(names)),
            ("few", _named(names, trained & (train < FEW_OBJECTS), train), len(names)),
            ("imbalance", _named(names, trained & (train * IMBALANCE < most), train), len(names))):
        if named:
            text = ", ".join(named[:NAMES]) + (", ..." if len(named) > NAMES else "")
            against = f"; the most common: {commonest[0]}" if kind == "imbalance" else ""
            subject.note(kind, len(named), of, (f"{text}{against}", text), named)


def class_counts(subject: Subject) -> np.ndarray:
    """[splits, classes]: objects of each class."""
    counts = np.zeros((max(len(subject.splits), 1), len(subject.data.names)), int)
    own = subject.objects
    np.add.at(counts, (subject.split[subject.owner[own]], subject.label[own]), 1)
    return counts


def _named(names, mask, counts=None):
    """Class names in quotes, with their counts, the rarest first."""
    places = np.flatnonzero(mask)
    if counts is not None:
        places = places[np.argsort(counts[places], kind="stable")]
    return [f"'{names[place]}'" + (f" ({counts[place]:,})" if counts is not None else "") for place in places.tolist()]


def background(subject: Subject) -> None:
    """Pictures in which there is nothing to find."""
    subject.about_pictures("background", subject.there & (subject.per_picture(subject.objects) == 0))


# ---- copies

def copies(subject: Subject) -> None:
    """Files of one content: of a split the one with most boxes stays, of several splits that of the first."""
    boxes = subject.per_picture(subject.objects)
    within, across = np.zeros(len(subject.paths), bool), np.zeros(len(subject.paths), bool)
    like: dict[int, int] = {}
    for group in _equal(subject):
        group.sort(key=lambda number: (subject.split[number], -boxes[number], number))
        kept = group[0]
        for number in group[1:]:
            like[number] = kept
            (within if subject.split[number] == subject.split[kept] else across)[number] = True
    for kind, mask in (("copies", within), ("copies_across", across)):
        differ = sum(boxes[number] != boxes[like[number]] for number in np.flatnonzero(mask).tolist())
        also: Words = (f"with another number of boxes than the picture they are like: {differ}",
                       f"框数与所同图片不一致的：{differ} 张") if differ else ("", "")
        subject.about_pictures(kind, mask, also, examples=_pairs(subject, mask, like))
        subject.drop_pictures(kind, mask)


def _equal(subject):
    """Groups of pictures whose files are the same."""
    groups = defaultdict(list)
    for number in np.flatnonzero(subject.there).tolist():
        groups[subject.facts[number].digest].append(number)
    return [group for group in groups.values() if len(group) > 1]


def _pairs(subject: Subject, mask: np.ndarray, like: dict[int, int]) -> list[Example]:
    numbers = np.flatnonzero(mask).tolist()[:EXAMPLES // 2]
    return [example for number in numbers for example in subject.pair(number, like[number])]


def looks(subject: Subject) -> None:
    """Pictures that look alike: within a split, and, which is leakage, across the splits."""
    numbers = np.flatnonzero(subject.there).tolist()
    facts = [subject.facts[number] for number in numbers]
    within, across = np.zeros(len(subject.paths), bool), np.zeros(len(subject.paths), bool)
    like: dict[int, int] = {}
    for places in picture_hash.groups([fact.look for fact in facts], [fact.small for fact in facts]):
        group = sorted((numbers[place] for place in places), key=lambda number: (subject.split[number], number))
        for number in group[1:]:
            like[number] = group[0]
            (within if subject.split[number] == subject.split[group[0]] else across)[number] = True
    subject.about_pictures("near", within, examples=_pairs(subject, within, like))
    _leaks(subject, across, like)


def _leaks(subject, across, like):
    for place, name in enumerate(subject.splits):
        own = across & (subject.split == place)
        size = int((subject.there & (subject.split == place)).sum())
        share = own.sum() / max(size, 1)
        if not own.any():
            continue
        text: Words = (f"{share:.0%} of {name}", f"占 {name} 的 {share:.0%}")
        if share > MOST_MOVED:
            text = (f"{text[0]}: too many to move, divide the set anew", f"{text[1]}：过多，不移动，请重新划分")
        subject.about_pictures("near_across", own, text, SERIOUS if share > LEAK else WARNING,
                               _pairs(subject, own, like), of=size)
        if share <= MOST_MOVED:
            for number in np.flatnonzero(own).tolist():
                subject.move("near_across", [number], int(subject.split[like[number]]))


# ---- against the detector

def crowds(subject: Subject) -> None:
    """Objects in a picture against queries, and against what pycocotools counts."""
    objects = subject.per_picture(subject.objects)
    most = int(objects.max(initial=0))
    subject.about_pictures("crowded", objects > subject.queries, (
        f"up to {most:,} objects, {subject.queries} queries", f"最多 {most:,} 个目标，查询 {subject.queries} 个"))
    of_class = Counter(zip(subject.owner[subject.objects].tolist(), subject.label[subject.objects].tolist()))
    many = np.zeros(len(subject.paths), bool)
    many[[picture for (picture, _), count in of_class.items() if count > MOST_COUNTED]] = True
    subject.about_pictures("counted", many)


def settings(subject: Subject) -> None:
    """Input size and number of queries that fit these objects."""
    own = subject.objects
    box = subject.corners[own]
    known = ~np.isnan(subject.box_sizes[own]).any(1)
    advice = [recommended.input_size(box[known], subject.box_sizes[own][known], subject.sizes[subject.there]),
              recommended.num_queries(subject.per_picture(own))]
    for kind, found in zip(("input_size", "num_queries"), advice):
        if found is not None:
            subject.note(kind, found.value, text=found.text)


#: in this order
CHECKS: tuple[Callable[[Subject], None], ...] = (
    annotation_files, readable, shares, corners, sizes, orientation, borders, tiny, doubles, classes, background,
    crowds, settings, copies, looks)


def check(subject: Subject, checks: Iterable[Callable[[Subject], None]] = CHECKS) -> Subject:
    """Run all checks; their findings come in the order of the table of kinds, the gravest first."""
    for one in checks:
        one(subject)
    order = {key: place for place, key in enumerate((*SEVERITIES, *KINDS))}
    subject.findings.sort(key=lambda finding: (order[finding.severity], order[finding.kind]))
    return subject
