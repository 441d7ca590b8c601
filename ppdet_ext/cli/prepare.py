# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a command line to a checked config, its device, its weights and its processes."""
from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import random
import shlex
import sys
import time
import traceback
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, cast

import numpy as np
import paddle

from ..checkpoints import stamp
from ..config import config_file, keys, reader_keys
from ..config.flags import DEVICES
from ..data import augment, checks, normalization, sample
from ..distributed import agreement, processes
from ..errors import UserError, masked
from ..files import settle
from ..weights.readers import READERS
from . import commands, own_data

log = logging.getLogger("ppdet.engine")
# flags that ppdet's Trainer and readers look up in the config; a flag left out never overrides the config's own value
CONFIG_FLAGS = ("amp", "fleet", "use_vdl", "vdl_log_dir", "use_wandb", "use_tensorboard", "use_mlflow",
                "save_prediction_only", "profiler_options", "classwise", "output_eval", "bias", "enable_ce",
                "progress")
AGES = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
AUTO = "auto"  # of --resume
NEXT_COMMANDS = ("eval", "infer", "export", "deploy")  # those that a training report names


def load_cfg(args: argparse.Namespace, mode: str = "train") -> dict[str, Any]:
    """Command line -> ppdet's global config: loaded, checked, on its device, data set there, normalisation resolved.

    Args:
        args: what a :func:`config_parser` parser returned.
        mode: 'train', 'eval' or 'test'.
    Raises:
        UserError: anything in the config that cannot work, or several processes for a tool that is for one.
    """
    cfg = read_cfg(args, mode)
    processes.start()  # before the data is looked at: what is wrong with it on one machine ends the others, too
    sample.ensure(cfg)
    _augment(cfg, args, mode)
    validate = bool(getattr(args, "eval", False) or cfg.get("validate", False))
    reader_keys.check_pictures(cfg, mode, validate)
    checks.check(cfg, mode, validate if mode == "train" else None)
    if mode != "test":
        checks.keep_background(cfg)
    normalization.resolve(cfg)
    return cfg


def _augment(cfg: dict[str, Any], args: argparse.Namespace, mode: str) -> None:
    """``augment`` in the training reader's place, with a line on what runs when."""
    asked = augment.asked(cfg) if mode == "train" else None
    if asked is None:
        return
    line = augment.apply(cfg, config_file.own_values(args.config), config_file.parse_options(args.opt))
    if getattr(args, "quick", None) is not None:
        line = f"augment: {asked.preset}: --quick switches it off"
    log.info("%s", line)


def read_cfg(args: argparse.Namespace, mode: str = "train") -> dict[str, Any]:
    """The first half of :func:`load_cfg`: loaded, its keys checked, on its device. Data and readers are not looked at.

    Raises:
        UserError: keys or values that cannot work, or several processes for a tool that is for one.
    """
    if mode == "test" and processes.count() > 1:
        raise UserError("this tool runs in one process: start it without paddle.distributed.launch")
    for path in args.imports:
        import_file(path)
    cfg = config_file.load(args.config, args.opt)
    options = config_file.parse_options(args.opt)
    keys.check_options(cfg, options, config_file.read(args.config))
    keys.check_keys(cfg)
    given = own_data.apply(cfg, args, options, mode)
    keys.check_needed(cfg, mode)
    for name in CONFIG_FLAGS:
        value = getattr(args, name, None)
        if value is not None and name not in options:
            cfg[name] = value
    cfg.setdefault("log_iter", 20)
    cfg["command"] = {"config": args.config, "opt": list(args.opt), "imports": list(args.imports),
                      "programs": {name: commands.spelling(name) for name in NEXT_COMMANDS}, **given}
    set_device(cfg, args.device, asked="use_gpu" in options)
    return cfg


def import_file(path: str | os.PathLike[str]) -> None:
    """Run a user's Python file, for what it registers. Modules beside it can be imported from it.

    Raises:
        UserError: the file is missing, is no Python file, or fails.
    """
    path = Path(path).expanduser()
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"--import: there is no Python file '{path}'")
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))
    log.info("--import: running '%s'; no other file that you name is run", path)
    name = f"ppdet_ext_import_{path.stem}"
    spec = cast(ModuleSpec, importlib.util.spec_from_file_location(name, path))  # a .py file has one, and a loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        cast(Loader, spec.loader).exec_module(module)
    except UserError:
        raise
    except Exception as error:  # whatever a user's file may raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(f"--import '{path}'{where}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def set_device(cfg: dict[str, Any], device: str = "auto", asked: bool = False) -> str:
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


def current_device() -> str:
    """'cpu', 'gpu', ...: what Paddle runs on, without a card's number."""
    return paddle.get_device().split(":")[0]


