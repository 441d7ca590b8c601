# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Trains, evaluates and predicts: builds what a config names, and hands it to the loop with its hooks."""
from __future__ import annotations

import contextlib
import functools
import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import ppdet.optimizer
from paddle import nn
from ppdet.core.workspace import create
from ppdet.engine.callbacks import Callback
from ppdet.metrics import Metric

from .. import kernels
from ..checkpoints.facts import Facts
from ..checkpoints.stamp import Stamp
from ..config import resolved
from ..data import class_names, random_state
from ..data.reading import parse_once
from ..distributed import agreement, processes
from ..distributed.shared_evaluation import DistributedMetric, Share
from ..errors import Interrupted, UserError
from ..files import require_writable
from ..measure.memory_estimate import RunMemory
from ..registry.weights_wanted import without_pretrained
from ..report.run_page import CURVES
from . import load_weights, memory_check, metrics, precision, predict, recorders, run_facts, schedule_checks
from .accumulation import GradientAccumulation
from .checkpointer import Checkpointer, take_over_best
from .early_stopping import EarlyStopping, stopping_setting
from .history import History
from .hooks import CallbackHook, GiveBackOnce, Hook, Profile, Status, closing
from .loop import TrainingLoop, run_evaluation
from .plots import Plots
from .progress import Progress
from .rehearsal import rehearse
from .training_report import TrainingReport
from .watching import Watching
from .weight_average import WeightAverage

log = logging.getLogger("ppdet.engine")

# keys of PaddleDetection that this trainer has nothing for
REFUSED = {
    "to_static": "training runs layer by layer here, and export is tools/export_model.py",
    "unstructured_prune": "pruning while training is not supported",
    "print_flops": "operations are not counted here; benchmarks/inference.py measures time",
    "slim": "PaddleSlim's ways to train are not supported; tools/quantize_model.py quantizes an exported model",
    "save_proposals": "proposals are SNIPER's, which is not supported",
}
TRACKERS = ("ByteTrack", "CenterTrack", "DeepSORT", "FairMOT", "JDE")
# keys of ppdet's average of weights -> argument of ModelEMA
EMA_KEYS = {"ema_decay": "decay", "ema_decay_type": "ema_decay_type", "cycle_epoch": "cycle_epoch",
            "ema_black_list": "ema_black_list", "ema_filter_no_grad": "ema_filter_no_grad"}


def parameter_count(model: nn.Layer) -> int:
    """Number of weights, without statistics of normalisation."""
    return sum(int(np.prod(parameter.shape)) for name, parameter in model.named_parameters()
               if not name.endswith(("_mean", "_variance")))


