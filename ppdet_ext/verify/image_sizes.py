# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The images that a backbone takes: guards, fixed sizes and patches, against the sizes that the readers give."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from ..config.reader_keys import READERS, TRANSFORM_LISTS
from .backbone_subject import SMALL, Subject
from .findings import FAILED, OK, WARNING, Report

RESIZES = ("BatchRandomResize", "Resize")  # the first takes several sizes in a list, the second [height, width]


def of_readers(cfg: Mapping[str, Any]) -> list[tuple[int, int]]:
    """All (height, width) that the readers of a config resize to, ascending."""
    found: set[tuple[int, int]] = set()
    for name in READERS:
        reader = cfg.get(name) or {}
        for transform, settings in [item for key in TRANSFORM_LISTS for entry in reader.get(key) or ()
                                    for item in entry.items()]:
            value: Any = (settings or {}).get("target_size") if transform in RESIZES else None
            one = transform == "Resize" and isinstance(value, (list, tuple))
            sizes = [value] if one or isinstance(value, int) else value or ()
            found |= {(size, size) if isinstance(size, int) else (size[0], size[1]) for size in sizes}
    return sorted(found)


def check(subject: Subject, report: Report) -> None:
    """Say what the network is bound to, and run it at other sizes: those of the readers, or one that is not square."""
    bounds = bounds_of(subject)
    readers = of_readers(subject.cfg) if subject.cfg is not None else []
    others = [size for size in readers if size != subject.size]
    tried = [others[0], others[-1]] if others and bounds else others[:1]
    if not tried:
        height, width = (min(side, SMALL) for side in subject.size)
        tried = [(height, width + 32)]
    for size in dict.fromkeys(tried):
        problem = _run(subject, size)
        if problem:
            needed = size in readers
            report.add("image sizes", FAILED if needed else WARNING, f"{size[0]}x{size[1]}"
                       f"{', which the readers give,' if needed else ''} is not taken: {problem}")
            return
    report.add("image sizes", OK, f"also takes {', '.join(f'{h}x{w}' for h, w in dict.fromkeys(tried))}"
               + (f"; {'; '.join(bounds)}" if bounds else ""))


def bounds_of(subject: Subject) -> list[str]:
    """In words: what the networks inside are made for."""
    found = []
    for layer in subject.graphs():
        height, width = layer.graph.info.get("input_size", [0, 0, 0])[1:]
        if layer.graph.info.get("fixed"):
            found.append(f"{layer.graph.name} is made for {height}x{width}")
        guards = layer.graph.guards()
        if guards:
            found.append(f"{layer.graph.name} was traced at {height}x{width} under {len(guards)} conditions "
                         f"({guards[0]}{', ...' if len(guards) > 1 else ''})")
    to_size = getattr(subject.backbone, "to_size", None)
    if to_size is not None:
        found.append(f"sides are to be multiples of {to_size.multiple} (size: {to_size.policy})")
    return found


def _run(subject, size):
    """Why an image of this size is not taken; '' where it is, with features of the size's own strides."""
    try:
        with paddle.no_grad():
            features = subject.run(paddle.zeros([1, 3, *size]))
    except Exception as error:  # whatever a user's forward may raise
        return " ".join(str(error).split())[:300]
    wrong = [list(feature.shape) for feature, spec in zip(features, subject.backbone.out_shape)
             if [-(-side // spec.stride) for side in size] != list(feature.shape[2:])]
    return f"a feature there has the shape {wrong[0]}" if wrong else ""
