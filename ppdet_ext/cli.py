# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the command-line tools share: the way from a command line to a checked config, one-line errors."""
import importlib.util
import logging
import os
import random
import sys
import traceback
from pathlib import Path

import numpy as np
import paddle

from .config import config_file
from .config.flags import DEVICES, add_slice_flags, add_switch, config_parser
from .data import checks, normalize, sample
from .deploy import DeployError
from .distributed import processes
from .errors import UserError

__all__ = ["add_slice_flags", "add_switch", "config_parser", "current_device", "import_file", "load_cfg",
           "required_weights", "run", "set_device", "start_workers"]

log = logging.getLogger("ppdet.engine")
# flags that ppdet's Trainer and readers look up in the config; a flag left out never overrides the config's own value
CONFIG_FLAGS = ("amp", "fleet", "use_vdl", "vdl_log_dir", "use_wandb", "save_prediction_only", "profiler_options",
                "classwise", "output_eval", "bias", "enable_ce")


def run(main):
    """Call ``main()`` and leave the process: 0, or 2 after ``error: ...`` for a user's mistake, 130 for Ctrl-C.

    Of several processes the launcher ends all when one fails. One that only notices the other's end (3) is in no hurry.
    """
    try:
        main()
    except (UserError, DeployError) as error:
        print(f"error: {processes.label()}{error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)
    except Exception as error:
        if not processes.is_rank_lost(error):
            raise
        processes.wait_for_launcher()
        print(f"error: {processes.label()}another process ended too early; its log says why (log/workerlog.N)",
              file=sys.stderr, flush=True)
        sys.exit(3)


def load_cfg(args, mode="train"):
    """Command line -> ppdet's global config: loaded, checked, on its device, data set there, normalisation resolved.

    Args:
        args: what a :func:`config_parser` parser returned.
        mode: 'train', 'eval' or 'test'.
    Raises:
        UserError: anything in the config that cannot work, or several processes for a tool that is for one.
    """
    if mode == "test" and processes.count() > 1:
        raise UserError("this tool runs in one process: start it without paddle.distributed.launch")
    for path in args.imports:
        import_file(path)
    cfg = config_file.load(args.config, args.opt)
    options = config_file.parse_options(args.opt)
    checks.check_options(cfg, options, config_file.read(args.config))
    checks.check_keys(cfg)
    checks.check_needed(cfg, mode)
    for name in CONFIG_FLAGS:
        value = getattr(args, name, None)
        if value is not None and name not in options:
            cfg[name] = value
    cfg.setdefault("log_iter", 20)
    cfg["command"] = {"config": args.config, "opt": list(args.opt), "imports": list(args.imports)}
    set_device(cfg, args.device, asked="use_gpu" in options)
    sample.ensure(cfg)
    validate = bool(getattr(args, "eval", False) or cfg.get("validate", False))
    checks.check(cfg, mode, validate if mode == "train" else None)
    normalize.resolve(cfg)
    return cfg


def import_file(path):
    """Run a user's Python file, for what it registers. Modules beside it can be imported from it.

    Raises:
        UserError: the file is missing, is no Python file, or fails.
    """
    path = Path(path).expanduser()
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"--import: there is no Python file '{path}'")
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))
    name = f"ppdet_ext_import_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # whatever a user's file may raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(f"--import '{path}'{where}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def set_device(cfg, device="auto", asked=False):
    """Set Paddle's device and ppdet's ``use_gpu``, ``use_npu``, ... to match.

    'auto' takes the first of ``use_npu/xpu/mlu`` the config sets, else the GPU where one is there and ``use_gpu`` is
    not false, else the CPU. ``asked``: the user wrote ``-o use_gpu=...``, which then decides.
    Raises:
        UserError: a device was asked for by name and is not there.
    """
    if asked:
        device = "gpu" if cfg["use_gpu"] else "cpu"
    elif device == "auto":
        device = next((name for name in DEVICES[1:] if cfg.get(f"use_{name}")), None) or _gpu_or_cpu(cfg)
    try:
        if device == "gpu" and not _gpu_there():
            raise ValueError("no CUDA in this paddlepaddle, or no GPU here")
        paddle.set_device(device)
    except ValueError as error:
        raise UserError(f"device '{device}' cannot be used: {' '.join(str(error).split())}; try --device cpu") from None
    for name in DEVICES:
        cfg[f"use_{name}"] = name == device
    return device


def _gpu_there():
    return paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def _gpu_or_cpu(cfg):
    return "gpu" if cfg.get("use_gpu", True) and _gpu_there() else "cpu"


def current_device():
    """'cpu', 'gpu', ...: what Paddle runs on, without a card's number."""
    return paddle.get_device().split(":")[0]


def required_weights(cfg):
    """The config's ``weights``, else the best_model that training with this config has written.

    Raises:
        UserError: there is none.
    """
    if cfg.get("weights"):
        return cfg["weights"]
    path = Path(cfg.get("save_dir", "output")) / cfg["filename"] / "best_model.pdparams"
    if not path.is_file():
        raise UserError(f"there is no '{path}': train first (tools/train.py --eval), or name a checkpoint: "
                        f"-o weights={path.with_name('model_final.pdparams')}")
    return str(path)


def start_workers(cfg):
    """Connect the processes of a data-parallel run, and set the random seed (``seed:``, or 0 with ``--enable_ce``).

    Each process draws its own numbers: its number is added to the seed. Without a seed one process starts anywhere.
    """
    processes.start()
    seed = 0 if cfg.get("enable_ce") else cfg.get("seed")
    if seed is None and processes.count() > 1:
        seed = processes.all_gather(int.from_bytes(os.urandom(3), "big"))[0]
    if seed is not None:
        for start in (random.seed, np.random.seed, paddle.seed):
            start(seed + processes.rank())
