# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet's Trainer with exact weight loading, safe checkpoints, a history that survives a restart, and a report."""
import contextlib
import functools
import importlib.util
import logging
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from ppdet.core.workspace import create
from ppdet.engine import Trainer as PaddleDetectionTrainer
from ppdet.engine.callbacks import ComposeCallback, VisualDLWriter, WandbCallback

from .. import kernels
from ..backbones.modules import without_pretrained
from ..data import class_names as class_names
from ..distributed import processes
from ..errors import UserError
from ..files import require_writable
from . import load_weights, parallel, precision, predict, stepping
from .checkpointer import Checkpointer, take_over_best
from .history import History
from .memory import GiveBackOnce
from .metrics import Samples, ap_values
from .plots import Plots
from .progress import Progress
from .training_report import Report

log = logging.getLogger("ppdet.engine")

# config key that asks for it -> (module it needs, callback, modes it serves)
EXTRAS = {
    "use_vdl": ("visualdl", VisualDLWriter, ("train", "test")),
    "use_wandb": ("wandb", WandbCallback, ("train",)),
}


def parameter_count(model):
    """Number of weights, without statistics of normalisation."""
    return sum(int(np.prod(parameter.shape)) for name, parameter in model.named_parameters()
               if not name.endswith(("_mean", "_variance")))


def _without(cfg, *keys):
    """A copy of ppdet's config that lacks some keys."""
    copy = cfg.copy()
    for key in keys:
        copy.pop(key, None)
    return copy


