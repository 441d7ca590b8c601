# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The catalogue: what each of timm's and torchvision's networks costs and what is published of it, from a file.

tools/make_catalogue.py writes catalogue.csv. Nothing is run here and Paddle is not imported: an answer takes no time.
"""
from __future__ import annotations

import csv
import dataclasses
import fnmatch
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import UserError, nearest

FILE = Path(__file__).with_name("catalogue.csv")
DETECTOR_STRIDES = (8, 16, 32)  # of the features that RT-DETR's neck takes

# Milliseconds of one image on one CPU, fitted to those that timm publishes (benchmarks/fit_latency.py): of 10**9
# multiplications by kind, of GB of values that training would keep, of 10**9 parameters, of 1000 operations, of a
# start. Only ratios of two networks mean something.
MILLISECONDS = {"conv": 1.84, "pointwise": 1.24, "grouped": 1.44, "depthwise": 27.7, "linear": 1.19, "attention": 0.0}
PER_GB_KEPT, PER_BILLION_PARAMETERS, PER_THOUSAND_OPERATIONS, START = 25.2, 131.0, 5.93, 2.17
# Bytes that each weight takes in training: the weight, its gradient, two moments of AdamW, the average of weights
BYTES_PER_WEIGHT = 20
# RT-DETR's neck and decoder (R50's) on a 640 x 640 image: millions of weights, MB that a training step keeps (1,147 MB
# were counted with ResNet-50 as the backbone, of which 701 are the backbone's)
DETECTOR_PARAMETERS, DETECTOR_MB = 19.4, 450


@dataclasses.dataclass(frozen=True)
class Weights:
    """Published weights: their tag, licence ('' where none is said), ImageNet top-1 in % (None: not published).

    ``side`` is that of the images of this top-1.
    """

    tag: str
    licence: str = ""
    top1: float | None = None
    side: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """A network of the catalogue.

    Attributes:
        name: create_model's, such as 'resnet50' or 'torchvision/resnet50'.
        family: the file of timm or torchvision that defines it.
        how: 'native' (a port), 'shipped' (a graph in the package, no torch needed) or 'bridged' (torch needed once).
        kind: what it is built of, one of ``kinds.KINDS``.
        block: class of its blocks in its source.
        norm, activation: the most frequent ones, words of kinds.NORMS and kinds.ACTIVATIONS; '' for others and none.
        parameters: millions, with the classifier.
        own_side, own_gmacs: the square image that it is tested with, and multiplications with additions then, with the
            classifier, as timm and torchvision publish them; None where it does not run by itself.
        side: of the square image of all that follows: 640, or the nearest that it takes.
        needs_size: whether it must be built for that size (img_size).
        gmacs: of the features alone, without the classifier.
        backbone_parameters: millions, without the classifier.
        channels, strides: of all features, finest first.
        kept_mb: MB (10**6 bytes) that a training step keeps of an image in float32; None where it does not train.
        peak_mb: MB of values that live at one time in inference.
        operations: how many operations a forward pass calls.
        shares: {kind of operation: share of ``gmacs``}.
        weights: published ones, the default first.
    """

    name: str
    family: str
    how: str
    kind: str
    block: str
    norm: str
    activation: str
    parameters: float
    own_side: int
    own_gmacs: float | None
    side: int
    needs_size: bool
    gmacs: float
    backbone_parameters: float
    channels: tuple[int, ...]
    strides: tuple[float, ...]
    kept_mb: float | None
    peak_mb: float
    operations: int
    shares: Mapping[str, float]
    weights: tuple[Weights, ...]

    @property
    def gflops(self) -> float:
        """10**9 operations of the features, multiplication and addition counted apart, as papers of detectors do."""
        return 2 * self.gmacs

    @property
    def taken(self) -> tuple[tuple[float, int], ...]:
        """((stride, channels), ...) of what a detector takes: the last feature of each of strides 8, 16, 32 if it has
        these, else its last three."""
        last = dict(zip(self.strides, self.channels))
        wanted = [(stride, last[stride]) for stride in DETECTOR_STRIDES if stride in last]
        return tuple(wanted if len(wanted) == len(DETECTOR_STRIDES) else list(zip(self.strides, self.channels))[-3:])

    @property
    def strides_fit(self) -> bool:
        """Whether a detector can take the features as they are."""
        return tuple(stride for stride, _ in self.taken) == DETECTOR_STRIDES

    @property
    def milliseconds(self) -> float:
        """An estimate of the backbone's latency at ``side``, to be compared with other rows' only."""
        by_kind = sum(MILLISECONDS[kind] * share for kind, share in self.shares.items()) * self.gmacs
        return (by_kind + PER_GB_KEPT * (self.kept_mb or self.peak_mb) / 1000 + START
                + PER_BILLION_PARAMETERS * self.backbone_parameters / 1000
                + PER_THOUSAND_OPERATIONS * self.operations / 1000)

    def training_gb(self, batch: int = 4) -> float:
        """An estimate of GB (10**9 bytes) that RT-DETR with this backbone takes in a training step, float32, AdamW."""
        weights = BYTES_PER_WEIGHT * (self.backbone_parameters + DETECTOR_PARAMETERS) / 1000
        kept = math.inf if self.kept_mb is None else self.kept_mb
        return weights + batch * (kept + DETECTOR_MB) / 1000

    def best(self, licence: str = "") -> Weights | None:
        """The weights a licence allows (a glob; '' for all): the default ones, or else those of the best top-1."""
        allowed = [one for one in self.weights if fnmatch.fnmatchcase(one.licence, licence or "*")]
        if not allowed or allowed[0] is self.weights[0]:
            return allowed[0] if allowed else None
        return max(allowed, key=lambda one: one.top1 or 0)


@functools.cache
def load() -> Mapping[str, Row]:
    """{name: Row} of all names, sorted.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with open(FILE, encoding="utf-8", newline="") as file:
            lines = [line for line in file if not line.startswith("#")]
        return {row.name: row for row in map(_row, csv.DictReader(lines))}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"the catalogue '{FILE}' cannot be read ({error}); install ppdet-ext again") from None


