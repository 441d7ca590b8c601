# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which run, epoch and step a checkpoint's files are of: a line after the end of each, so that no two get mixed up.

.pdparams, .pdopt and .pdema are pickles, and every reader of a pickle stops at its end: PaddleDetection and other tools
read the files as ever. Files without the line (older versions', other projects') are taken as they are.
"""
from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from .facts import Facts

log = logging.getLogger("ppdet.engine")
WEIGHTS, OPTIMIZER, MODEL = ".pdparams", ".pdopt", ".pdema"  # .pdema: with EMA, the model's own weights
SUFFIXES = (WEIGHTS, OPTIMIZER, MODEL)
LONGEST = 1 << 20  # bytes of the line
LINE = re.compile(rb"\nppdet_ext (\{[^\n]*\})\n\Z")
SHOWN = 3  # whole checkpoints that a message names
BEST, LAST, INTERRUPTED = "best_model", "model_final", "interrupted"
#: names that a run gives to its checkpoints: an epoch's number, or one of the three
OWN_NAME = re.compile(rf"\d+|{BEST}|{LAST}|{INTERRUPTED}")


@dataclass(frozen=True)
class Stamp:
    """What the files of one checkpoint have in common.

    Attributes:
        run: a run's own name, drawn at its start.
        epochs, step: epochs and steps of the optimizer done.
        batches: of the next epoch, those done; 0 between two epochs.
        files: suffixes of the checkpoint's files.
        facts: what the checkpoint belongs to.
    """

    run: str
    epochs: int
    step: int
    files: tuple[str, ...]
    facts: Facts = field(default=Facts(), compare=False)
    batches: int = 0

    def __str__(self) -> str:
        return f"{self.place} (step {self.step}, run {self.run})"

    @property
    def epoch(self) -> int:
        """The last epoch, from 0, that is at least partly done."""
        return self.epochs if self.batches else self.epochs - 1

    @property
    def place(self) -> str:
        """'epoch 3': that epoch, from 0, is done; 'epoch 3, batch 20': so many batches of it are."""
        if not self.epochs and not self.batches:
            return "before training"
        return f"epoch {self.epoch}, batch {self.batches}" if self.batches else f"epoch {self.epoch}"


def write(path: str | Path, stamp: Stamp) -> None:
    """Add the line to a file that holds the rest."""
    line = _line(stamp)
    if len(line) > LONGEST:  # tens of thousands of classes
        line = _line(replace(stamp, facts=Facts()))
    with open(path, "ab") as file:
        file.write(line)


def _line(stamp):
    return b"\nppdet_ext " + json.dumps(asdict(stamp)).encode() + b"\n"


def read(path: str | Path) -> Stamp | None:
    """A file's stamp, None where it has none (or what is no stamp of this version's). Reads the file's end only."""
    with open(path, "rb") as file:
        file.seek(max(Path(path).stat().st_size - LONGEST, 0))
        found = LINE.search(file.read(LONGEST))
    try:
        values: Any = json.loads(found.group(1)) if found else None
        run, files = re.sub(r"\W", "_", str(values["run"])[:16]), values["files"]  # both become part of paths
        return Stamp(run, int(values["epochs"]), int(values["step"]), tuple(one for one in files if one in SUFFIXES),
                     Facts.of(values.get("facts")), int(values.get("batches", 0)))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def check(weights: str | Path, needed: Iterable[str] = (WEIGHTS,)) -> Stamp | None:
    """Whether the files of a checkpoint belong together.

    Args:
        weights: its .pdparams.
        needed: suffixes of the files that are asked for; the others may be missing.

    Returns:
        The stamp of all, None where none has one (a line says so, unless the file stands alone).

    Raises:
        UserError: one that is needed is missing; they are of different runs, epochs or steps.
    """
    weights, needed = Path(weights), set(needed)
    prefix = weights.with_suffix("")
    paths = {suffix: Path(f"{prefix}{suffix}") for suffix in SUFFIXES}
    own = read(weights)
    stamps = {suffix: own if suffix == WEIGHTS else read(path) for suffix, path in paths.items() if path.is_file()}
    if own is not None:  # another run may have left a file that this checkpoint does without
        if not needed <= set(own.files):
            lacking = min(needed - set(own.files))
            raise UserError(f"'{weights}' was written without a {lacking}: its run had another use_ema; set it as it "
                            "was there")
        stamps = {suffix: found for suffix, found in stamps.items() if suffix in own.files}
    strange = next((suffix for suffix, found in stamps.items() if found != own), None)
    if strange is not None:
        raise UserError(f"'{paths[strange]}' is of {_text(stamps[strange])}, '{weights}' of {_text(own)}: they were "
                        f"not written together (a run that was killed, or copied files); {_whole(weights.parent)}")
    if own is None and len(stamps) > 1:
        log.info(f"'{weights}' has no stamp (an older version's, or another project's): whether the files beside it "
                 "are of the same epoch cannot be checked")
    return own


def _text(stamp):
    return "an unknown epoch (no stamp)" if stamp is None else str(stamp)


def whole(folder: str | Path) -> dict[Path, Stamp]:
    """{.pdparams: stamp} of the checkpoints in ``folder`` whose files are all there, and of one epoch and run."""
    found = {}
    for path in Path(folder).glob(f"*{WEIGHTS}"):
        own = read(path)
        others = [Path(f"{path.with_suffix('')}{suffix}") for suffix in (own.files if own else ())]
        if own and all(other.is_file() and read(other) == own for other in others):
            found[path] = own
    return found


def newest(folder: str | Path) -> tuple[Path, Stamp] | None:
    """(.pdparams, stamp) of the checkpoint that the last run in ``folder`` would go on with; None where there is none.

    The last run is that of the file written last; of its checkpoints it is the one with the most steps. Names that no
    run gives (copies, another run's best_model that was moved aside) do not count.
    """
    found = {path: own for path, own in whole(folder).items() if OWN_NAME.fullmatch(path.stem)}
    if not found:
        return None
    run = found[max(found, key=lambda path: path.stat().st_mtime_ns)].run
    of_run = [(own.step, own.epochs, path) for path, own in found.items() if own.run == run]
    path = max(of_run)[-1]
    return path, found[path]


def _whole(folder):
    """Which checkpoints of ``folder`` can be used instead, the latest first."""
    found = [(own.epochs, own.step, f"'{path.with_suffix('')}' ({own.place})") for path, own in whole(folder).items()]
    if not found:
        return "no whole checkpoint is beside them; to use the weights alone, copy the .pdparams to another folder"
    return f"take one that is whole: {', '.join(text for *_, text in sorted(found, reverse=True)[:SHOWN])}"
