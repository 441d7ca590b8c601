# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A whole detector's checkpoint from one project's files into another's: read, account for every name, carry over."""
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import class_names as class_names
from ..errors import UserError
from ..weights import metadata, parity
from ..weights.load_report import load_into
from . import checkpoint_files, huggingface, models, name_maps, name_rules, verify_detector


@dataclass(frozen=True)
class Conversion:
    """What ``convert`` found. ``tensors`` are in Paddle's names and layout; ``class_source`` says whose class names
    ``classes`` are, ``counts`` how the names of the source were accounted for, ``returned`` how many tensors were seen
    to come back from the target's layout to the last bit."""
    model: models.Model
    origin: str
    target: str
    checkpoint: checkpoint_files.Checkpoint
    tensors: dict
    classes: list
    class_source: str
    counts: str
    returned: int

    @property
    def map(self):
        """The NameMap of the output."""
        return self.model.name_map(self.target, len(self.classes))

    def outgoing(self, project=None):
        """``{name: array}`` as a project has it; the target where None."""
        project = project or self.target
        return self.model.name_map(project, len(self.classes)).from_paddle(self.tensors)

    def info(self, project=None):
        """What a project's writer notes beside the numbers."""
        known = {"arch": self.model.name, "source": self.checkpoint.source,
                 "sha256": checkpoint_files.digest(self.checkpoint), "license": "unknown",
                 "tool_version": metadata.version()}
        return {**known, **BESIDE[project or self.target](self.model, self.classes)}


# project -> what its writer is told beside the source: a .yml's fields for Paddle, transformers' two JSON files
BESIDE = {
    "paddledet": lambda model, classes: {**dict(zip(("mean", "std"), model.normalization)), "classes": classes},
    "torch": lambda _model, _classes: {},
    "hf": lambda model, classes: {"config": huggingface.config(model, classes),
                                  "processor": huggingface.processor(model)},
}


def convert(model, spec, target, origin="", part="", allow=(), class_file=""):
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
    classes = maps[origin].classes_of(name_maps.one_name_each(checkpoint.tensors, origin, checkpoint.source))
    reader = model.name_map(origin, classes)
    tensors = reader.to_paddle(checkpoint.tensors, model.name, checkpoint.source, allow)
    labels, whose = _class_names(checkpoint, classes or model.net.transformer.num_classes, class_file)
    report = reader.account(reader.tidy(checkpoint.tensors, checkpoint.source), model.name, checkpoint.source)
    returned = round_trip(model.name_map(target, len(labels)), tensors)
    return Conversion(model, origin, target, checkpoint, tensors, labels, whose, report.counts(), returned)


def _require(model, project):
    """Raise UserError where a project has no such network."""
    if project == "hf":
        huggingface.require_expressible(model)
    model.name_map(project)


def _origin(checkpoint, maps, asked, model):
    """The project whose names the checkpoint has."""
    found, _ = name_maps.identify(checkpoint.tensors, maps.values())
    if found is None:
        given = list(checkpoint.tensors)
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
    if checkpoint.classes and len(checkpoint.classes) == count:
        return list(checkpoint.classes), "the checkpoint's"
    if count == len(class_names.of_coco()):
        return class_names.of_coco(), f"COCO's, as it has {count} (others: --classes FILE)"
    return [f"LABEL_{number}" for number in range(count)], "numbers, as none are known (--classes FILE)"


def check_parity(conversion):
    """Run this project's network and transformers' on the converted weights.

    Returns:
        ``(parity rows, what was compared)``; no rows where nothing could be run, and then the reason.

    Raises:
        UserError: they differ, or transformers does not read what was written.
    """
    why_not = _not_runnable(conversion.model)
    if why_not:
        return [], f"no network was run: {why_not}"
    with tempfile.TemporaryDirectory() as folder:
        folder, whose = _reference(conversion, folder)
        net = models.build(conversion.model.path, len(conversion.classes)).net
        load_into(net, conversion.tensors, label=conversion.model.name, source=conversion.checkpoint.source)
        rows = verify_detector.compare(net, folder, conversion.model.size)
    parity.check(rows)
    return rows, f"this project's network against {whose}"


def _not_runnable(model):
    """Why transformers' network cannot be run for comparison; '' where it can."""
    try:
        _require(model, "hf")
    except UserError as error:
        return str(error)
    return "" if verify_detector.installed() else "transformers is not installed (pip install transformers torch)"


def _reference(conversion, folder):
    """``(folder with transformers' network, what it is)``: the source itself where it is one, else written here."""
    source = Path(conversion.checkpoint.path).parent
    if conversion.origin == "hf" and (source / checkpoint_files.HF_CONFIG).is_file():
        return source, "the one that transformers reads from the source"
    checkpoint_files.write_hf(conversion.outgoing("hf"), folder, conversion.info("hf"))
    whose = "transformers' with the converted weights"
    if "torch" in (conversion.origin, conversion.target):
        whose += "; lyuwenyu/RT-DETR is no installable package, so that its own code was not run"
    return folder, whose


def round_trip(found, tensors):
    """How many tensors come back from a NameMap's layout to the last bit: all of them.

    Raises:
        UserError: one does not.
    """
    back = found.translate(found.from_paddle(tensors))
    lost = [name for name, value in tensors.items() if not np.array_equal(back.get(name), value)]
    if lost:
        raise UserError(f"{len(lost)} tensors do not come back from {found.project}'s layout: {lost[:3]}")
    return len(back)


def write(conversion, output):
    """Write the output as its project wants it."""
    checkpoint_files.check_output(conversion.target, output)
    _, writer = checkpoint_files.WRITERS[conversion.target]
    writer(conversion.outgoing(), output, conversion.info())


def summary(conversion, output):
    """What a person wants to know of a conversion, as text."""
    made = sorted({name.rpartition(".")[2] for name in conversion.map.remade or ()})
    rows = [("model", f"{conversion.model.name} ({conversion.model.path})"),
            ("from", f"{name_rules.TITLES[conversion.origin]}: {conversion.checkpoint.source}"),
            ("keys", conversion.counts),
            ("classes", f"{len(conversion.classes)}; names: {conversion.class_source}"),
            ("round trip", f"{conversion.returned} tensors come back to the last bit"
                           + (f"; made anew: {', '.join(made)}" if made else "")),
            ("written", f"{output} ({name_rules.TITLES[conversion.target]})")]
    return "\n".join(f"{name + ':':12}{value}" for name, value in rows)
