# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights into a detector, by exact names: pretrained ones, a checkpoint's, and a broken-off run's whole state."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from ..checkpoints import checkpoint_files, finetune, name_maps, name_rules
from ..errors import UserError, masked
from ..weights import layout_rules, load_report, readers, source

if TYPE_CHECKING:
    from ppdet.optimizer import ModelEMA

    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
#: fewer parameters than this share are another network's, whatever a config lets be missing
LEAST_COVERAGE = 0.1


def load_pretrained(model: nn.Layer, spec: str | Path, allow: Sequence[str] = (), class_map: Any = None,
                    own_names: Sequence[str] | None = None) -> str:
    """Start a detector from ``spec``: a detector's weights of any project, or a backbone's where it holds only those.

    Args:
        model: the detector; ``model.backbone`` takes a backbone's file.
        spec: a local file (.pdparams may be left out, as in PaddleDetection), a folder of transformers' or a URL.
        allow: names or patterns (``transformer.*``) of parameters that may stay as they are.
        class_map, own_names: see ``checkpoints.finetune.fit_classes``.
    Returns:
        One line that says what was loaded.
    Raises:
        UserError: not every parameter outside ``allow`` is in the file with the right shape, or hardly any; the way
            out is named.
    """
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    maps = name_maps.reading_maps(shapes)
    try:
        checkpoint = checkpoint_files.read(spec, {name for found in maps.values() for name in found.shapes})
    except UserError as error:
        raise UserError(f"pretrain_weights: {error}; to go on without it: -o pretrain_weights=''") from None
    found, _ = name_maps.identify(checkpoint.state, maps.values())
    if found is None:
        return _load_backbone(model, checkpoint, spec, allow)
    tensors = _whole(model, found, checkpoint, class_map, own_names)
    _load(model, tensors, spec, allow)
    return f"the detector's weights from {masked(spec)} ({name_rules.TITLES[found.project]}'s format)"


