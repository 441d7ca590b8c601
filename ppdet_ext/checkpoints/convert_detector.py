# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A whole detector's checkpoint from one project's files into another's: read, account for every name, carry over."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import class_names
from ..errors import UserError
from ..weights import metadata
from ..weights.source import Checkpoint
from . import checkpoint_files, huggingface, models, name_maps, name_rules


@dataclass(frozen=True)
class Conversion:
    """What ``convert`` found. ``state`` is in Paddle's names and layout; ``class_source`` says whose class names
    ``classes`` are, ``counts`` how the names of the source were accounted for, ``returned`` how many tensors were seen
    to come back from the target's layout to the last bit."""
    model: models.Model
    origin: str
    target: str
    checkpoint: Checkpoint
    state: dict[str, np.ndarray]
    classes: list[str]
    class_source: str
    counts: str
    returned: int

    @property
    def map(self) -> name_maps.NameMap:
        """The NameMap of the output."""
        return self.model.name_map(self.target, len(self.classes))

    def outgoing(self, project: str | None = None) -> dict[str, np.ndarray]:
        """``{name: array}`` as a project has it; the target where None."""
        project = project or self.target
        return self.model.name_map(project, len(self.classes)).from_paddle(self.state)

    def meta(self, project: str | None = None) -> dict[str, Any]:
        """What a project's writer notes beside the numbers."""
        known = {"arch": self.model.name, "source": self.checkpoint.source,
                 "sha256": self.checkpoint.sha256, "license": "unknown",
                 "tool_version": metadata.version()}
        return {**known, **BESIDE[project or self.target](self.model, self.classes)}


# project -> what its writer is told beside the source: a .yml's fields for Paddle, transformers' two JSON files
BESIDE = {
    "paddledet": lambda model, classes: {**dict(zip(("mean", "std"), model.normalization)), "classes": classes},
    "torch": lambda _model, _classes: {},
    "hf": lambda model, classes: {"config": huggingface.config(model, classes),
                                  "processor": huggingface.processor(model)},
}


def convert(model: models.Model | str | Path, spec: str | Path, target: str, origin: str = "", part: str = "",
            allow: str | Sequence[str] = (), class_file: str | Path = "") -> Conversion:
    """Read ``spec`` for a model and carry it over; nothing is written yet.

    Args:
        model: a ``models.Model``, or a name for ``models.build``.
        target, origin: of ``name_rules.PROJECTS``; the origin is found by the names where ''.
        part: the one set of weights wanted where a file holds several, such as 'model' (default: the averaged ones).
        allow: glob patterns of the origin's names that may be missing, unexpected or of another shape.
        class_file: a COCO .json or a .txt with one class name a line, where the checkpoint does not name them.

    Raises:
        UserError: a project has no such network; the checkpoint cannot be read, is another project's, is fused, or
            does not fit.
    """
    model = model if isinstance(model, models.Model) else models.build(model)
    for project in filter(None, (origin, target)):
        _require(model, project)
    maps = name_maps.reading_maps(model.shapes)
    known = {name for found in maps.values() for name in found.shapes}
    checkpoint = checkpoint_files.read(spec, known, part)
    origin = _origin(checkpoint, maps, origin, model)
    _require(model, origin)
    count = maps[origin].classes_of(checkpoint.state)
    state, report = model.name_map(origin, count).to_paddle(checkpoint.state, model.name, checkpoint.source, allow)
    classes, whose = _class_names(checkpoint, count or model.net.transformer.num_classes, class_file)
    returned = round_trip(model.name_map(target, len(classes)), state)
    return Conversion(model, origin, target, checkpoint, state, classes, whose, report.counts(), returned)


def _require(model, project):
    """Raise UserError where a project has no such network."""
    if project == "hf":
        huggingface.require_expressible(model)
    model.name_map(project)


def _origin(checkpoint, maps, asked, model):
    """The project whose names the checkpoint has."""
    found, _ = name_maps.identify(checkpoint.state, maps.values())
    if found is None:
        given = list(checkpoint.state)
        raise UserError(f"'{checkpoint.source}' holds no name that {model.name} has in any project (it has "
                        f"{', '.join(given[:3])}, ...); is it this model's?")
    if asked and asked != found.project:
        raise UserError(f"'{checkpoint.source}' has {name_rules.TITLES[found.project]}'s names, not "
                        f"{name_rules.TITLES[asked]}'s: --from {found.project}")
    return found.project


def _class_names(checkpoint, count, class_file):
    """``(names, whose they are)``."""
    if class_file:
        given, whose = class_names.of_file(class_file), f"from {class_file}"
        if len(given) != count:
            raise UserError(f"'{class_file}' names {len(given)} classes, but the checkpoint is for {count}")
        return given, whose
    known = checkpoint.meta.get("classes")
    if known and len(known) == count:
        return list(known), "the checkpoint's"
    if count == len(class_names.of_coco()):
        return class_names.of_coco(), f"COCO's, as it has {count} (others: --classes FILE)"
    return [f"LABEL_{number}" for number in range(count)], "numbers, as none are known (--classes FILE)"


def round_trip(found: name_maps.NameMap, state: dict[str, np.ndarray]) -> int:
    """How many tensors come back from a NameMap's layout to the last bit: all of them.

    Raises:
        UserError: one does not.
    """
    back = found.translate(found.from_paddle(state))
    lost = [name for name, value in state.items() if name not in back or not np.array_equal(back[name], value)]
    if lost:
        raise UserError(f"{len(lost)} tensors do not come back from {found.project}'s layout: {lost[:3]}")
    return len(back)


def write(conversion: Conversion, output: str | Path) -> None:
    """Write the output as its project wants it."""
    checkpoint_files.check_output(conversion.target, output)
    _, writer = checkpoint_files.WRITERS[conversion.target]
    writer(conversion.outgoing(), output, conversion.meta())


def summary(conversion: Conversion, output: str | Path) -> str:
    """What a person wants to know of a conversion, as text."""
    made = sorted({name.rpartition(".")[2] for name in conversion.map.remade})
    rows = [("model", f"{conversion.model.name} ({conversion.model.path})"),
            ("from", f"{name_rules.TITLES[conversion.origin]}: {conversion.checkpoint.source}"),
            ("keys", conversion.counts),
            ("classes", f"{len(conversion.classes)}; names: {conversion.class_source}"),
            ("round trip", f"{conversion.returned} tensors come back to the last bit"
                           + (f"; made anew: {', '.join(made)}" if made else "")),
            ("written", f"{output} ({name_rules.TITLES[conversion.target]})")]
    return "\n".join(f"{name + ':':12}{value}" for name, value in rows)
