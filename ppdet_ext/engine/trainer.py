# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet's Trainer with exact weight loading, safe checkpoints, a history that survives a restart, and a report."""
import logging
from pathlib import Path

import paddle
from ppdet.core.workspace import create
from ppdet.data.source.category import get_categories
from ppdet.engine import Trainer as PaddleDetectionTrainer
from ppdet.engine.callbacks import ComposeCallback, VisualDLWriter, WandbCallback
from tqdm import tqdm

from ..errors import UserError
from ..files import require_writable
from . import predictions, weights
from .checkpoint import Checkpointer
from .history import History
from .metrics import Samples
from .plots import Plots
from .progress import Progress
from .report import Report

log = logging.getLogger("ppdet.engine")


class Trainer(PaddleDetectionTrainer):
    """Trains, evaluates and predicts as ppdet's Trainer does.

    Args:
        cfg: ppdet's global config (see ``ppdet_ext.cli.load_cfg``). Keys beside ppdet's: ``validate`` (evaluate during
            training without ``--eval``), ``allow_missing`` (parameters that ``pretrain_weights`` need not hold).
        mode: 'train', 'eval' or 'test'.
    Raises:
        UserError: the output folder cannot be written, or what a flag asks for is not installed.
    """

    def __init__(self, cfg, mode="train"):
        self.output = Path(cfg.get("save_dir", "output")) / cfg["filename"]
        self.resumed = None
        self.pretrained = None
        # the optimizer's state is filed under parameter names; numbered from 0, they are the same in every run
        paddle.utils.unique_name.switch()
        if mode == "train":
            require_writable(self.output)
            cfg["output_eval"] = cfg.get("output_eval") or str(self.output)
            if len_of_epoch(cfg) == 0:
                raise UserError(f"epoch is {cfg.get('epoch')}: nothing to train")
        if cfg.get("output_eval"):
            require_writable(cfg["output_eval"])
        super().__init__(cfg, mode)
        if self.use_amp and not any(cfg.get(f"use_{name}") for name in ("gpu", "npu", "mlu")):
            log.warning("--amp has NO effect on a CPU: everything runs in float32")
