# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``train --quick``: can this config learn at all? It learns a few images by heart, in minutes, for a verdict.

It writes to ``<save_dir>/<name of the config>/quick`` and leaves no checkpoint.
"""
from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from .. import kernels
from ..deploy import media
from ..distributed import processes
from ..engine import recorders
from ..engine.draw import beside
from ..engine.hooks import Hook, Status
from ..engine.loop import run_evaluation
from ..engine.metrics import CocoBoxes, Samples
from ..engine.progress import Progress
from ..engine.trainer import Trainer
from ..engine.training_report import TITLES, beside_truth, ground_truth
from ..errors import NotFinite, UserError
from ..files import atomic_path, require_writable
from ..nn.norms import batch_norms
from . import quick_causes, quick_setup
from .quick_causes import Look
from .quick_setup import Recipe

FOLDER, PICTURE, VERDICT = "quick", "quick.png", "quick.json"
SHOWN, HEIGHT = 6, 200  # images in the picture, and their pixels
FAILED = 1  # exit code


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a quick run came to.

    Attributes:
        passed: the loss fell, AP passed the limit, and no fault was found.
        line: the verdict in one line.
        reasons: where it failed: what was found, the likeliest first.
        changes: what was other than in the config, a line each.
        loss: (at the start, at the end); None where no step was made.
        ap: {'AP': ..., 'AP50': ...} on the images themselves; {} where no step was made.
        seconds: that it took.
        picture: ground truth beside predictions; None where no step was made.
    """
    passed: bool
    line: str
    reasons: list[str]
    changes: list[str]
    loss: tuple[float, float] | None
    ap: dict[str, float | None]
    seconds: float
    picture: str | None


