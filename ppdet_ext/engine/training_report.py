# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a training run came to: AP table, a picture, files, where it started from, and what to run next."""
from __future__ import annotations

import functools
import json
import logging
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ppdet.core.workspace import create

from ..checkpoints import stamp
from ..config import resolved
from ..deploy import media
from ..deploy.visualize import draw_boxes
from ..distributed import processes
from ..errors import masked, printable
from ..files import atomic_path
from ..report.run_page import FACTS
from ..report.run_page import NAME as PAGE
from . import report_writer
from .draw import beside
from .hooks import Hook, Status
from .metrics import voc_boxes

if TYPE_CHECKING:
    from .trainer import Trainer

CONFIG_HEAD = "# Written by a training run, with all that its config, bases and options say; alone it"
log = logging.getLogger("ppdet.engine")
# -o keys that belong to the training run only
TRAINING_OPTIONS = ("weights", "pretrain_weights", "epoch", "save_dir", "snapshot_epoch", "TrainReader", "TrainDataset",
                    "LearningRate", "OptimizerBuilder", "validate", "allow_missing", "swap_backbone", "class_map",
                    "worker_num", "log_iter")
# the next steps as a checkout spells them; a command line brings its own spelling
PROGRAMS = {"eval": "python tools/eval.py", "infer": "python tools/infer.py", "export": "python tools/export_model.py",
            "deploy": "python tools/deploy_infer.py"}
TITLES = ("ground truth", "detections")


class TrainingReport(Hook):
    """Keeps the best evaluation's detections; at the end prints the report and writes report.json, report.html
    and predictions.png."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.samples: dict[int, np.ndarray] = {}
        self.config = resolved.as_yaml(trainer.cfg)  # now: the file may change while the run goes on

    def before_train(self, status: Status) -> None:
        if processes.is_main():
            write_config(self.trainer)

    @property
    def boxes_path(self) -> Path:
        """Copy of the best evaluation's bbox.json."""
        return self.trainer.output / f"{stamp.BEST}.bbox.json"

    def after_evaluation(self, status: Status) -> None:
        best = self.trainer.history.best()
        if best is None or best["epoch"] != status.epoch:
            return
        self.samples = self.trainer.samples.detections
        voc = voc_boxes(self.trainer.metrics)
        if voc is not None and voc.pictures:
            self.evaluated = report_writer.Evaluated.of_voc(voc, self.trainer.cfg["EvalDataset"])
        written = Path(self.trainer.cfg["output_eval"]) / "bbox.json"
        if self.trainer.cfg["metric"] == "COCO" and written.is_file():
            with atomic_path(self.boxes_path) as path:
                shutil.copyfile(written, path)

    def after_train(self, status: Status) -> None:
        if not processes.is_main():
            return
        facts = self.facts()
        with atomic_path(self.trainer.output / FACTS) as path:
            path.write_text(json.dumps(facts, indent=1))
        if facts["page"]:
            report_writer.write_training(self.trainer, facts, self.evaluated if facts["ap"] else None, self.config)
        print(as_text(facts), flush=True)

    def facts(self) -> dict[str, Any]:
        """The report as plain data."""
        trainer, best = self.trainer, self.trainer.history.best()
        name = stamp.BEST if best else stamp.LAST
        return {
            "started_from": started_from(trainer),
            "checkpoint": str(trainer.output / f"{name}.pdparams"),
            "epoch": best["epoch"] if best else trainer.cfg["epoch"] - 1,
            "ap": best["ap"] if best else {},
            "best_by": trainer.history.metric,
            "classes": self._classes() if best else {},
            "picture": self._picture() if best else None,
            "page": str(trainer.output / PAGE) if trainer.cfg.get("report") is not False else None,
            "curves": [str(trainer.output / f"curves.{suffix}") for suffix in ("json", "png")],
            "next": next_commands(trainer, name),
            **({"swap": trainer.swapped} if trainer.swapped else {}),
        }

    @functools.cached_property
    def evaluated(self) -> report_writer.Evaluated | None:
        """The best evaluation's boxes; None where they are not at hand."""
        if self.trainer.cfg["metric"] != "COCO" or not self.boxes_path.is_file():
            return None
        dataset = _evaluation_data(self.trainer)
        anno_path = dataset.get_anno()
        return report_writer.Evaluated.of(dataset, self.boxes_path) if anno_path and Path(anno_path).is_file() else None

    def _classes(self) -> dict[str, tuple[float | None, float | None]]:
        return {one.name: (one.ap, one.ap50) for one in self.evaluated.classes} if self.evaluated else {}

    def _picture(self) -> str | None:
        """Ground truth (left) beside the best checkpoint's detections (right), a row per image."""
        if not self.samples:  # the best evaluation was an earlier run's
            return None
        dataset = self.trainer.cfg["EvalDataset"]
        shown = [record for record in dataset.roidbs if int(record["im_id"][0]) in self.samples]
        rows = beside_truth(dataset, shown, self.samples)
        if not rows:
            return None
        path = self.trainer.output / "predictions.png"
        media.write_image(path, beside(rows, TITLES))
        return str(path)


def _evaluation_data(trainer: Trainer) -> Any:
    """The evaluation set, which a run without evaluations has not made: its best may be of the run that it resumed."""
    found = trainer.cfg.get("EvalDataset")
    return found if hasattr(found, "get_anno") else create("EvalDataset")()


