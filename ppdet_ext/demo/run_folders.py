# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The runs below a folder, read from what they leave there; one that is unfinished or broken is a run that says so."""
from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoints import stamp
from ..engine import metrics_file
from ..errors import UserError, printable
from ..report.page import Words
from ..report.run_page import CURVES, FACTS
from ..report.run_page import NAME as PAGE

MARKS = (CURVES, metrics_file.NAME, FACTS)  # one of them makes a folder a run's
DEEPEST, MOST = 6, 2000  # levels of folders, and runs
LARGEST = 64 << 20  # bytes of a file that is read
LATER = 5.0  # seconds by which a run's numbers must be newer than its report, to be of another training
FINISHED: Words = ("finished", "已完成")
UNFINISHED: Words = ("not finished", "未完成")
RATED = ("AP", "AP50")  # the first that there is decides which evaluation is the best


@dataclass
class Run:
    """A run; what is not known is None or empty.

    Attributes:
        folder: where it lies.
        name: the folder below the one that was looked through.
        state: FINISHED, UNFINISHED, or what is broken.
        ap, ap50: the best evaluation's.
        epochs: that are done.
        minutes: of training, without evaluations.
        train_ms, eval_ms: milliseconds for a picture, with its reading: a median over the training; of the last
            evaluation, whole batches.
        memory: the process's peak in MiB; on a GPU what its tensors took.
        warnings: how many lines the run said about itself.
        curve: (epoch from 1, AP); where there is no evaluation (epoch, loss), and ``curve_of`` says which.
        settings: what of the config a checkpoint carries, as text by its name.
        page: its report.html.
    """

    folder: Path
    name: str
    state: Words = FINISHED
    ap: float | None = None
    ap50: float | None = None
    epochs: int | None = None
    minutes: float | None = None
    train_ms: float | None = None
    eval_ms: float | None = None
    memory: float | None = None
    warnings: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)
    curve_of: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    page: Path | None = None


class _Broken(Exception):
    """A file of a run is not what it should be: (its name, what is wrong)."""


def find(root: str | Path) -> list[Run]:
    """The runs below ``root``, the best AP first, those without one last.

    Raises:
        UserError: it is no folder, or holds no run.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"'{root}' is not a folder; name the save_dir of your trainings, 'output' by default")
    runs = [read(folder, root) for folder in _folders(root)]
    if not runs:
        raise UserError(f"'{root}' holds no run: no folder in it has {', '.join(MARKS[:-1])} or {MARKS[-1]}")
    return sorted(runs, key=lambda run: (run.ap is None, -(run.ap or 0.0), run.name))


def _folders(root: Path) -> Iterator[Path]:
    found = 0
    for place, folders, files in os.walk(root):
        here = Path(place)
        # links may lead round in a circle: os.walk does not follow them
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(here.relative_to(root).parts) >= DEEPEST:
            folders.clear()
        if set(MARKS) & set(files):
            found += 1
            if found > MOST:
                raise UserError(f"'{root}' holds more than {MOST} runs; name a folder further down")
            yield here


def read(folder: Path, root: Path) -> Run:
    """The run of a folder, named by its place below ``root``."""
    name = folder.relative_to(root).as_posix()
    run = Run(folder, printable(folder.resolve().name if name == "." else name))
    if (folder / PAGE).is_file():
        run.page = folder / PAGE
    broken = []
    for part in (_rows, _metrics, _report, _settings):
        try:
            part(run)
        except _Broken as problem:
            broken.append(problem.args)
        except OSError as error:
            broken.append((printable(Path(error.filename or folder).name), f"cannot be read ({error.strerror})"))
    if broken:
        run.state = ("broken: " + "; ".join(map(" ".join, broken)), "已损坏:" + ", ".join(file for file, _ in broken))
    return run


def _json(path: Path, kind: type) -> Any:
    """The content of a JSON file; an empty ``kind`` where there is none."""
    if not path.is_file():
        return kind()
    if path.stat().st_size > LARGEST:
        raise _Broken(path.name, f"has more than {LARGEST >> 20} MiB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise _Broken(path.name, "is no JSON") from None
    if not isinstance(content, kind):
        raise _Broken(path.name, f"holds no {'list' if kind is list else 'mapping'}")
    return content


def number(value: Any) -> float | None:
    """A finite number as such; None for anything else."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _of(mapping: Any, *names: str) -> float | None:
    """The first number of these names."""
    given = mapping if isinstance(mapping, Mapping) else {}
    return next((found for found in (number(given.get(name)) for name in names) if found is not None), None)