def sources() -> list[str]:
    """What the figures come from: versions and revisions, the file's first lines."""
    with open(FILE, encoding="utf-8") as file:
        return [line[1:].strip() for line in file if line.startswith("#")]


def rows(patterns: Sequence[str] = ("*",)) -> list[Row]:
    """The rows whose names match a glob such as 'resnet*' or 'torchvision/*', sorted by name.

    Raises:
        UserError: no name is like that.
    """
    found = [row for row in load().values() if any(fnmatch.fnmatchcase(row.name, one) for one in patterns)]
    if not found:
        raise UserError(f"no name in the catalogue is like {' or '.join(patterns)}{nearest(patterns[0], load())}")
    return found


def find(name: str) -> Row:
    """The row of a name, its tag left aside.

    Raises:
        UserError: the catalogue has no such name, with the nearest ones.
    """
    bare = name.partition(".")[0]
    if bare not in load():
        raise UserError(f"the catalogue has no '{bare}'{nearest(bare, load())}")
    return load()[bare]


def write(path: Path, made: Iterable[Row], facts: Sequence[str]) -> None:
    """Write the catalogue's file; ``facts`` become its first lines."""
    columns = [field.name for field in dataclasses.fields(Row)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {fact}\n" for fact in facts)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows([_cell(getattr(row, column)) for column in columns] for row in made)


def _cell(value):
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{share:.3g}" for key, share in value.items())
    if isinstance(value, tuple):
        return " ".join(map(_word, value)) if value and isinstance(value[0], Weights) else short(value)
    return "" if value is None else value


def _word(one):
    """Weights as tag:licence:top1:side."""
    return f"{one.tag}:{one.licence}:{'' if one.top1 is None else f'{one.top1:.5g}'}:{one.side or ''}"


def short(values: Iterable[float]) -> str:
    """'256 512 1024', '768x12' for the same twelve times."""
    runs = [(value, len(list(same))) for value, same in itertools.groupby(values)]
    return " ".join(f"{value:g}" if count == 1 else f"{value:g}x{count}" for value, count in runs)


def _row(cells):
    return Row(**{field.name: READERS[field.name if field.name in READERS else field.type](cells[field.name])
                  for field in dataclasses.fields(Row)})


def _numbers(text):
    for word in text.split():
        number, _, times = word.partition("x")
        yield from [float(number) if "." in number else int(number)] * int(times or 1)


def _weights(text):
    for word in text.split():
        tag, licence, top1, side = word.split(":")
        yield Weights(tag, licence, float(top1) if top1 else None, int(side or 0))


# how a column is read, by its name or else by its type
READERS = {
    "str": str, "int": int, "bool": bool, "float": float, "float | None": lambda text: float(text) if text else None,
    "channels": lambda text: tuple(_numbers(text)), "strides": lambda text: tuple(_numbers(text)),
    "shares": lambda text: {key: float(share) for key, _, share in (word.partition(":") for word in text.split())},
    "weights": lambda text: tuple(_weights(text)),
}