def _whole(model: nn.Layer, found: Any, checkpoint: checkpoint_files.Checkpoint, class_map: Any,
           own_names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """The checkpoint's tensors in Paddle's names and layout, for the model's classes; what it has beside them stays."""
    theirs = found.tidy(checkpoint.state, checkpoint.source)
    tensors = found.translate(theirs)
    log.info(f"{checkpoint.source}: {len(tensors)} tensors in {name_rules.TITLES[found.project]}'s names")
    if name_maps.SCORE_BIAS in tensors and hasattr(getattr(model, "transformer", None), "reset_classes"):
        start = finetune.fit_classes(tensors, model, class_map, own_names, checkpoint.meta.get("classes"))
        tensors = start.state
        for line in start.lines:
            log.info(line)
    elif class_map is not None:
        raise UserError("class_map is for RT-DETR checkpoints with their score heads; leave it out of the config")
    return {**tensors, **{name: theirs[name] for name in found.unknown(theirs)}}


def _load_backbone(model: nn.Layer, checkpoint: checkpoint_files.Checkpoint, spec: str | Path,
                   allow: Sequence[str]) -> str:
    """Load a file that holds a backbone alone, as training frameworks publish them with their classifier."""
    layer = getattr(model, "backbone", None)
    if layer is None or not any(name in checkpoint.state for name in layer.state_dict()):
        given, wanted = list(checkpoint.state)[:3], list(model.state_dict())[:3]
        raise UserError(f"pretrain_weights '{checkpoint.source}' has no parameter of this detector or its backbone: it "
                        f"holds {', '.join(given)} ...; the detector has {', '.join(wanted)} ...")
    tensors = checkpoint.state if checkpoint.framework == "paddle" else \
        layout_rules.to_paddle(checkpoint.state, layer)
    _load(layer, {name: value for name, value in tensors.items() if name in layer.state_dict()}, spec, allow)
    return f"the backbone's weights from {masked(spec)}"


def _load(layer: nn.Layer, tensors: dict[str, np.ndarray], spec: str | Path, allow: Sequence[str]) -> None:
    own = layer.state_dict()
    fits = sum(name in tensors and tuple(tensors[name].shape) == tuple(own[name].shape) for name in own)
    if allow and fits < LEAST_COVERAGE * len(own):
        raise UserError(f"pretrain_weights: only {fits} of the {len(own)} parameters of {type(layer).__name__} are in "
                        f"'{spec}' with the right shape, whatever allow_missing lets pass: it is another network's")
    try:
        found = load_report.load_into(layer, tensors, allow=allow, source=masked(spec))
    except UserError as error:
        raise UserError(f"pretrain_weights: {error}; in a config, parameters that shall keep their initial values are "
                        "listed as allow_missing: [name, 'group.*']") from None
    log.info(str(found))


def load_exact(model: nn.Layer, spec: str | Path) -> None:
    """Fill a whole detector from a checkpoint; nothing may be missing, left over or of another shape.

    Raises:
        UserError: otherwise, with the first names and shapes; or the file is not there, cannot be downloaded, truncated
            or of an unknown kind.
    """
    checkpoint = checkpoint_files.read(spec)
    log.info(str(load_report.load_into(model, checkpoint.state, source=masked(spec))))


def resume(trainer: Trainer, spec: str | Path) -> int:
    """Put a training run back to where ``spec`` (a checkpoint with its .pdopt) was written.

    Model, optimizer, learning rate, EMA, the order of the images and the curves go on as if it had not stopped.
    Returns:
        The epoch to start with.
    Raises:
        UserError: a file of the checkpoint is missing or damaged, or it belongs to another model or EMA setting.
    """
    prefix = str(spec)[:-len(".pdparams")] if str(spec).endswith(".pdparams") else str(spec)
    suffixes = [".pdparams", ".pdopt"] + ([".pdema"] if trainer.use_ema else [])
    state = {suffix: _read_part(prefix, suffix) for suffix in suffixes}
    weights = state[".pdema"] if trainer.use_ema else state[".pdparams"]
    load_report.load_into(trainer.model, source.unwrap(weights, spec), source=f"--resume {spec}")
    epoch = _resume_optimizer(trainer.optimizer, state[".pdopt"], spec)
    if trainer.use_ema:
        resume_average(trainer.ema, state[".pdparams"], trainer.lr.last_epoch)
    return epoch


def _read_part(prefix: str, suffix: str) -> dict[str, Any]:
    path = Path(prefix + suffix)
    if not path.is_file():
        raise UserError(f"cannot resume: '{path}' does not exist; a run is resumed from a checkpoint with its .pdopt "
                        "(and .pdema with EMA); to start from weights alone: -o pretrain_weights=FILE")
    try:
        return readers.read_paddle(path)
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"cannot resume: '{path}' ({path.stat().st_size} bytes) is damaged ({error})") from None


def _resume_optimizer(optimizer: paddle.optimizer.Optimizer, state: dict[str, Any], spec: str | Path) -> int:
    epoch = state.pop("last_epoch", 0)
    names = {parameter.name for parameter in optimizer._parameter_list}
    strange = [key for key in state if key not in ("LR_Scheduler", "master_weights")
               and not any(key.startswith(f"{name}_") for name in names)]
    if strange:
        raise UserError(f"--resume '{spec}': its optimizer state is of another model ({strange[0]} and "
                        f"{len(strange) - 1} more fit no parameter)")
    if "master_weights" in state:
        state["master_weights"] = {key: _named(*pair) for key, pair in state["master_weights"].items()}
    optimizer.set_state_dict(state)
    return epoch


def _named(name: str, array: np.ndarray) -> paddle.Tensor:
    """A tensor of this name, under which the optimizer files what it keeps for it."""
    tensor = paddle.to_tensor(array)
    tensor.name = name
    return tensor


def resume_average(ema: ModelEMA, state: dict[str, Any], step: int) -> None:
    """Go on with an average from ``state``, what ``apply()`` gave after ``step`` updates.

    ModelEMA.apply() divides by 1 - decay**step except with 'exponential'; what it goes on with is undivided.
    """
    decay = {"threshold": min(ema.decay, step / (9 + step)), "exponential": None}.get(ema.ema_decay_type, ema.decay)
    factor = 1.0 if decay is None or step == 0 else 1 - decay**step
    kept = {name: paddle.to_tensor(value) for name, value in state.items() if name in ema.state_dict}
    ema.resume({name: value if name in ema.ema_black_list else value * factor for name, value in kept.items()}, step)