class Losses(Hook):
    """The loss of every step."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def after_step(self, status: Status) -> None:
        self.values.append(float(status.losses.meters["loss"].value))


class HoldStatistics(Hook):
    """From an epoch on, BatchNorm uses its running statistics, as an evaluation does, and keeps them."""

    def __init__(self, model: nn.Layer, first: int) -> None:
        self.norms, self.first = batch_norms(model), first

    def before_step(self, status: Status) -> None:
        if status.epoch >= self.first:
            for norm in self.norms:
                norm.training = False


class Detections(Hook):
    """What an evaluation found: ``kept``, {im_id: [N, 6] of (class, score, x1, y1, x2, y2)}."""

    def __init__(self, count: int) -> None:
        self.samples = Samples(count)
        self.kept: dict[int, np.ndarray] = {}

    def after_evaluation(self, status: Status) -> None:
        self.kept = self.samples.detections


@kernels.enabled()
def run(cfg: dict[str, Any], recipe: Recipe = Recipe(),  # noqa: B008  # it is frozen
        begin: Callable[[Trainer], None] | None = None) -> Verdict:
    """Learn a few images by heart and say how it went; prints what it changes and the verdict, writes quick.json.

    Args:
        cfg: ppdet's global config, checked for mode 'train'; it is changed.
        recipe: how long, how fast, how much.
        begin: gives the trainer its first weights; None: its config's ``pretrain_weights``.
    Raises:
        UserError: the config cannot be built, there is no box to learn, a picture cannot be read.
    """
    start = time.time()
    if processes.count() > 1:
        raise UserError("--quick runs in one process: start it without paddle.distributed.launch")
    folder = Path(cfg.get("save_dir", "output")) / cfg["filename"] / FOLDER
    require_writable(folder)
    for name in (PICTURE, VERDICT):  # of an earlier quick run
        (folder / name).unlink(missing_ok=True)
    rate = float(cfg["LearningRate"]["base_lr"])
    cfg.update({"save_dir": str(folder.parent), "filename": FOLDER, "output_eval": str(folder), "log_iter": 20})
    cfg.update(dict.fromkeys((*(row.key for row in recorders.RECORDERS), "classwise", "save_prediction_only",
                              "profiler_options", "early_stopping"), False))
    dataset, changes = quick_setup.take_images(cfg, recipe)
    changes += quick_setup.adjust(cfg, dataset, recipe)
    for line in changes:
        print(f"quick: {line}", flush=True)
    trainer = Trainer(cfg, "train")
    if begin:
        begin(trainer)
    elif cfg.get("pretrain_weights"):
        trainer.load_weights(cfg["pretrain_weights"])
    verdict = _judged(trainer, dataset, rate, recipe, changes, start)
    with atomic_path(folder / VERDICT) as path:
        path.write_text(json.dumps(dataclasses.asdict(verdict), indent=1))
    for reason in verdict.reasons[1:]:
        print(f"quick: also: {reason}")
    if verdict.picture:
        print(f"quick: picture: {verdict.picture} ({' | '.join(TITLES)})")
    print(f"quick: {verdict.line}", flush=True)
    return verdict


def _judged(trainer: Trainer, dataset: Any, rate: float, recipe: Recipe, changes: list[str], start: float) -> Verdict:
    seen = quick_causes.look(trainer, rate, trainer.cfg["TrainReader"]["batch_size"])
    found = quick_causes.faults(seen)
    if not found:
        _train(trainer, seen)
        found = quick_causes.faults(seen)
    if found:
        return Verdict(False, f"FAIL: {found[0]}", found, changes, None, {}, time.time() - start, None)
    truth = _write_truth(dataset, trainer.output / "images.json")
    detections = Detections(len(dataset.roidbs))
    ap = _evaluate(trainer, truth, detections, seen)
    picture = _draw(dataset, detections.kept, trainer.output / PICTURE)
    good, line, reasons = verdict_of(seen, ap.get("AP"), len(dataset.roidbs), recipe, lambda: _by_batch(trainer, truth))
    return Verdict(good, line, reasons, changes, quick_causes.ends(seen), ap, time.time() - start, str(picture))


def verdict_of(seen: Look, ap: float | None, images: int, recipe: Recipe, ap_by_batch: Callable[[], float | None]
               ) -> tuple[bool, str, list[str]]:
    """(whether it passed, the line, the reasons where not) after all steps.

    Args:
        ap: on the images; None where nothing was found.
        ap_by_batch: measures it with each batch's own statistics; called only where the reason is looked for.
    """
    first, last = quick_causes.ends(seen)
    direction = "fell" if last < first else "rose"
    what = (f"the loss {direction} from {first:.2f} to {last:.2f} in {len(seen.losses)} steps, and AP on these "
            f"{images} images is {'n/a' if ap is None else format(ap, '.2f')}")
    reasons = quick_causes.faults(seen)  # training may have made some
    fell = last < recipe.fall * first
    if not reasons and fell and ap is not None and ap > recipe.least_ap:
        return True, f"PASS: {what}", []
    if not reasons:
        seen.ap, seen.ap_by_batch = ap or 0.0, ap_by_batch()
        reasons = quick_causes.likely(seen) or [
            f"no cause was found; the network may need more steps: --quick {2 * recipe.steps}"]
    wanted = f"more than {recipe.least_ap:g} is wanted" if fell else f"a loss below {recipe.fall:.0%} of that is wanted"
    return False, f"FAIL: {what} ({wanted}): {reasons[0]}", reasons


def _train(trainer: Trainer, seen: Look) -> None:
    """All steps, or until numbers are no longer finite, which ``seen`` then tells."""
    first = trainer.end_epoch * quick_setup.HELD_FROM // quick_setup.PARTS
    trainer.hooks = [Progress(trainer), Losses(seen.losses)]
    if first:
        trainer.hooks.append(HoldStatistics(trainer.model, first))
    try:
        trainer.train(False)
    except UserError as error:
        if not isinstance(error.__cause__, NotFinite):
            raise
        seen.broken = f"step {len(seen.losses)} of the run ({str(error.__cause__).partition(':')[0]})"


def _write_truth(dataset: Any, path: Path) -> Path:
    """The images as a COCO file, whatever the data set is: category ids are the class numbers."""
    names = {label: name for name, label in dataset.cname2cid.items()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record, boxes in zip(dataset.roidbs, ground_truth(dataset, dataset.roidbs)):
        number = int(np.ravel(record["im_id"])[0])
        images.append({"id": number, "file_name": str(record["im_file"]), "width": int(record["w"]),
                       "height": int(record["h"])})
        for label, _, x1, y1, x2, y2 in boxes.tolist():
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": int(label),
                                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({
            "images": images, "annotations": annotations,
            "categories": [{"id": label, "name": str(name)} for label, name in sorted(names.items())]}))
    return path


def _evaluate(trainer: Trainer, truth: Path, detections: Detections, seen: Look | None) -> dict[str, float | None]:
    """AP by COCO's rules; ``seen`` gets the features of the last batch."""
    content = json.loads(truth.read_text())
    box_metric = CocoBoxes(anno_file=str(truth), output_eval=str(truth.parent),
                           clsid2catid={entry["id"]: entry["id"] for entry in content["categories"]})
    status, features = Status(), [] if seen is None else seen.features
    loader = trainer._evaluation_loader(trainer.cfg["EvalDataset"])
    with contextlib.redirect_stdout(io.StringIO()), quick_causes.watched_features(trainer.model, features):
        run_evaluation(trainer.model, loader, [box_metric, detections.samples], trainer.precision, status, [detections])
    return dict(status.ap)


def _by_batch(trainer: Trainer, truth: Path) -> float | None:
    """AP where BatchNorm uses each batch's own statistics; None without one that moves."""
    trainer.model.train()
    backbone = getattr(trainer.model, "backbone", None)
    if backbone is not None and hasattr(backbone, "hold_frozen"):
        backbone.hold_frozen()
    moving = [norm for norm in batch_norms(trainer.model) if norm.training]
    if not moving:
        return None
    with _in_train_mode(moving):
        return _evaluate(trainer, truth, Detections(0), None).get("AP")


@contextlib.contextmanager
def _in_train_mode(norms: Sequence[Any]) -> Iterator[None]:
    """Inside, these norms are in train mode whatever their model is in; their statistics come back as they were."""
    statistics = [value for norm in norms for value in (norm._mean, norm._variance)]
    held = [value.clone() for value in statistics]
    handles = [norm.register_forward_pre_hook(_set_training) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for value, before in zip(statistics, held):
            value.set_value(before)


def _set_training(layer: nn.Layer, given: Any) -> Any:
    layer.training = True


def _draw(dataset: Any, detections: Mapping[int, np.ndarray], path: Path) -> Path:
    """Ground truth (left) beside as many of the best predictions (right), a row per image."""
    media.write_image(path, beside(beside_truth(dataset, dataset.roidbs[:SHOWN], detections), TITLES, HEIGHT))
    return path
