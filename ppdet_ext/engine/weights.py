# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights into a detector, by exact names: pretrained ones, a checkpoint's, and a broken-off run's whole state."""
import logging
from pathlib import Path

import paddle

from ..bridge import readers, report, rules, source
from ..errors import UserError

log = logging.getLogger("ppdet.engine")
PPDET_HOST = "https://paddledet.bj.bcebos.com/"  # what PaddleDetection's ppdet:// stands for


def read(spec):
    """A local file (.pdparams may be left out, as in PaddleDetection) or URL -> bridge.source.Checkpoint.

    Raises:
        UserError: not there, cannot be downloaded, truncated, or of an unknown kind.
    """
    spec = str(spec)
    if spec.startswith("ppdet://"):
        spec = PPDET_HOST + spec[len("ppdet://"):]
    if "://" not in spec and not Path(spec).is_file() and Path(f"{spec}.pdparams").is_file():
        spec = f"{spec}.pdparams"
    return source.read(spec)


def load_pretrained(model, spec, allow=()):
    """Start a detector from ``spec``: its own weights, or its backbone's where the file holds only those.

    Args:
        model: the detector; ``model.backbone`` takes a backbone's file.
        spec: see :func:`read`.
        allow: names or patterns (``transformer.*``) of parameters that may stay as they are.
    Returns:
        One line that says what was loaded.
    Raises:
        UserError: not every parameter outside ``allow`` is in the file with the right shape; the way out is named.
    """
    try:
        checkpoint = read(spec)
    except UserError as error:
        raise UserError(f"pretrain_weights: {error}; to go on without it: -o pretrain_weights=''") from None
    layer, what = _owner(model, checkpoint)
    tensors = checkpoint.tensors if checkpoint.framework == "paddle" else rules.to_paddle(checkpoint.tensors, layer)
    if layer is not model:  # a backbone's file also carries its classifier
        tensors = {name: value for name, value in tensors.items() if name in layer.state_dict()}
    try:
        found = report.load_into(layer, tensors, allow=allow, source=str(spec))
    except UserError as error:
        raise UserError(f"pretrain_weights: {error}; in a config, parameters that shall keep their initial values are "
                        "listed as allow_missing: [name, 'group.*']") from None
    log.info(str(found))
    return f"the {what}'s weights from {spec}"


def _owner(model, checkpoint):
    """(layer, its name) the tensors are for: the detector, else its backbone."""
    for layer, what in ((model, "detector"), (getattr(model, "backbone", None), "backbone")):
        if layer is not None and any(name in checkpoint.tensors for name in layer.state_dict()):
            return layer, what
    given, wanted = list(checkpoint.tensors)[:3], list(model.state_dict())[:3]
    raise UserError(f"pretrain_weights '{checkpoint.source}' has no parameter of this detector or its backbone: it "
                    f"holds {', '.join(given)} ...; the detector has {', '.join(wanted)} ...")


def load_exact(model, spec):
    """Fill a whole detector from a checkpoint; nothing may be missing, left over or of another shape.

    Raises:
        UserError: otherwise, with the first names and shapes.
    """
    checkpoint = read(spec)
    log.info(str(report.load_into(model, checkpoint.tensors, source=str(spec))))


def resume(trainer, spec):
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
    report.load_into(trainer.model, source.unwrap(weights, spec), source=f"--resume {spec}")
    epoch = _resume_optimizer(trainer.optimizer, state[".pdopt"], spec)
    if trainer.use_ema:
        _resume_ema(trainer.ema, state[".pdparams"], trainer.lr.last_epoch)
    return epoch


def _read_part(prefix, suffix):
    path = Path(prefix + suffix)
    if not path.is_file():
        raise UserError(f"cannot resume: '{path}' does not exist; a run is resumed from a checkpoint with its .pdopt "
                        "(and .pdema with EMA); to start from weights alone: -o pretrain_weights=FILE")
    try:
        return readers.read_paddle(path)
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"cannot resume: '{path}' ({path.stat().st_size} bytes) is damaged ({error})") from None


def _resume_optimizer(optimizer, state, spec):
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


def _named(name, array):
    """A tensor of this name, under which the optimizer files what it keeps for it."""
    tensor = paddle.to_tensor(array)
    tensor.name = name
    return tensor


def _resume_ema(ema, state, step):
    """ModelEMA.apply() divides by 1 - decay**step except with 'exponential'; what it goes on with is undivided."""
    decay = {"threshold": min(ema.decay, step / (9 + step)), "exponential": None}.get(ema.ema_decay_type, ema.decay)
    factor = 1.0 if decay is None or step == 0 else 1 - decay**step
    kept = {name: paddle.to_tensor(value) for name, value in state.items() if name in ema.state_dict}
    ema.resume({name: value if name in ema.ema_black_list else value * factor for name, value in kept.items()}, step)
