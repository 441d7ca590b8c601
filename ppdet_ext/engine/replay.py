# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A step that ended in NaN: which layer it was, its batch and weights in a file, and the same step once more.

The file is data: safetensors, with JSON in its header. Nothing of a training step pays for it but the state of the
random numbers, which is noted before each forward pass.
"""
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn
from ppdet.core.workspace import create
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import kernels
from ..data import random_state
from ..errors import UserError, printable
from ..files import atomic_path
from ..weights import readers
from .precision import Precision, widened

NAME = "not_finite.safetensors"
MOST = 4 * 2**30  # bytes of a file
KEY, VERSION = "ppdet_ext_step", 1  # of the header
WEIGHTS, BATCH = "weights/", "batch/"
FACTS = {"version": int, "epoch": int, "step": int, "message": str, "images": list, "random": dict}


def _tensors(value: Any) -> Iterator[paddle.Tensor]:
    """All floating tensors in lists, tuples and dicts."""
    if isinstance(value, paddle.Tensor):
        if paddle.is_floating_point(value):
            yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _finite(value):
    return all(bool(paddle.isfinite(tensor).all()) for tensor in _tensors(value))


def _largest(values):
    sizes = [float(tensor.abs().max().astype("float32")) for tensor in _tensors(values) if tensor.size]
    return max(sizes, default=0.0)


def _name_and_why(name: str, layer: nn.Layer, inputs: Any) -> str:
    own = dict(layer.named_parameters(include_sublayers=False))
    broken = next((key for key, value in own.items() if not _finite(value)), "")
    if broken:
        why = f"its {broken} is not finite"
    elif not _finite(inputs):
        why = "its input is not finite, which no layer has handed out"
    else:
        why = f"its input is finite, up to {_largest(inputs):.3g}"
    return f"{name or 'the model itself'} ({type(layer).__name__}; {why})"


def first_layer(model: nn.Layer, step: Callable[[], Any],
                words: Callable[[str, nn.Layer, Any], str] = _name_and_why) -> str:
    """The layer that was the first to hand out a number that is not finite, in words; '' where none did.

    Args:
        step: runs ``model`` forward; whatever it raises is left aside.
        words: of (path, '' for the model itself; layer; inputs), said at once: later layers may work in place.
    """
    found: list[str] = []

    def look(name, layer, inputs, outputs):
        if not found and not _finite(outputs):
            found.append(words(name, layer, inputs))

    handles = [layer.register_forward_post_hook(
        lambda layer, inputs, outputs, name=name: look(name, layer, inputs, outputs))
        for name, layer in model.named_sublayers(include_self=True)]
    try:
        with paddle.no_grad():
            step()
    except Exception:  # noqa: S110  NaN can end in any error; what came before it is what is wanted
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""


class Keeper:
    """Notes where random numbers are before a forward pass; names the layer and keeps the step when it has failed.

    Args:
        model, precision: what is trained, and how.
        path: of the file.
        told: called with what has failed, in one line.
    """

    def __init__(self, model: nn.Layer, precision: Precision, path: str | Path, told: Callable[[str], None]) -> None:
        self.model, self.precision, self.path, self.told = model, precision, Path(path), told
        self._random: dict[str, Any] = {}

    def before(self) -> None:
        """A forward pass begins."""
        self._random = {device: paddle.get_rng_state(device) for device in random_state.devices()}

    def explain(self, data: Mapping[str, Any], facts: dict[str, Any]) -> list[str]:
        """Parts of the error's line, for a pass on ``data`` that has failed: the layer, and where the step is kept.

        Args:
            facts: epoch, step, message and images.
        """
        for device, state in self._random.items():
            paddle.set_rng_state(state, device)
        facts = {"version": VERSION, **facts, "random": random_state.of_paddle()}
        layer = first_layer(self.model, lambda: _forward(self.model, data, self.precision))
        lines = [f"first layer whose output is not finite: {layer}"] if layer else []
        lines.append(save(self.path, self.model, data, facts))
        self.told("; ".join([facts["message"], *lines]))
        return lines


def _forward(model, data, precision):
    with precision.auto_cast():
        return model(dict(data))


def save(path: Path, model: nn.Layer, data: Mapping[str, Any], facts: dict[str, Any]) -> str:
    """Write the file; the part of a line that says how to use it, or why there is none."""
    tensors = {f"{WEIGHTS}{name}": value.numpy() for name, value in widened(model.state_dict()).items()}
    for key, value in data.items():
        rows = {f"{key}/{i}": item for i, item in enumerate(value)} if isinstance(value, list) else {key: value}
        tensors.update({f"{BATCH}{name}": np.asarray(item) for name, item in rows.items()
                        if isinstance(item, (paddle.Tensor, np.ndarray)) and np.asarray(item).dtype != object})
    size = sum(value.nbytes for value in tensors.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    if size > MOST or shutil.disk_usage(path.parent).free < 2 * size:
        return f"the step is not kept, its weights and batch are {size / 2**30:.1f} GiB"
    try:
        with atomic_path(path) as temporary:
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(temporary),
                      {KEY: json.dumps(facts)})
    except UserError as error:
        return f"the step is not kept ({error})"
    return f"the step is kept: train with --replay '{path}' runs it again"


# ---------------------------------------------------------------- once more
def load(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """(weights, batch, facts) of a file that :func:`save` has written.

    Raises:
        UserError: it is none, or damaged.
    """
    hint = f"it is no step that a training has kept (its name there is {NAME})"
    if not Path(path).is_file():
        raise UserError(f"--replay: there is no file '{path}'")
    try:
        with safe_open(str(path), framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[KEY])
        tensors = readers.read_safetensors(path)
    except (SafetensorError, KeyError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"--replay '{path}': {hint}: {type(error).__name__}") from None
    if not isinstance(facts, dict) or facts.get("version") != VERSION or \
            not all(isinstance(facts.get(name), kind) for name, kind in FACTS.items()):
        raise UserError(f"--replay '{path}': {hint}, or of another version")
    weights = {name[len(WEIGHTS):]: value for name, value in tensors.items() if name.startswith(WEIGHTS)}
    return weights, _batch({name[len(BATCH):]: value for name, value in tensors.items() if name.startswith(BATCH)}), \
        facts


def _batch(tensors):
    """The batch as the reader gave it: 'gt_bbox/0', 'gt_bbox/1', ... are a list."""
    batch: dict[str, Any] = {}
    for name in sorted(tensors, key=lambda name: (len(name), name)):
        key, slash, _ = name.partition("/")
        if slash:
            batch.setdefault(key, []).append(paddle.to_tensor(tensors[name]))
        else:
            batch[key] = paddle.to_tensor(tensors[name])
    return batch


@kernels.enabled()
def replay(cfg: dict[str, Any], path: str | Path) -> str:
    """Run the step of a file once more, forward and backward; what it came to, in lines.

    Args:
        cfg: the config of the run that wrote it.

    Raises:
        UserError: it is no such file, or of another network.
    """
    weights, batch, facts = load(path)
    precision = Precision.of(cfg)
    model = create(cfg["architecture"])
    _fill(model, weights, path)
    if precision.half_weights:
        model = paddle.amp.decorate(models=model, level="O2", dtype=precision.dtype)  # type: ignore[call-overload, arg-type]
    model.train()
    batch["epoch_id"] = facts["epoch"]
    lines = [f"epoch {facts['epoch']}, step {facts['step']}: {printable(facts['message'], 400)}",
             *[f"  image {printable(image)}" for image in facts["images"]]]
    try:
        same = random_state.restore_paddle(facts["random"])
    except (KeyError, TypeError, ValueError, IndexError):
        same = False
    if not same:
        lines.append("random numbers are others than the run's, which was on another device")
    layer = first_layer(model, lambda: _forward(model, batch, precision))
    if layer:
        return "\n".join([*lines, f"first layer whose output is not finite: {layer}"])
    return "\n".join([*lines, _backward(model, batch, precision, facts, same)])


def _fill(model, weights, path):
    """Exactly; numbers that are not finite are what it is about."""
    own = model.state_dict()
    other = [name for name in sorted({*own, *weights})
             if name not in own or name not in weights or tuple(own[name].shape) != weights[name].shape]
    if other:
        raise UserError(f"--replay '{path}' is of another network: {printable(other[0])} ({len(other)} of {len(own)} "
                        "tensors); give the config that the run had, with its -o")
    model.set_state_dict({name: paddle.to_tensor(value) for name, value in weights.items()})


def _backward(model, batch, precision, facts, same):
    if same:
        random_state.restore_paddle(facts["random"])
    try:
        losses = _forward(model, batch, precision)
        losses["loss"].backward()
    except Exception as error:  # a file of another kind of batch, perhaps: whatever the network says of it
        return f"the step fails: {type(error).__name__}: {printable(' '.join(str(error).split()), 400)}"
    broken = [name for name, parameter in model.named_parameters()
              if parameter.grad is not None and not _finite(parameter.grad)]
    if broken:  # a backward pass begins at the end
        return f"the losses are finite, but the gradient of {broken[-1]} ({len(broken)} parameters) is not"
    return f"all is finite here: loss {float(losses['loss']):.6g}"
