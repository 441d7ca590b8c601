# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Short trainings of the same steps, one network after the other, each in a process of its own: AP over steps.

Each run is the command ``train`` with a config that is kept, so that any of them can be looked at, or gone on with.
"""
from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..checkpoints import stamp
from ..config import config_file
from ..datasets import data_folder
from ..engine.metrics import main_ap
from ..errors import UserError
from ..files import atomic_path, require_writable
from ..report.page import Words
from ..report.run_page import CURVES, FACTS
from .backbone_section import backbone_section

log = logging.getLogger("ppdet_ext")
EVALUATIONS = 4  # points of a curve
WARM_UP = 0.2  # share of the steps
DROP = 0.8  # share of the steps after which the learning rate falls to a tenth


@dataclass(frozen=True)
class Runs:
    """What the trainings share.

    Args:
        folder: gets NAME.yml, NAME.log and the runs' own folders.
        config: whose detector, readers and optimizer.
        data: a data set's folder or file (see data_folder); None: what the config says.
        steps: of each run, at least.
        pretrained: the backbones' own weights: 'true', 'auto', 'false'.
        device: 'cpu' or 'gpu'.
    """

    folder: Path
    config: str = "rtdetr_cspresnet.yml"
    data: str | None = None
    steps: int = 200
    pretrained: str = "auto"
    device: str = "cpu"


def shared_sections(runs: Runs) -> dict[str, Any]:
    """What the configs of all runs say beside the network: data, number of steps, schedule.

    Raises:
        UserError: there is no data set, or its files cannot be told apart.
    """
    cfg = config_file.read(runs.config)
    made: dict[str, Any] = {}
    if runs.data:
        data = data_folder.read(runs.data, runs.folder / "data")
        made = data.sections
        print("\n".join(data.lines), flush=True)
    config_file.merge(cfg, made)
    batch = cfg["TrainReader"]["batch_size"]
    epochs, pictures = _epochs(runs.steps, data_folder.count_pictures(cfg), batch)
    steps = epochs * (pictures // batch)
    rate = cfg["LearningRate"]["base_lr"]
    schedulers = [
        {"name": "PiecewiseDecay", "gamma": 0.1, "milestones": [max(1, round(DROP * epochs))], "use_warmup": True},
        {"name": "LinearWarmup", "start_factor": 0.001, "steps": max(1, int(WARM_UP * steps))}]
    made.setdefault("TrainDataset", {})["sample_num"] = pictures
    return {**made, "epoch": epochs, "snapshot_epoch": max(1, epochs // EVALUATIONS), "validate": True, "seed": 0,
            "save_dir": str(runs.folder), "LearningRate": {"base_lr": rate, "schedulers": schedulers}}


def _epochs(steps: int, pictures: int, batch: int) -> tuple[int, int]:
    """(epochs, pictures of each) for about ``steps`` steps: EVALUATIONS epochs, or more where pictures are few."""
    wanted = -(-steps // EVALUATIONS) * batch
    if pictures >= wanted:
        return EVALUATIONS, wanted
    if pictures < batch:
        raise UserError(f"the training set has {pictures} pictures, fewer than TrainReader.batch_size {batch}")
    return -(-steps // (pictures // batch)), pictures


def about(runs: Runs) -> Words:
    """The line that says what the trainings have in common."""
    return (f"AP: after about {runs.steps} steps of {runs.config} on {runs.data or 'its own data set'}, the same for "
            f"all (pretrained: {runs.pretrained}); configs, logs and checkpoints are in {runs.folder}.",
            f"AP:用 {runs.config} 在 {runs.data or '其自带的数据集'} 上训练约 {runs.steps} 步之后,各网络相同 "
            f"(pretrained: {runs.pretrained});配置、日志和检查点在 {runs.folder}。")


def train(names: Sequence[str], runs: Runs) -> dict[str, dict[str, Any]]:
    """Train each network; {name: result}.

    Returns:
        results: 'status' ('ok' or 'failed'), 'reason', 'curve' [(step, AP)], 'ap' at the last step, 'start' (where the
        weights came from), 'seconds', 'folder' of the run.

    Raises:
        UserError: see :func:`shared_sections`.
    """
    require_writable(runs.folder)
    shared = shared_sections(runs)
    return {name: _run(name, runs, shared) for name in names}


def file_stem(name: str) -> str:
    """A network's name as a file's: no folder, and no dot, which ends a config's name in an export."""
    return re.sub(r"[^\w-]", "-", name)


def _run(name: str, runs: Runs, shared: dict[str, Any]) -> dict[str, Any]:
    stem = file_stem(name)
    config, output = runs.folder / f"{stem}.yml", runs.folder / stem
    kind, section = backbone_section(name, pretrained=_as_yaml(runs.pretrained))
    text = yaml.safe_dump({"_BASE_": [str(config_file.find(runs.config).resolve())], **shared,
                           "DETR": {"backbone": kind}, kind: section}, sort_keys=False, allow_unicode=True)
    with atomic_path(config) as path:
        path.write_text(text, encoding="utf-8")
    shutil.rmtree(output, ignore_errors=True)  # curves of an earlier comparison are not this one's
    command = [sys.executable, "-m", "ppdet_ext.cli", "train", "-c", str(config), "--device", runs.device]
    log.info("%s: training, see %s", name, config.with_suffix(".log"))
    start = time.monotonic()
    with open(config.with_suffix(".log"), "wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    result = {"folder": str(output), "seconds": round(time.monotonic() - start, 1)}
    if code:
        return {**result, "status": "failed", "reason": f"training: {_last_line(config.with_suffix('.log'))}"}
    for snapshot in output.glob("[0-9]*.pd*"):
        snapshot.unlink()  # best_model and model_final stay
    return {**result, "status": "ok", **_outcome(output)}


def _as_yaml(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_bytes()[-4096:].decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def _outcome(output: Path) -> dict[str, Any]:
    """What a run has written: AP at its evaluations, and where its backbone started from."""
    rows = json.loads((output / CURVES).read_text(encoding="utf-8"))
    mark = stamp.read(output / f"{stamp.LAST}{stamp.WEIGHTS}")
    per_epoch = mark.facts.steps_per_epoch if mark else 1
    curve = [((row["epoch"] + 1) * per_epoch, main_ap(row["ap"])) for row in rows if row.get("ap")]
    report = json.loads((output / FACTS).read_text(encoding="utf-8"))
    return {"curve": curve, "ap": curve[-1][1] if curve else None, "start": report.get("started_from", "")}