def beside_truth(dataset: Any, records: Sequence[dict[str, Any]], detections: Mapping[int, np.ndarray]
                 ) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ground truth, as many of the best detections), drawn, for each of a ppdet data set's records.

    Args:
        detections: {im_id: [N, 6] of (class, score, x1, y1, x2, y2)}.
    """
    names = {label: name for name, label in dataset.cname2cid.items()}
    rows = []
    for record, truth in zip(records, ground_truth(dataset, records)):
        image = media.read_image(record["im_file"])
        found = detections.get(int(record["im_id"][0]), np.zeros((0, 6)))
        best = found[np.argsort(-found[:, 1])[:len(truth)]]
        rows.append((draw_boxes(image, truth, names), draw_boxes(image, best, names, 0.0)))
    return rows


def ground_truth(dataset: Any, records: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """True boxes of some of a ppdet data set's records: a list of [N, 6] (class, nan, x1, y1, x2, y2).

    From the records where the data set put them there, else (``data_fields`` without gt_bbox) from its COCO file.
    """
    if all("gt_bbox" in record for record in records):
        pairs = [(record["gt_class"], record["gt_bbox"]) for record in records]
    else:
        content = json.loads(Path(dataset.get_anno()).read_text())
        objects: dict[int, tuple[list, list]] = {int(record["im_id"][0]): ([], []) for record in records}
        for entry in content["annotations"]:
            if entry["image_id"] in objects:
                x, y, w, h = entry["bbox"]
                objects[entry["image_id"]][0].append(dataset.catid2clsid[entry["category_id"]])
                objects[entry["image_id"]][1].append((x, y, x + w, y + h))
        pairs = list(objects.values())
    return [np.hstack([np.reshape(labels, (-1, 1)).astype(float), np.full((len(labels), 1), np.nan),
                       np.reshape(corners, (-1, 4))]) for labels, corners in pairs]


def started_from(trainer: Trainer) -> str:
    """What the weights were at the start, in words."""
    if trainer.started_from:
        return trainer.started_from
    backbone = getattr(trainer.model, "backbone", None)
    if backbone is not None and getattr(backbone, "load_report", None) is not None:
        return f"pretrained backbone weights from {backbone.weights_source}; the rest from random initialisation"
    return "random initialisation (no pretrained weights)"


def next_commands(trainer: Trainer, name: str) -> list[str]:
    """Lines to copy: evaluate, infer, export and deploy the checkpoint ``name``."""
    command = trainer.cfg.get("command") or {"config": f"{trainer.cfg['filename']}.yml", "opt": []}
    options = [masked(option) for option in command["opt"]
               if option.split("=")[0].split(".")[0] not in TRAINING_OPTIONS]
    imports = [word for file in command.get("imports", ()) for word in ("--import", str(file))]
    config = command["config"]
    if command.get("data"):  # of --data only the run's own config knows
        config, options = config_path(trainer), []
    base = shlex.join(["-c", str(config), *imports, "-o", *options,
                       f"weights={trainer.output / name}.pdparams"])
    image = shlex.quote(_example_image(trainer))
    model_dir = shlex.quote(f"output_inference/{trainer.cfg['filename']}")
    programs = command.get("programs", PROGRAMS)
    return [f"{programs['eval']} {base}",
            f"{programs['infer']} {base} --infer_img={image}",
            f"{programs['export']} {base}",
            f"{programs['deploy']} --model_dir={model_dir} --image_file={image}"]


def config_path(trainer: Trainer) -> Path:
    """The run's own config, beside its checkpoints. It has the run's name, so that its run has the same folder."""
    return trainer.output / f"{trainer.cfg['filename']}.yml"


def write_config(trainer: Trainer) -> None:
    """Write the config that alone repeats the run; a config that somebody else wrote there stays."""
    path = config_path(trainer)
    if path.is_file() and not path.read_bytes().startswith(CONFIG_HEAD.encode()):
        log.warning(f"'{path}' is not this run's: the config that repeats the run is not written; it is in {PAGE}")
        return
    with atomic_path(path) as temporary:
        temporary.write_text(f"{CONFIG_HEAD} repeats it: train -c {path}\n{trainer.resolved}", encoding="utf-8")


def _example_image(trainer: Trainer) -> str:
    for key in ("EvalDataset", "TrainDataset"):
        records = getattr(trainer.cfg.get(key), "roidbs", None)
        if records:
            return str(records[0]["im_file"])
    return "IMAGE.jpg"


def ap_table(ap: dict[str, float | None], classes: dict[str, tuple[float | None, float | None]]) -> str:
    """Two columns of text: the summary values, then AP and AP50 of each class."""
    def number(value: float | None) -> str:
        return "  n/a" if value is None else f"{value:.3f}"
    lines = [f"  {name:<12} {number(value)}" for name, value in ap.items() if name.startswith("AP")]
    if classes:
        classes = {printable(name): values for name, values in classes.items()}
        width = max(12, *map(len, classes))
        lines += ["", f"  {'class':<{width}}    AP   AP50"]
        lines += [f"  {name:<{width}} {number(a)}  {number(b)}" for name, (a, b) in classes.items()]
    return "\n".join(lines)


def as_text(facts: dict[str, Any]) -> str:
    """The report as a person reads it."""
    lines = ["", "=" * 30 + " result " + "=" * 30, f"started from:    {facts['started_from']}"]
    if facts["ap"]:
        lines += ["", ap_table(facts["ap"], facts["classes"]), "",
                  f"best checkpoint: {facts['checkpoint']} (epoch {facts['epoch']}, "
                  f"{facts['best_by']} {facts['ap'][facts['best_by']]:.3f})"]
    else:
        lines += ["no evaluation was made (--eval, or validate: true in the config)",
                  f"last checkpoint: {facts['checkpoint']}"]
    if facts["picture"]:
        lines.append(f"picture:         {facts['picture']} (ground truth | detections)")
    if facts["page"]:
        lines.append(f"page:            {facts['page']}")
    lines += [f"curves:          {', '.join(facts['curves'])}", "", "next:"]
    lines += [f"  {line}" for line in facts["next"]] + [""]
    return "\n".join(lines)
