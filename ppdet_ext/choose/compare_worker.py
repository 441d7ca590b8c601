# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a worker of the comparison does in its process: prepare a network, time it once a turn, find a peak of memory.

A process holds one network; the comparison asks one process after the other, so that the turns are interleaved.
"""
from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paddle
import ppdet.optimizer
from paddle import nn
from ppdet.core.workspace import create

from .. import kernels
from ..deploy import DeployError, paddle_engine
from ..deploy.engines import Options
from ..deploy.exported_model import WEIGHTS, ExportedModel
from ..engine import precision
from ..engine.accumulation import GradientAccumulation
from ..engine.export import ExportOptions, save_for_timing
from ..engine.hooks import GiveBackOnce
from ..engine.loop import TrainingLoop
from ..engine.trainer import EMA_KEYS
from ..engine.weight_average import WeightAverage
from ..errors import UserError
from . import under_detector
from .resident import peak, restart_peak

PARTS = ("backbone", "detector")
FORMS = ("eager", "exported")
PRECISIONS = ("fp32", "bf16")
PAUSE = 0.3  # seconds before each timed call: OpenMP's threads spin for 0.2 after the one before
STEPS_FOR_PEAK = 3  # the optimizer's states appear in the first
NO_EAGER_HALF = "Paddle has no convolution in bfloat16 for a CPU"
_timed: dict[str, Callable[[], Any]] = {}  # of this process's network: what a turn calls, by name


def measure(name: str, step: str, device: str, **settings: Any) -> dict[str, Any]:
    """The pool's function: one of STEPS for a network, as a row."""
    paddle.set_device(device)
    return {"name": name, "status": "ok", **STEPS[step](name, **settings)}


def prepare(name: str, config: str, size: Sequence[int], folder: str, half: bool) -> dict[str, Any]:
    """Build and export the network for turns.

    Args:
        folder: gets the exported programs.
        half: in bfloat16 as well, where that can be.

    Returns:
        The network's facts (under_detector.facts), and {'missing': {what cannot be timed: why}}.
    """
    detector, cfg = under_detector.build(config, name, size)
    facts, missing = under_detector.facts(detector, name), {}
    try:
        facts.update(under_detector.operations(detector, size))
    except UserError as error:
        missing["gflops"] = str(error)
    for part in PARTS:
        for form in FORMS:
            for kind in PRECISIONS[:2 if half else 1]:
                key = f"{part}_{form}_{kind}"
                try:
                    _timed[key] = RUNS[form](detector, part, kind, size, Path(folder), cfg)
                    _timed[key]()
                except (UserError, DeployError) as error:
                    _timed.pop(key, None)
                    missing[key] = str(error)
    return {**facts, "missing": missing}


def _eager(detector: nn.Layer, part: str, kind: str, size: Sequence[int], folder: Path, cfg: Any) -> Callable[[], Any]:
    """A call of the layers as they are, on this package's kernels where it is a CPU."""
    if kind == "bf16" and not precision.device_has_half():
        raise UserError(NO_EAGER_HALF)
    layer = detector.backbone if part == "backbone" else detector
    inputs = {key: paddle.to_tensor(value) for key, value in under_detector.batch_of(1, size).items()}
    half = precision.Precision(kind == "bf16", dtype="bfloat16")

    def run():
        with paddle.no_grad(), kernels.enabled(), half.auto_cast():
            layer(inputs)
        if not paddle.get_device().startswith("cpu"):
            paddle.device.synchronize()

    return run


def _exported(detector: nn.Layer, part: str, kind: str, size: Sequence[int], folder: Path, cfg: Any
              ) -> Callable[[], Any]:
    """A call of the exported program in Paddle Inference, on a CPU with oneDNN."""
    engine = engine_of(program_of(detector, part, size, folder, cfg), part, kind)
    return functools.partial(engine.run, under_detector.batch_of(1, size))


