# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights into a detector, by exact names: pretrained ones, a checkpoint's, and a broken-off run's whole state."""
from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from ..checkpoints import checkpoint_files, facts, finetune, name_maps, name_rules, stamp
from ..errors import UserError, masked
from ..files import settle
from ..weights import layout_rules, load_report, readers, source, unwrap
from . import resume_state, run_facts

if TYPE_CHECKING:
    from ppdet.optimizer import ModelEMA

    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
#: fewer parameters than this share are another network's, whatever a config lets be missing
LEAST_COVERAGE = 0.1


def load_pretrained(model: nn.Layer, spec: str | Path, allow: Sequence[str] = (), class_map: Any = None,
                    own_names: Sequence[str] | None = None, check: Callable[[facts.Facts], None] | None = None) -> str:
    """Start a detector from ``spec``: a detector's weights of any project, or a backbone's where it holds only those.

    Args:
        model: the detector; ``model.backbone`` takes a backbone's file.
        spec: a local file (.pdparams may be left out, as in PaddleDetection), a folder of transformers' or a URL.
        allow: names or patterns (``transformer.*``) of parameters that may stay as they are.
        class_map, own_names: see ``checkpoints.finetune.fit_classes``.
        check: told what a detector's weights belong to, before they are used.
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
    if check:
        check(facts.Facts.of(checkpoint.meta))
    tensors = _whole(model, found, checkpoint, class_map, own_names)
    _load(model, tensors, spec, allow)
    return f"the detector's weights from {masked(spec)} ({name_rules.TITLES[found.project]}'s format)"


def load_backbone(model: nn.Layer, spec: str | Path, allow: Sequence[str] = ()) -> str:
    """Start a detector's backbone from a file that holds one alone; arguments and mistakes as ``load_pretrained``'s."""
    return _load_backbone(model, checkpoint_files.read(spec, set(model.backbone.state_dict())), spec, allow)


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


def load_exact(model: nn.Layer, spec: str | Path) -> stamp.Stamp:
    """Fill a whole detector from a checkpoint; nothing may be missing, left over or of another shape.

    Returns:
        Its stamp, with what is known of it; an empty run where it has none.

    Raises:
        UserError: otherwise, with the first names and shapes; or the file is not there, cannot be downloaded, truncated
            or of an unknown kind; or the files beside it are of another epoch or run.
    """
    location = checkpoint_files.locate(spec)
    own = None
    if location.path.suffix == stamp.WEIGHTS:
        settle(location.path.parent)
        own = stamp.check(location.path)
    checkpoint = source.read(location)
    try:
        log.info(str(load_report.load_into(model, checkpoint.state, source=masked(spec))))
    except UserError as error:
        config = location.path.parent / f"{location.path.parent.name}.yml"  # see training_report.config_path
        if not config.is_file():
            raise
        raise UserError(f"{error}; the config of the run that wrote it is -c {config}") from None
    if own and own.facts:
        return own
    return replace(own or stamp.Stamp("", 0, 0, ()), facts=facts.Facts.of(location.meta))


def resume(trainer: Trainer, spec: str | Path) -> int:
    """Put a training run back to where ``spec`` (a checkpoint with its .pdopt) was written.

    Model, optimizer, learning rate, EMA, random numbers, the order of the images and the curves go on as if it had not
    stopped.
    Returns:
        The epoch to start with.
    Raises:
        UserError: a file of the checkpoint is missing or damaged, lacks something, is of another epoch, or it belongs
            to another model or EMA setting.
    """
    prefix = str(spec)[:-len(stamp.WEIGHTS)] if str(spec).endswith(stamp.WEIGHTS) else str(spec)
    paths = {suffix: Path(prefix + suffix) for suffix in stamp.SUFFIXES[:3 if trainer.use_ema else 2]}
    settle(Path(prefix).parent)
    for path in paths.values():
        if not path.is_file():
            raise UserError(f"cannot resume: '{path}' does not exist; a run is resumed from a checkpoint with its "
                            ".pdopt (and .pdema with EMA); to start from weights alone: -o pretrain_weights=FILE")
    mark = stamp.check(paths[stamp.WEIGHTS], paths)
    changed = _check_facts(trainer, mark, paths[stamp.WEIGHTS])
    average = _load_part(trainer.model, paths[stamp.WEIGHTS])
    if trainer.use_ema:  # .pdparams is looked at as strictly; the model's own weights are in .pdema
        _load_part(trainer.model, paths[stamp.MODEL])
    state = _read_part(paths[stamp.OPTIMIZER])
    more = state.pop(resume_state.KEY, None)
    _require_whole(state, paths[stamp.OPTIMIZER], trainer.optimizer, mark, more)
    epoch = _resume_optimizer(trainer.optimizer, state)
    if trainer.use_ema:
        resume_average(trainer.ema, average, trainer.lr.last_epoch)
        resume_state.restore_average(trainer.ema, more)
    resume_state.restore(trainer, more, epoch, paths[stamp.OPTIMIZER])
    _move_schedule(trainer, epoch, bool(changed & set(run_facts.SCHEDULE)))
    return epoch


def _check_facts(trainer, mark, weights):
    """Whether data and config are still the run's; the names of settings that are not."""
    if mark is None:
        return set()
    trainer.resumed, trainer.swaps = (*mark.facts.resumed, mark.run), mark.facts.swaps
    own = trainer.facts
    run_facts.check(trainer.cfg, mark.facts, weights, "TrainReader", own.classes, "TrainDataset")
    return run_facts.say_changes(mark.facts, own)