class Trainer:
    """A detector with all that its config names, under the names that PaddleDetection's Trainer has.

    Args:
        cfg: ppdet's global config (see ``ppdet_ext.cli.load_cfg``). Keys beside ppdet's: ``validate`` (evaluate during
            training also without ``--eval``), ``allow_missing`` (parameters that ``pretrain_weights`` need not hold),
            ``class_map`` (classes whose rows of ``pretrain_weights`` are kept), ``amp_dtype`` (see
            precision.Precision), ``accumulate_steps`` (see accumulation.GradientAccumulation).
        mode: 'train', 'eval' or 'test'. In the last two the backbone's own weights are not asked for: a checkpoint of
            the whole detector follows.
        more_pictures: called with the parsed data set of mode 'train'; it may add records.

    Attributes:
        cfg: a copy of the config, with data sets in the place of their settings.
        model, dataset: the detector, and the data set of ``mode``.
        loader: gives batches of training or evaluation; None in mode 'test'.
        optimizer, lr: what training needs, else None.
        ema, average: ppdet's ModelEMA, and around it the way into the model and the checkpoints; None without
            ``use_ema``, and where nothing is trained.
        metrics: of the evaluation; during training there from the first evaluation on.
        hooks: what happens around training, evaluation and prediction.
        status: where the run is.
        output: folder of checkpoints, curves and report, ``<save_dir>/<name of the config>``.
        run: the run's own name, for the stamps of its checkpoints.
        resumed: names of the runs that it goes on with.
        swaps: where the backbone was exchanged before, see ``facts.Facts``.
        swapped: what an exchange of the backbone did at the start of this run, as plain data; None without.
        resolved: the config as YAML, which alone repeats the run.
        checkpoint: the stamp of the weights of modes 'eval' and 'test', once they are loaded.
        scaler: the loss scale of mixed precision; None where nothing is trained.
        memory: what the run takes, from the start of training on (with ``batch_size: auto`` at once); None where that
            cannot be told.
        trial: a batch of one image to tell it from, until it is told.
        started_from: one line: the weights that training started from; '' where none were loaded here.
        ap: {'AP': ..., 'AP50': ...} of the last evaluation.
        start_epoch, start_batch: where training begins; batches of that epoch are done where a run was interrupted.

    Raises:
        UserError: the output folder cannot be written, what a flag asks for is not installed or not supported, or
            settings exclude each other.
    """

    def __init__(self, cfg: dict[str, Any], mode: str = "train",
                 more_pictures: Callable[[Any], None] | None = None) -> None:
        self._more_pictures = more_pictures
        self.mode, self.output = mode, Path(cfg.get("save_dir", "output")) / cfg["filename"]
        self.started_from, self.run = "", secrets.token_hex(4)
        self.ap: dict[str, float | None] = {}
        self.checkpoint: Stamp | None = None
        self.resumed: tuple[str, ...] = ()
        self.swaps: tuple[dict[str, str], ...] = ()
        self.swapped: dict[str, Any] | None = None
        if mode == "train":
            # COCO's bbox.json goes beside the checkpoints, not into the working directory
            cfg["output_eval"] = cfg.get("output_eval") or str(self.output)
            require_writable(self.output)
        if cfg.get("output_eval"):
            require_writable(cfg["output_eval"])
        _refuse(cfg)
        self.resolved = resolved.as_yaml(cfg, whole=True)  # now: what is built goes into the config
        self.cfg = cfg.copy()
        # the optimizer's state is filed under parameter names; numbered from 0 they are the same in every run
        paddle.utils.unique_name.switch()
        self.precision = precision.Precision.of(cfg)
        self.status = Status(cfg.get("log_iter", 20))
        self.start_epoch, self.end_epoch = 0, cfg.get("epoch", 0)
        self.start_batch = 0
        self.loader: Any = None
        self.optimizer: Any = None
        self.lr: Any = None
        self.scaler: Any = None
        self.ema: Any = None
        self.average: WeightAverage | None = None
        self.memory: RunMemory | None = None
        self.trial: dict[str, Any] | None = None
        self.use_ema = mode == "train" and bool(cfg.get("use_ema"))
        self.metrics: list[Metric] = []
        self.watching: Watching | None = None
        with contextlib.nullcontext() if mode == "train" else without_pretrained():
            self._build()
        if cfg.get("print_params"):
            log.info(f"Model Params : {parameter_count(self.model) / 1e6:.3f} M.")
        self.hooks = self._hooks()

    def _build(self) -> None:
        """Data set, model and what the mode needs beside them; the order decides which random numbers each draws."""
        section = f"{self.mode.capitalize()}Dataset"
        self.dataset = self.cfg[section] = create(section)()
        if self.mode == "train":
            self.trial = memory_check.trial_batch(self.cfg, self.dataset)
            if self.cfg["TrainReader"]["batch_size"] == memory_check.AUTO:
                memory_check.choose_batch(self)
            parse_once(self.dataset)
            if self._more_pictures:
                self._more_pictures(self.dataset)
            self.loader = create("TrainReader")(self.dataset, self.cfg["worker_num"])
            if len(self.loader) == 0:
                raise UserError(f"TrainReader.batch_size {self.cfg['TrainReader']['batch_size']} is more than the data "
                                f"set's {len(self.dataset)} images; make it smaller: -o TrainReader.batch_size=1")
            self.accumulation = GradientAccumulation(len(self.loader), self.cfg.get("accumulate_steps", 1))
            schedule = create("LearningRate")
            self.plan = schedule_checks.check(schedule.schedulers, self.end_epoch, self.accumulation.steps_per_epoch)
        self.model = create(self.cfg["architecture"])
        if self.cfg["architecture"] == "YOLOX":
            _set_yolox_norms(self.model)
        self.model.load_meanstd(self.cfg["TestReader"]["sample_transforms"])
        if self.mode == "eval":
            self.loader = self._evaluation_loader(self.dataset)
            self.metrics = self._evaluation_metrics(self.dataset)
        if self.mode == "train":
            self.lr = schedule(self.accumulation.steps_per_epoch)
            self.optimizer = create("OptimizerBuilder")(self.lr, self.model)
            self.scaler = self.precision.scaler()
        if self.use_ema:
            given = {argument: self.cfg[key] for key, argument in EMA_KEYS.items() if key in self.cfg}
            self.ema = ppdet.optimizer.ModelEMA(self.model, **given)
            self.average = WeightAverage(self.ema, self.model, self.optimizer, self.precision.half_weights)

    def _hooks(self) -> list[Hook]:
        hooks: list[Hook] = [] if self.mode == "test" else [Progress(self)]
        if self.mode == "train":
            self.history = History(self)
            hooks += [self.history, EarlyStopping(self), Checkpointer(self), Plots(self), TrainingReport(self),
                      GiveBackOnce()]
            if self.cfg.get("watch") is not False:
                self.watching = Watching(self)
                hooks.append(self.watching)
            if self.cfg.get("profiler_options"):
                hooks.append(Profile(self.cfg["profiler_options"]))
        return hooks + recorders.asked_for(self)

    def register_callbacks(self, callbacks: Sequence[Callback]) -> None:
        """Let ppdet's callbacks take part."""
        self.hooks += [CallbackHook(callback) for callback in callbacks]

    @property
    def _metrics(self) -> list[Metric]:
        """``metrics`` where ppdet's callbacks look for it."""
        return self.metrics

    def _keep_boxes_apart(self) -> None:
        """VOC's metric wants boxes picture by picture; their numbers differ, so they make no array."""
        if self.cfg["metric"] == "VOC":
            self.cfg["EvalReader"]["collate_batch"] = False

    def _evaluation_loader(self, dataset: Any) -> Any:
        self._keep_boxes_apart()
        batches = paddle.io.BatchSampler(dataset, batch_size=self.cfg["EvalReader"]["batch_size"])
        return create("EvalReader")(dataset, self.cfg["worker_num"],
                                    Share(batches) if processes.count() > 1 else batches)

    def _evaluation_metrics(self, dataset: Any) -> list[Metric]:
        found: list[Metric] = [metrics.box_metric(self.cfg, dataset)]
        if self.mode == "train":
            self.samples = metrics.Samples()
            found.append(self.samples)
        return [DistributedMetric(found)] if processes.count() > 1 else found

    @functools.cached_property
    def facts(self) -> Facts:
        """What this training run's checkpoints belong to."""
        return run_facts.collect(self)

    @functools.cached_property
    def categories(self) -> tuple[dict[int, int], list[str]]:
        """({class: category id}, class names) in mode 'test': the checkpoint's, or where it has none TestDataset's."""
        return run_facts.categories(self.cfg, self.dataset, self.checkpoint.facts if self.checkpoint else Facts())

    def weights_to_save(self) -> tuple[dict[str, paddle.Tensor], dict[str, paddle.Tensor] | None]:
        """On a snapshot epoch: (the model's weights, the average's or None), in float32."""
        if self.average is not None:
            return self.average.weights()
        state = self.model.state_dict()
        return (precision.full(state, self.model, self.optimizer) if self.precision.half_weights else state), None

    def load_weights(self, weights: str | Path) -> None:
        """Load ``pretrain_weights`` (train mode) or a whole detector's ``weights`` (eval, test), by exact names.

        Raises:
            UserError: see ``load_weights.load_pretrained``, ``load_weights.load_exact``.
        """
        if self.mode == "train":
            class_map = self.cfg.get("class_map")
            own_names = run_facts.names_of(self.dataset) or None if class_map is None else \
                class_names.of_data_set(self.cfg)
            self.started_from = load_weights.load_pretrained(
                self.model, weights, self.cfg.get("allow_missing") or (), class_map, own_names,
                lambda theirs: self.take_over(theirs, weights))
        else:
            self.checkpoint = load_weights.load_exact(self.model, weights)
            names = run_facts.names_of(self.dataset) if self.mode == "eval" else ()
            run_facts.check(self.cfg, self.checkpoint.facts, weights, f"{self.mode.capitalize()}Reader", names,
                            "EvalDataset")

    def take_over(self, theirs: Facts, weights: str | Path) -> None:
        """Hold the facts of weights that training starts from against the config, and keep what goes on.

        Raises:
            UserError: see ``run_facts.check``.
        """
        run_facts.check(self.cfg, theirs, weights, "TrainReader")
        self.swaps = theirs.swaps

    def resume_weights(self, weights: str | Path) -> None:
        """Go on with the run that wrote this checkpoint.

        Raises:
            UserError: see ``load_weights.resume``, or the run was finished.
        """
        self.start_epoch = load_weights.resume(self, weights)
        if self.start_epoch >= self.end_epoch:
            raise UserError(f"'{weights}' has done {self.start_epoch} of {self.end_epoch} epochs: nothing is left; "
                            f"for more: -o epoch={self.start_epoch + 10}")
        self._resume_history(Path(weights).parent)
        place = f"epoch {self.start_epoch}" + (f", batch {self.start_batch}" if self.start_batch else "")
        self.started_from = f"checkpoint {weights} (resumed at {place})"
        log.info(f"Resume from {weights}: {place}, learning rate {self.optimizer.get_lr():.6f}")

    def _resume_history(self, folder: Path) -> None:
        """Curves and best_model of the run in ``folder``; its best counts only where the file is that very epoch's."""
        self.history.load(folder / CURVES, before=self.start_epoch)
        if self.watching is not None:
            self.watching.resume(folder, self.start_epoch, self.start_batch)
        best = self.history.best()
        if best is not None and not take_over_best(folder, self.output, best["epoch"]):
            self.history.first = self.start_epoch
            log.warning(f"The best weights so far (epoch {best['epoch']}) are not in '{folder}' as best_model: that "
                        "will be the best from here on")

    @kernels.enabled()
    def train(self, validate: bool = False) -> None:
        """Train to the end; evaluates at each snapshot where asked here or by the config's ``validate``."""
        evaluate = None
        if validate or self.cfg.get("validate"):
            self.cfg["EvalDataset"] = create("EvalDataset")()
            evaluate = self.evaluate
        elif stopping_setting(self.cfg, "patience"):
            raise UserError("early_stopping.patience counts evaluations, and this run makes none: add --eval, or "
                            "'validate: true' to the config")
        if processes.count() > 1:
            self._agree()
            if self.cfg.get("norm_type") == "sync_bn":
                self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
            processes.broadcast_from_main(self.model)
        self.precision.decorate(self.model, self.optimizer)
        evaluation_bytes = [0]
        if evaluate:
            self._keep_boxes_apart()
            with self._random_kept(), memory_check.evaluation_noted(self.cfg, evaluation_bytes):
                rehearse(self.model, self.cfg["EvalDataset"], self.cfg["EvalReader"]["batch_size"], self.precision)
        memory_check.before_training(self, max(evaluation_bytes))
        loop = TrainingLoop(self.model, self.loader, self.optimizer, self.lr, self.accumulation, self.precision,
                            self.average, evaluate, self.cfg["snapshot_epoch"], self.hooks, self.status, self.scaler,
                            self.watching.keeper() if self.watching else None)
        try:
            with closing(self.hooks):
                loop.run(self.start_epoch, self.end_epoch, self.start_batch)
        except Interrupted:
            # the launcher kills the others three seconds after the first has gone: the main process may still write
            processes.all_reduce_max(0)
            raise

    def _agree(self) -> None:
        """Several machines: they have the same data set; a line says where they have no common output folder."""
        agreement.require_same("the training set", agreement.data_set(self.dataset),
                               "all machines need the same files and the same annotations")
        blind = agreement.blind(self.output) if processes.nodes() > 1 else []
        if blind:
            log.warning(f"processes {', '.join(map(str, blind))} do not see process 0's folder '{self.output}', where "
                        "the checkpoints will be: -r auto will not work there; let save_dir be a folder that all "
                        "machines share")

    @kernels.enabled()
    def evaluate(self) -> dict[str, float | None]:
        """AP over the evaluation set: {'AP': ..., 'AP50': ...}; {} with --save_prediction_only.

        It leaves training's random numbers alone: a run with evaluations trains as one without, and as a resumed one.
        """
        with self._random_kept():
            return self._evaluate()

    def _random_kept(self) -> contextlib.AbstractContextManager:
        """Around what reads for an evaluation: each iteration over workers draws one of training's numbers."""
        return random_state.kept() if self.mode == "train" else contextlib.nullcontext()

    def _evaluate(self) -> dict[str, float | None]:
        loader = self.loader
        if self.mode == "train":
            if not self.metrics:
                self.evaluation_loader = self._evaluation_loader(self.cfg["EvalDataset"])
                self.metrics = self._evaluation_metrics(self.cfg["EvalDataset"])
            loader = self.evaluation_loader
            # statistics of BatchNorm are each process's own; the checkpoint has the main one's
            processes.broadcast_from_main(self.model)
        with self._at_the_end():
            run_evaluation(self.model, loader, self.metrics, self.precision, self.status, self.hooks)
        self.ap = self.status.ap or self.ap
        return self.ap

    def predict(self, images: Sequence[str], draw_threshold: float = 0.5, output_dir: str = "output",
                save_results: bool = False, visualize: bool = True, save_threshold: float = 0.0,
                looks: Sequence[str] = ()) -> list[dict]:
        """Detect on image files; see ``predict.predict``."""
        with self._at_the_end():
            return predict.predict(self, images, draw_threshold, output_dir, save_results, visualize, save_threshold,
                                   looks=looks)

    def _at_the_end(self) -> contextlib.AbstractContextManager:
        """Around an evaluation or a prediction: hooks close where it is the whole run, not one of a training's."""
        return contextlib.nullcontext() if self.mode == "train" else closing(self.hooks)


def _refuse(cfg: dict[str, Any]) -> None:
    """Raise UserError for what PaddleDetection could do with this config and this trainer cannot."""
    for key, reason in REFUSED.items():
        if cfg.get(key):
            raise UserError(f"{key}: {reason}; leave it out of the config")
    if cfg["architecture"] in TRACKERS:
        raise UserError(f"architecture {cfg['architecture']} tracks objects, which is not supported: detectors only")
    if cfg.get("use_fused_allreduce_gradients", True) is False:
        log.warning("use_fused_allreduce_gradients: false has NO effect: gradients are averaged once a step, after the "
                    "backward pass")
    if cfg.get("fleet"):
        log.warning("--fleet has NO effect: processes train together in the same way with and without it")


def _set_yolox_norms(model: nn.Layer) -> None:
    """PaddleDetection's numbers for YOLOX."""
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer._epsilon, layer._momentum = 1e-3, 0.97