def program_of(detector: nn.Layer, part: str, size: Sequence[int], folder: Path, cfg: Any) -> Path:
    """The exported program of a part, written where it is not there yet."""
    written = [path for suffix in (".json", ".pdmodel") if (path := folder / f"{part}{suffix}").is_file()]
    if not written:
        layer = detector.backbone if part == "backbone" else detector
        save_for_timing(layer, size, folder / part, ExportOptions.of(cfg), all_inputs=part == "detector")
        return program_of(detector, part, size, folder, cfg)
    return written[0]


def engine_of(program: Path, part: str, kind: str) -> paddle_engine.Engine:
    """Paddle Inference for an exported program on the current device."""
    device = paddle.get_device().partition(":")[0]
    model = ExportedModel(program, program.with_suffix(WEIGHTS[program.suffix]), "DETR", [], [], 3, False)
    options = Options(engine="paddle", device=device, precision=kind, enable_mkldnn=device == "cpu")
    if options.bf16 and device != "cpu":
        raise UserError("bfloat16 of exported models is for a CPU")
    return paddle_engine.Engine(model, options, whole=part == "backbone")


def turn(name: str, seed: int) -> dict[str, Any]:
    """{what: ms} of one timed call each, in an order of the turn's own; an untimed one fills caches first."""
    times = {}
    for key in random.Random(seed).sample(list(_timed), len(_timed)):
        time.sleep(PAUSE)
        _timed[key]()
        start = time.perf_counter()
        _timed[key]()
        times[key] = (time.perf_counter() - start) * 1e3
    return {"times": times}


def inference_peak(name: str, config: str, size: Sequence[int], batch: int = 1) -> dict[str, Any]:
    """{'peak': MB} of the whole process while the detector predicts layer by layer."""
    detector, _ = under_detector.build(config, name, size)
    inputs = {key: paddle.to_tensor(value) for key, value in under_detector.batch_of(batch, size).items()}
    restart_peak()
    with paddle.no_grad(), kernels.enabled():
        for _ in range(2):
            detector(inputs)
    return {"peak": peak()}


def exported_peak(name: str, program: str, size: Sequence[int], batch: int = 1) -> dict[str, Any]:
    """{'peak': MB} of the whole process while Paddle Inference runs an exported detector."""
    restart_peak()
    engine = engine_of(Path(program), "detector", "fp32")
    for _ in range(2):
        engine.run(under_detector.batch_of(batch, size))
    return {"peak": peak()}


class SameBatch(list):
    """A loader of the same batch again and again."""

    @property
    def dataset(self) -> SameBatch:
        """What the loop tells the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes."""


def training_peak(name: str, config: str, size: Sequence[int], batch: int) -> dict[str, Any]:
    """{'peak': MB} of the whole process while the training loop makes steps: optimizer, average of weights, losses."""
    detector, cfg = under_detector.build(config, name, size)
    schedule = create("LearningRate")(STEPS_FOR_PEAK)
    optimizer = create("OptimizerBuilder")(schedule, detector)
    average = None
    if cfg.get("use_ema"):
        settings = {argument: cfg[key] for key, argument in EMA_KEYS.items() if key in cfg}
        average = WeightAverage(ppdet.optimizer.ModelEMA(detector, **settings), detector, optimizer)
    loader = SameBatch([under_detector.training_batch(batch, size, cfg["num_classes"])] * STEPS_FOR_PEAK)
    restart_peak()
    with kernels.enabled():
        TrainingLoop(detector, loader, optimizer, schedule, GradientAccumulation(STEPS_FOR_PEAK),
                     precision.Precision.of(cfg), average, hooks=[GiveBackOnce()]).run(0, 1)
    return {"peak": peak()}


RUNS = {"eager": _eager, "exported": _exported}
STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare, "turn": turn, "inference_peak": inference_peak, "exported_peak": exported_peak,
    "training_peak": training_peak}