class Trainer(PaddleDetectionTrainer):
    """Trains, evaluates and predicts as ppdet's Trainer does.

    Args:
        cfg: ppdet's global config (see ``ppdet_ext.cli.load_cfg``). Keys beside ppdet's: ``validate`` (evaluate during
            training also without ``--eval``), ``allow_missing`` (parameters that ``pretrain_weights`` need not hold),
            ``class_map`` (classes whose rows of ``pretrain_weights`` are kept), ``amp_dtype`` (see
            precision.Precision), ``accumulate_steps`` (batches that count as one, see stepping).
        mode: 'train', 'eval' or 'test'. In the last two the backbone's own weights are not asked for: a checkpoint of
            the whole detector follows.
    Attributes:
        output: folder of checkpoints, curves and report, ``<save_dir>/<name of the config>``.
        started_from: one line: the weights that training started from; '' where none were loaded here.
        ap: {'AP': ..., 'AP50': ...} of the last evaluation.
    Raises:
        UserError: the output folder cannot be written, what a flag asks for is not installed, or settings exclude each
            other.
    """

    def __init__(self, cfg, mode="train"):
        self.output = Path(cfg.get("save_dir", "output")) / cfg["filename"]
        self.started_from = ""
        self.ap = {}
        if mode == "train":
            # COCO's bbox.json goes beside the checkpoints, not into the working directory
            cfg["output_eval"] = cfg.get("output_eval") or str(self.output)
            require_writable(self.output)
        if cfg.get("output_eval"):
            require_writable(cfg["output_eval"])
        # the optimizer's state is filed under parameter names; numbered from 0 they are the same in every run
        paddle.utils.unique_name.switch()
        self.precision = precision.Precision.of(cfg)
        with contextlib.nullcontext() if mode == "train" else without_pretrained():
            # ppdet's own way of counting parameters fails on Paddle's newer 0-D tensors; ours replaces its precision
            super().__init__(_without(cfg, "print_params", "amp"), mode)
        # ppdet lets only its local rank 0 see losses and evaluate; here all do, and callbacks look who may write
        self._local_rank = 0
        if cfg.get("print_params"):
            log.info(f"Model Params : {parameter_count(self.model) / 1e6:.3f} M.")
        if mode == "train" and len(self.loader) == 0:
            raise UserError(f"TrainReader.batch_size {cfg['TrainReader']['batch_size']} is more than the data set's "
                            f"{len(self.dataset)} images; make it smaller: -o TrainReader.batch_size=1")
        if mode == "train":
            self._set_steps()

    def _set_steps(self):
        """Where batches are grouped or precisions mixed, ppdet's loop gets stand-ins for what moves the weights."""
        self.steps = stepping.Steps(len(self.loader), self.cfg.get("accumulate_steps", 1), self.precision.scaler())
        if self.steps.every > 1:
            self.lr = create("LearningRate")(self.steps.per_epoch)
            self.optimizer = create("OptimizerBuilder")(self.lr, self.model)
        # ppdet's loop would keep them as zeros, beside everything that the next forward pass keeps for its backward
        self.optimizer.clear_grad = functools.partial(self.optimizer.clear_grad, set_to_zero=False)
        if self.steps.every > 1 or self.precision.enabled:
            if self.cfg.get("fleet"):
                raise UserError("--fleet goes with neither accumulate_steps nor --amp here; leave --fleet out: several "
                                "GPUs train together without it")
            if self.use_ema:
                self.ema = stepping.Average(self.ema, self.steps, self.model, self.optimizer)
            self.optimizer = stepping.Optimizer(self.optimizer, self.steps)
            self.lr = stepping.Schedule(self.lr, self.steps)

    def weights_to_save(self, status):
        """At the end of an epoch: (the model's weights, the average's or None), in float32."""
        # on snapshot epochs ppdet's Trainer has put the average into the model and the model's weights into status
        inside = self.model.state_dict()
        weights, average = (status["weight"], inside) if self.use_ema else (inside, None)
        if not self.precision.half_weights:
            return weights, average
        return precision.full(weights, self.model, self.optimizer), self.ema.applied if self.use_ema else None

    def _init_callbacks(self):
        self.history = History(self) if self.mode == "train" else None
        own = {"train": [Progress(self), self.history, Checkpointer(self), Plots(self), Report(self),
                         GiveBackOnce(self)],
               "eval": [Progress(self)]}.get(self.mode, [])
        if processes.count() > 1 and self.mode == "train":
            own.insert(0, parallel.WholeBatch(self))
        for key, (module, callback, modes) in EXTRAS.items():
            if self.cfg.get(key) and self.mode in modes and processes.is_main():
                if importlib.util.find_spec(module) is None:
                    raise UserError(f"{key} needs {module}: pip install {module}")
                own.append(callback(self))
        self._callbacks = own
        self._compose_callback = ComposeCallback(own) if own else None

    def _init_metrics(self, validate=False):
        super()._init_metrics(validate)
        if self.mode == "train" and self._metrics:
            self.samples = Samples()
            self._metrics.append(self.samples)
        if processes.count() > 1 and self._metrics:
            self._metrics = [parallel.Gathered(self._metrics, self.status)]

    def _reset_metrics(self):
        self.ap = ap_values(self._metrics) or self.ap
        super()._reset_metrics()

    def _eval_with_loader(self, loader):
        self.status["mode"] = "eval"  # ppdet says so only after on_epoch_begin
        if self.mode == "train":  # BatchNorm statistics are each process's own; the checkpoint has the main one's
            processes.copy_from_main(self.model)
        super()._eval_with_loader(loader)

    def load_weights(self, weights_path):
        """Load ``pretrain_weights`` (train mode) or a whole detector's ``weights`` (eval, test), by exact names.

        Raises:
            UserError: see ``load_weights.load_pretrained``, ``load_weights.load_exact``.
        """
        if self.is_loaded_weights:
            return
        if self.mode == "train":
            allow = self.cfg.get("allow_missing") or ()
            class_map = self.cfg.get("class_map")
            own_names = None if class_map is None else class_names.of_data_set(self.cfg)
            self.started_from = load_weights.load_pretrained(self.model, weights_path, allow, class_map, own_names)
        else:
            load_weights.load_exact(self.model, weights_path)

    def resume_weights(self, weights_path):
        """Go on with the run that wrote this checkpoint.

        Raises:
            UserError: see ``load_weights.resume``, or the run was finished.
        """
        self.start_epoch = load_weights.resume(self, weights_path)
        if self.start_epoch >= self.end_epoch:
            raise UserError(f"'{weights_path}' has done {self.start_epoch} of {self.end_epoch} epochs: nothing is left;"
                            f" for more: -o epoch={self.start_epoch + 10}")
        self._resume_history(Path(weights_path).parent)
        # the sampler shuffles by its own epoch number, and ppdet's reader has drawn from it already
        self.loader.dataset.set_epoch(self.start_epoch)
        self.loader._batch_sampler.set_epoch(self.start_epoch)
        self.loader.loader = iter(self.loader.dataloader)
        self.started_from = f"checkpoint {weights_path} (resumed at epoch {self.start_epoch})"
        log.info(f"Resume from {weights_path}: epoch {self.start_epoch}, learning rate {self.optimizer.get_lr():.6f}")

    def _resume_history(self, folder):
        """Curves and best_model of the run in ``folder``; its best counts only where the file is that very epoch's."""
        self.history.load(folder / "curves.json", before=self.start_epoch)
        best = self.history.best()
        if best is not None and not take_over_best(folder, self.output, best["epoch"]):
            self.history.first = self.start_epoch
            log.warning(f"The best weights so far (epoch {best['epoch']}) are not in '{folder}' as best_model: that "
                        "will be the best from here on")

    @kernels.enabled()
    def train(self, validate=False):
        """Train to the end; evaluates at each snapshot where asked here or by the config's ``validate``."""
        if processes.count() > 1:
            self._join_processes()
        self.precision.decorate(self.model, self.optimizer)
        with self.precision.applied(self.model), self.steps.applied(self.model):
            super().train(bool(validate or self.cfg.get("validate", False)))

    def _join_processes(self):
        """What ppdet leaves out when several processes train together."""
        self.cfg.setdefault("use_fused_allreduce_gradients", True)
        self.cfg.setdefault("find_unused_parameters", True)
        if self.cfg.get("norm_type") == "sync_bn" and paddle.get_device() == "cpu":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        processes.meet()

    @kernels.enabled()
    def evaluate(self):
        """AP over the evaluation set: {'AP': ..., 'AP50': ...}; {} with --save_prediction_only."""
        with paddle.no_grad(), self.precision.applied(self.model):
            self._eval_with_loader(self.loader)
        return self.ap

    def predict(self, images, draw_threshold=0.5, output_dir="output", save_results=False, visualize=True,
                save_threshold=0.0):
        """Detect on image files; see ``predict.predict``."""
        return predict.predict(self, images, draw_threshold, output_dir, save_results, visualize, save_threshold)
