# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where the weights are from: of this arch and tag, whole, and normalised as the readers do it."""
from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import paddle

from ..backbones import find_entry, recognise, resolve, split_tag
from ..data import known_normalization, normalization
from ..errors import UserError
from ..weights.load_report import fold
from .backbone_subject import Subject
from .findings import FAILED, OK, SKIPPED, WARNING, Report
from .gradient_flow import modules_of

SHOWN = 4
SEEDS = (1, 2)


def check(subject: Subject, report: Report, allow: Sequence[str] = ()) -> None:
    """Hold the weights against what was asked for.

    Args:
        allow: patterns of names that may start from random values.
    """
    if subject.refused:
        report.add("weights", FAILED, f"{subject.refused} (all that follows is of random values)")
        return
    if subject.is_named:
        _check_named(subject, report, allow)
    else:
        _check_class(subject, report, allow)


def _check_named(subject, report, allow):
    backbone = subject.backbone
    report.weights = backbone.weights_source
    if backbone.load_report is None:
        asked = f" (pretrained: {backbone.pretrained})" if backbone.pretrained else \
            "; give them with -o pretrained=true, or =FILE"
        report.add("weights", SKIPPED, f"random initialisation{asked}")
        return
    loaded, meta = backbone.load_report, backbone.load_report.meta
    size = tuple(backbone.img_size) if isinstance(backbone.img_size, list) else backbone.img_size
    asked = resolve(find_entry(backbone.full_arch, size), split_tag(backbone.full_arch)[1])
    arch, tag = meta.get("arch") or asked.arch, meta.get("tag") or _tag_of(backbone)
    if arch != asked.arch:
        report.add("weights", FAILED, f"'{loaded.source}' is of {arch}, not of {asked.arch}")
    elif "." in backbone.full_arch and tag and tag != asked.tag:
        report.add("weights", FAILED, f"'{loaded.source}' is of the tag {tag}, not of {asked.name}; write arch: "
                   f"{asked.arch}.{tag}, or take the other file")
    _check_random([*loaded.missing, *(row.name for row in loaded.mismatched)], loaded.matched, allow, report)
    if not any(finding.check == "weights" for finding in report.findings):
        known = f"of the tag {tag}" if tag else "nothing says of which tag"
        report.add("weights", OK, f"{loaded.counts()}, from {loaded.source}{f'; {known}' if asked.tag else ''}")


def _tag_of(backbone):
    """The tag of published weights, known by their file's name or digest; '' where neither is known."""
    published = backbone.model.pretrained_cfgs.values()
    named = recognise(backbone.pretrained, published)
    digest = backbone.load_report.sha256
    return named.tag if named else next((cfg.tag for cfg in published
                                         if cfg.sha256 and digest.startswith(cfg.sha256)), "")


def _check_random(names: Iterable[str], loaded: Iterable[str], allow: Sequence[str], report: Report) -> None:
    """What starts from random values beside what is loaded."""
    loaded = list(loaded)
    left = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in allow)]
    if left:
        shown = fold(modules_of(left, [*left, *loaded]))
        report.add("weights", FAILED, f"{len(left)} of {len(left) + len(loaded)} are left random beside loaded ones: "
                   f"{', '.join(shown[:SHOWN])}; where that is meant: --allow 'PATTERN'")


def _check_class(subject, report, allow):
    """Two instances from different random numbers: what is alike in both was loaded."""
    first, second = (_state(subject, seed) for seed in SEEDS)
    drawn = [name for name in first if not np.array_equal(first[name], second[name], equal_nan=True)]
    loaded = [name for name in first if name not in set(drawn) and not _constant(first[name])]
    subject.random = not loaded
    report.weights = "random initialisation" if subject.random else "loaded by the class"
    if subject.random:
        report.add("weights", SKIPPED, "random initialisation: the class loads none")
        return
    _check_random(drawn, loaded, allow, report)
    if not any(finding.check == "weights" for finding in report.findings):
        report.add("weights", OK, f"the class loads all {len(loaded)} that are no constants")


def _state(subject: Subject, seed: int) -> Mapping[str, np.ndarray]:
    """Parameters of another instance, after these random numbers."""
    before = random.getstate(), np.random.get_state(), paddle.get_rng_state()
    torch: Any = sys.modules.get("torch")
    theirs = torch.get_rng_state() if torch else None
    for start in (random.seed, np.random.seed, paddle.seed, *([torch.manual_seed] if torch else [])):
        start(seed)
    try:
        return {name: value.numpy() for name, value in subject.make().named_parameters()}
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        paddle.set_rng_state(before[2])
        if torch:
            torch.set_rng_state(theirs)


def _constant(array):
    return array.size <= 1 or bool((array == array.flat[0]).all())


def check_normalisation(subject: Subject, report: Report) -> None:
    """The readers of the config against what the weights were trained with."""
    if subject.cfg is None:
        known = subject.normalisation
        words = "nothing is known of its weights" if known is None else \
            "its weights want mean {}, std {}".format(*map(known_normalization.numbers, known))
        report.add("normalisation", SKIPPED, f"no reader without a config (-c); {words}")
        return
    asked = subject.cfg.pop("normalization_mismatch", None)
    try:
        used = normalization.resolve(subject.cfg)
        report.add("normalisation", OK, f"the readers' is {used}, {used.told_by}" if used is not None else
                   "all readers do it alike; of the weights nothing is known")
    except UserError as error:
        report.add("normalisation", WARNING if asked == "warn" else FAILED, str(error))
    finally:
        if asked is not None:
            subject.cfg["normalization_mismatch"] = asked