def _move_schedule(trainer, epoch, changed):
    """Schedules count steps: with another batch size they go on where the same epoch ends, not the same step."""
    lr, each = trainer.lr, trainer.accumulation.steps_per_epoch
    wanted = epoch * each + trainer.start_batch // trainer.accumulation.every
    if lr.last_epoch != wanted:
        begun = " and a part of one" if trainer.start_batch else ""
        log.warning(f"the checkpoint's {epoch} epochs{begun} had {lr.last_epoch} steps, of this run {each} make one "
                    f"(another batch size, accumulate_steps, number of processes or data): the learning rate's "
                    f"schedule goes on at step {wanted}, the {'same place' if begun else 'end of the same epoch'}")
    if changed or lr.last_epoch != wanted:
        lr.step(wanted)


def _load_part(model: nn.Layer, path: Path) -> dict[str, np.ndarray]:
    state = unwrap.unwrap(_read_part(path), path)
    load_report.load_into(model, state, source=f"--resume {path}")
    return state


def _read_part(path: Path) -> dict[str, Any]:
    try:
        return readers.read_paddle(path)
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"cannot resume: '{path}' ({path.stat().st_size} bytes) is damaged ({error})") from None


def _resume_optimizer(optimizer: paddle.optimizer.Optimizer, state: dict[str, Any]) -> int:
    epoch = state.pop("last_epoch")
    if "master_weights" in state:
        state["master_weights"] = {key: _named(*pair) for key, pair in state["master_weights"].items()}
    optimizer.set_state_dict(state)
    return epoch


def _require_whole(state: dict[str, Any], path: Path, optimizer: paddle.optimizer.Optimizer, mark: stamp.Stamp | None,
                   more: dict[str, Any] | None) -> None:
    """Raise UserError where an optimizer's state is of another model or epoch, or lacks something.

    Args:
        mark, more: the file's stamp and its ``resume_state``; None in an older version's.
    """
    numbers = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    owners = _owners(numbers, path, {parameter.name: tuple(parameter.shape) for parameter in optimizer._parameter_list})
    lacks = _lacks(state, owners, mark, more)
    if lacks:
        raise UserError(f"cannot resume: '{path}' is not whole, it lacks {lacks}; take another checkpoint")
    if mark is not None and mark.epochs != state["last_epoch"]:
        raise UserError(f"cannot resume: '{path}' is of epoch {state['last_epoch'] - 1} inside, but its stamp says "
                        f"{mark}; take another checkpoint")


def _owners(numbers: dict[str, np.ndarray], path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """{'linear_0.w_0_moment1_0': 'linear_0.w_0'}: whose each number is; UserError where it fits no parameter."""
    owners = {key: max((name for name in shapes if key.startswith(f"{name}_")), key=len, default="") for key in numbers}
    strange = [key for key, owner in owners.items()
               if not owner or (numbers[key].size != 1 and numbers[key].shape != shapes[owner])]
    if strange:
        raise UserError(f"--resume '{path}': its optimizer state is of another model ({strange[0]} and "
                        f"{len(strange) - 1} more fit no parameter)")
    return owners


def _lacks(state: dict[str, Any], owners: dict[str, str], mark: stamp.Stamp | None,
           more: dict[str, Any] | None) -> str:
    """What is missing, in words; '' for nothing."""
    if not isinstance(state.get("last_epoch"), int) or state["last_epoch"] < 0:
        return "its epoch"
    if not isinstance(state.get("LR_Scheduler"), dict):
        return "its learning rate"
    # a parameter has all kinds of numbers that the others have, of its float32 master or its own
    kinds = {key: re.sub(r"^_fp32_master_\d+", "", key[len(owner):]) for key, owner in owners.items()}
    there = {(owner, kinds[key]) for key, owner in owners.items()}
    for owner in dict.fromkeys(owners.values()):
        for kind in dict.fromkeys(kinds.values()):
            if (owner, kind) not in there:
                return f"{owner}{kind}"
    if more is None:
        return "" if mark is None else f"'{resume_state.KEY}'"
    found = {"entries": len(state), "masters": len(state.get("master_weights", {}))}
    short = next((name for name, count in found.items() if more.get(name) != count), None)
    return f"some of its {more.get(short)} {short} (it has {found[short]})" if short else ""


def _named(name: str, array: np.ndarray) -> paddle.Tensor:
    """A tensor of this name, under which the optimizer files what it keeps for it."""
    tensor = paddle.to_tensor(array)
    tensor.name = name
    return tensor


def resume_average(ema: ModelEMA, state: dict[str, Any], step: int) -> None:
    """Go on with an average from ``state``, what ``apply()`` gave after ``step`` updates.

    ModelEMA.apply() divides by 1 - decay**step except with 'exponential'; what it goes on with is undivided. Names of
    its black list stay the model's own tensors.
    """
    decay = {"threshold": min(ema.decay, step / (9 + step)), "exponential": None}.get(ema.ema_decay_type, ema.decay)
    factor = 1.0 if decay is None or step == 0 else 1 - decay**step
    kept = {name: paddle.to_tensor(value) for name, value in state.items()
            if name in ema.state_dict and name not in ema.ema_black_list}
    ema.resume({name: value * factor if factor != 1.0 else value for name, value in kept.items()}, step)