def _rows(run: Run) -> None:
    """What curves.json says: epochs, time, the curve, the best AP so far."""
    rows = [row for row in _json(run.folder / CURVES, list) if isinstance(row, dict) and number(row.get("epoch"))
            is not None]
    if not rows:
        return
    run.epochs = int(rows[-1]["epoch"]) + 1
    run.minutes = sum(_of(row, "seconds") or 0.0 for row in rows) / 60 or None
    rated = [(row, _of(row.get("ap"), *RATED)) for row in rows]
    losses = [(row, _of(row, "loss")) for row in rows]
    for run.curve_of, pairs in (("AP", rated), ("loss", losses)):
        run.curve = [(row["epoch"] + 1, value) for row, value in pairs if value is not None]
        if run.curve:
            break
    best = max(rated, key=lambda pair: -1.0 if pair[1] is None else pair[1])[0]
    _take_ap(run, best.get("ap"))


def _take_ap(run: Run, ap: Any) -> None:
    run.ap, run.ap50 = _of(ap, "AP"), _of(ap, "AP50")


def _metrics(run: Run) -> None:
    """What metrics.jsonl says: speed, memory, warnings. Lines that are cut off are left out."""
    path = run.folder / metrics_file.NAME
    if path.is_file() and path.stat().st_size > LARGEST:
        raise _Broken(path.name, f"has more than {LARGEST >> 20} MiB")
    lines = list(metrics_file.read(path))
    train = [line for line in lines if line.get("kind") == "train"]
    speeds = [speed for speed in (_of(line, "images_per_second") for line in train) if speed]
    run.train_ms = 1000 / statistics.median(speeds) if speeds else None
    memory = [line.get("memory") for line in train]
    run.memory = max(filter(None, (_of(one, "gpu_mb", "peak_mb", "resident_mb") for one in memory)), default=None)
    run.warnings = sum(line.get("kind") == "warning" for line in lines)
    for line in lines:
        images, seconds = (_of(line.get("evaluation"), name) for name in ("images", "seconds"))
        if images and seconds:
            run.eval_ms = 1000 * seconds / images


def _report(run: Run) -> None:
    """Whether the run came to its end: then it wrote report.json, after everything else."""
    path = run.folder / FACTS
    content = _json(path, dict)
    times = [(run.folder / name).stat().st_mtime for name in MARKS[:2] if (run.folder / name).is_file()]
    if not content or max(times, default=0.0) > path.stat().st_mtime + LATER:
        run.state = UNFINISHED
    elif _of(content.get("ap"), *RATED) is not None:
        _take_ap(run, content["ap"])


def _settings(run: Run) -> None:
    """What the best checkpoint, or the last, carries of its config."""
    paths = [run.folder / f"{name}{stamp.WEIGHTS}" for name in (stamp.BEST, stamp.LAST)]
    paths += sorted(run.folder.glob(f"*{stamp.WEIGHTS}"), key=lambda path: path.stat().st_mtime, reverse=True)
    own = next(filter(None, (stamp.read(path) for path in paths if path.is_file())), None)
    if own is None:
        return
    facts = own.facts
    given = {"data": facts.data, "classes": str(len(facts.classes) or ""), "size": " x ".join(map(str, facts.size)),
             **facts.settings}
    run.settings = {name: value for name, value in given.items() if value}


def differences(runs: list[Run]) -> dict[str, list[str]]:
    """{setting: its value in each run, '' where it says none}: those that are not the same in all that say them."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [run.settings.get(name, "") for run in runs] for name in names}
    return {name: given for name, given in values.items() if len(set(filter(None, given))) > 1}