def required_weights(cfg: dict[str, Any]) -> str:
    """The checkpoint to use; a line says which, of which epoch, how old, and why it.

    ``-o weights=`` or the config file's own ``weights``; else what training with this config has written, best_model
    or model_final; else the ``weights`` of a ``_BASE_``, which are another run's.

    Raises:
        UserError: there is none; they are torch's.
    """
    command = cfg.get("command", {})
    written = {"-o weights": config_file.parse_options(command.get("opt")),
               "weights in the config": config_file.own_values(command["config"]) if "config" in command else cfg}
    why = next((name for name, values in written.items() if values.get("weights")), None)
    if why:
        _require_paddle(str(cfg["weights"]), cfg)
        return _chosen(cfg["weights"], why)
    folder = Path(cfg.get("save_dir", "output")) / cfg["filename"]
    found = [folder / f"{name}{stamp.WEIGHTS}" for name in (stamp.BEST, stamp.LAST)]
    there = [path for path in found if path.is_file()]
    if there:
        _warn_of_other_run(*there)
        return _chosen(str(there[0]), "this config's run wrote it")
    if cfg.get("weights") and _is_there(cfg["weights"]):
        _require_paddle(str(cfg["weights"]), cfg)
        return _chosen(cfg["weights"], f"weights of a _BASE_; there is no '{found[0]}'")
    raise UserError(f"there is no '{found[0]}': train first ({commands.spelling('train')} --eval), or name a "
                    f"checkpoint: -o weights={found[1]}")


def newest_checkpoint(cfg: dict[str, Any]) -> str | None:
    """For ``-r auto``: the newest whole checkpoint of this config's folder; a line says which. None: there is none.

    Raises:
        UserError: there are checkpoints, but none of them is known to be whole.
    """
    folder = Path(cfg.get("save_dir", "output")) / cfg["filename"]
    settle(folder)
    found = stamp.newest(folder)
    if found:
        path, own = found
        log.info("-r auto: goes on from '%s', %s, written %s", path, own, _age_of(path))
        return str(path)
    others = sorted(path.name for path in folder.glob(f"*{stamp.WEIGHTS}") if stamp.OWN_NAME.fullmatch(path.stem))
    if others:
        raise UserError(f"-r auto: none of the checkpoints in '{folder}' is whole, or says of which run it is "
                        f"({', '.join(others[:3])}); name one (-r {folder / others[0]}), or move them away to begin "
                        "anew")
    log.info("-r auto: there is no checkpoint in '%s': training starts from the beginning", folder)
    return None


def require_same_checkpoint(checkpoint: str | None) -> None:
    """Of several processes all go on from one checkpoint, or all begin; all call.

    Raises:
        UserError: a machine has another one, or does not see the folder where it is.
    """
    own = "none"
    if checkpoint:
        path = next((path for path in map(Path, (checkpoint, f"{checkpoint}{stamp.WEIGHTS}")) if path.is_file()), None)
        own = f"'{path}', {stamp.read(path) or 'without a stamp'}" if path else f"no file '{checkpoint}'"
    agreement.require_same("the checkpoint to go on from", own, "let save_dir be a folder that all machines share, or "
                           "copy the whole checkpoint to each")


def _is_there(weights):
    path = os.path.expanduser(weights)
    return "://" in weights or any(os.path.exists(f"{path}{suffix}") for suffix in ("", stamp.WEIGHTS))


def _chosen(weights, why):
    """``weights``, after a line that says what they are."""
    path = Path(weights if os.path.isfile(weights) else f"{weights}{stamp.WEIGHTS}")
    if os.path.isfile(path):  # unlike Path.is_file, also for a name too long to exist
        log.info("weights: '%s', %s (%s)", path, _history_of(path), why)
    else:
        log.info("weights: %s (%s)", masked(weights), why)
    return weights


def _history_of(path):
    """Of which epoch a checkpoint is, and how long ago it was written."""
    own = stamp.read(path)
    return f"{f'{own}, ' if own else ''}written {_age_of(path)}"


def _age_of(path):
    age = max(time.time() - path.stat().st_mtime, 0)
    size, unit = next(((size, unit) for size, unit in AGES if age >= size), AGES[-1])
    return f"{int(age / size)} {unit} ago"


def _warn_of_other_run(first, *others):
    """Say where a checkpoint beside the first is of another run and newer."""
    own = stamp.read(first)
    for path in others:
        other, newer = stamp.read(path), path.stat().st_mtime > first.stat().st_mtime
        if newer and own and other and own.run not in (other.run, *other.facts.resumed):
            log.warning("'%s' is of %s, but '%s' beside it is newer and of another run: %s", first, own, path, other)


def _require_paddle(weights, cfg):
    """Raise UserError with the command that converts ``weights``, where they are torch's or a folder of the hub's."""
    folder = os.path.isdir(os.path.expanduser(weights))
    torch_files = tuple(suffix for suffix, (_, framework) in READERS.items() if framework == "torch")
    if folder or (weights.endswith(torch_files) and ("://" in weights or os.path.isfile(os.path.expanduser(weights)))):
        output = f"{Path(masked(weights)).stem}.pdparams"
        words = ["detector", "--model", cfg["command"]["config"], "--to", "paddledet", masked(weights), output]
        again = shlex.quote(f"weights={output}")
        raise UserError(f"weights={masked(weights)} is torch's, evaluation and export take .pdparams; convert it: "
                        f"{commands.spelling('convert')} {shlex.join(words)} and then -o {again}")


def start_workers(cfg: dict[str, Any]) -> None:
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
