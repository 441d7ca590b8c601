# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A backbone's checkpoint made into a .pdparams file with its metadata."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddle import nn

from ..errors import UserError
from . import metadata
from .layout_rules import classes_of, classifiers, rename_table
from .load_report import LoadReport
from .pretrained_weights import Converted
from .source import locate_spec
from .writers import write_with_metadata


def check_output(output: str | Path) -> None:
    """Raise UserError where ``write`` could not or should not write ``output``; good to know before a download."""
    if not str(output).endswith(".pdparams"):
        raise UserError(f"the output '{output}' should end in .pdparams")
    metadata.require_free(output)


def convert(layer: nn.Layer, cfg: Any, spec: str | Path, allow: Sequence[str] = (), rename: str = "",
            part: str = "") -> tuple[LoadReport, Converted]:
    """Convert the checkpoint ``spec`` for ``layer``, which is left filled with it; nothing is written yet.

    ``part`` as in ``unwrap.unwrap``.

    Returns:
        ``(LoadReport, Converted)``, for ``write``.

    Raises:
        UserError: the checkpoint cannot be had or read, or does not fit.
    """
    if rename:
        rename_table(rename)
    converted = Converted(layer, cfg, locate_spec(spec, cfg=cfg), rename, part, use_cache=False)
    _check_classes(layer, cfg, converted, allow)
    return converted.load(layer, allow=allow), converted


def _check_classes(layer, cfg, converted, allow):
    """Raise UserError for a classifier of another size, unless some pattern was allowed: then loading decides."""
    given, wanted = classes_of(converted.state, layer), getattr(layer, "num_classes", None)
    heads = " ".join(f"'{path}.*'" for path in classifiers(layer))
    if allow or wanted is None or not heads:
        return
    if wanted and given is None and _lacks_only(classifiers(layer), layer, converted.state):
        raise UserError(f"{converted.location.source} has no classifier, {cfg.arch} one for {wanted} classes; "
                        "--num-classes 0 makes it without")
    if given not in (None, wanted):
        raise UserError(f"{converted.location.source}: its classifier is for {given} classes, {cfg.arch}'s for "
                        f"{wanted}; --num-classes {given} keeps it, --allow {heads} leaves it out")


def _lacks_only(heads, layer, state):
    """Whether ``state`` lacks something of ``layer``, and nothing outside of ``heads``."""
    missing = [name for name in layer.state_dict() if name not in state]
    return bool(missing) and all(name.startswith(tuple(f"{path}." for path in heads)) for name in missing)


def write(report: LoadReport, converted: Converted, output: str | Path) -> None:
    """Write what ``convert`` gave: the weights that fitted as ``output`` (.pdparams), and their metadata beside it."""
    check_output(output)
    write_with_metadata({name: converted.state[name] for name in report.matched}, converted.meta, output)


def summary(report: LoadReport, output: str | Path) -> str:
    """What a person wants to know of a conversion, as text."""
    meta = report.meta
    rows = (("source", meta["source"]), ("sha256", meta["sha256"]), ("keys", report.counts()),
            ("normalisation", normalisation(meta)),
            ("licence", meta["license"]), ("written", f"{output} and {metadata.sidecar(output)}"))
    details = str(report).splitlines()[1:]
    return "\n".join([*(f"{name + ':':15}{value}" for name, value in rows), *details])


def normalisation(meta: dict[str, Any]) -> str:
    """mean, std and interpolation of weights' metadata, as text."""
    return (f"mean {_short(meta.get('mean'))} std {_short(meta.get('std'))}, "
            f"{meta.get('interpolation', 'unknown')} resize")


def _short(values):
    return "unknown" if values is None else "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
