# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Alignment: a new backbone, with the neck's input projections, learns to give the features that the old one gave.

Pictures need no labels. First the projections are solved for (least squares), then backbone and projections take steps,
and last BatchNorm's statistics are measured anew. Neck and decoder behind them are not touched.
"""
from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from .. import kernels
from ..checkpoints.name_maps import BACKBONE
from ..distributed import processes
from ..distributed.gradients import average_gradients
from ..engine.progress import counted
from ..engine.stopping import StopRequest
from ..errors import Interrupted, UserError
from ..files import atomic_path
from ..nn.norms import batch_norms
from ..weights.readers import read_paddle
from .projections import Fit, at_size_of
from .starts import PRETRAINED
from .swap_plan import PROJECTIONS
from .teacher import projected

log = logging.getLogger("ppdet.engine")
#: a batch: pictures [B, 3, H, W] as the new network wants them, and the teacher's features of them
Batch = tuple[paddle.Tensor, list[paddle.Tensor]]
STATE = "align_state.pdparams"  # of an interrupted alignment, in the run's folder
LEAST_SHARE = 0.01  # a channel's variance counts as at least this share of its level's
HELD_BYTES = 2 ** 30
SAID_EVERY = 50  # steps


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How it went, per level: the share of the teacher's variance that is not explained, and the mean cosine."""

    loss_before: tuple[float, ...]
    loss_after: tuple[float, ...]
    cosine_before: tuple[float, ...]
    cosine_after: tuple[float, ...]
    steps: int
    seconds: float

    def __str__(self) -> str:
        return (f"aligned in {self.steps} steps, {self.seconds:.0f} s: loss per level {_row(self.loss_before)} -> "
                f"{_row(self.loss_after)}, cosine {_row(self.cosine_before)} -> {_row(self.cosine_after)}")


def _row(values):
    return "/".join(f"{value:.2f}" for value in values)


class Held:
    """Some batches, kept in half precision: each iteration gives the same ones."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.kept: list[tuple[np.ndarray, list[np.ndarray]]] = []
        room = HELD_BYTES
        for image, theirs in batches:
            self.kept.append((image.numpy().astype("float16"), [one.numpy().astype("float16") for one in theirs]))
            room -= image.size * 2 + sum(one.size for one in theirs) * 2
            if room < 0:
                break

    def __iter__(self) -> Iterator[Batch]:
        for image, theirs in self.kept:
            yield paddle.to_tensor(image.astype("float32")), [paddle.to_tensor(one.astype("float32")) for one in theirs]


class Scale:
    """The mean and variance of each channel of the teacher's features, by which differences are measured."""

    def __init__(self, features: Iterable[Sequence[paddle.Tensor]]) -> None:
        moments: list[list[Any]] = []
        for levels in features:
            for number, level in enumerate(levels):
                if number == len(moments):
                    moments.append([0, 0.0, 0.0])
                flat = level.astype("float32").transpose([1, 0, 2, 3]).flatten(1).numpy().astype("float64")
                moments[number][0] += flat.shape[1]
                moments[number][1] += flat.sum(1)
                moments[number][2] += (flat ** 2).sum(1)
        means = [total / count for count, total, _ in moments]
        variances = [squares / count - mean ** 2 for (count, _, squares), mean in zip(moments, means)]
        variances = [np.maximum(variance, LEAST_SHARE * max(variance.mean(), 1e-12)) for variance in variances]
        self.mean = [_per_channel(mean) for mean in means]
        self.deviation = [_per_channel(np.sqrt(variance)) for variance in variances]

    def losses(self, own: Sequence[paddle.Tensor], theirs: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        """Of each level the mean squared difference, channels divided by their deviation: 1 is the mean picture's."""
        return [(((mine - other) / deviation) ** 2).mean()
                for mine, other, deviation in zip(own, at_size_of(theirs, own), self.deviation)]

    def cosines(self, own: Sequence[paddle.Tensor], theirs: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        """Of each level the mean cosine of the vectors at a place, with channels of mean 0 and deviation 1."""
        return [F.cosine_similarity((mine - mean) / deviation, (other - mean) / deviation, axis=1).mean()
                for mine, other, mean, deviation in zip(own, at_size_of(theirs, own), self.mean, self.deviation)]


def _per_channel(values):
    return paddle.to_tensor(values.astype("float32")).reshape([1, -1, 1, 1])


def check_fit(net: nn.Layer, teacher: nn.Layer) -> None:
    """Raise UserError where two detectors have other numbers of levels, or another hidden size."""
    own, theirs = (len(one.neck.input_proj) for one in (net, teacher))
    if own != theirs:
        raise UserError(f"swap_backbone: the new backbone has {own} levels, the old one {theirs}: choose out_indices "
                        "so that they are as many")
    if net.neck.hidden_dim != teacher.neck.hidden_dim:
        raise UserError(f"swap_backbone: hidden_dim is {net.neck.hidden_dim}, of the checkpoint "
                        f"{teacher.neck.hidden_dim}: they must be equal (-o hidden_dim={teacher.neck.hidden_dim})")


@kernels.enabled()
def align(net: nn.Layer, batches: Iterator[Batch], settings: Mapping[str, Any], start: str,
          folder: str | Path | None = None, progress: str | None = None) -> Alignment:
    """Align a detector's backbone and input projections; what lies behind them stays as it is.

    Ctrl-C ends it between two steps: what was learnt is kept in ``folder``, and the same call goes on from there.

    Args:
        net: the detector.
        batches: without end, see ``pictures.Batches``.
        settings: ``align_*`` of ``swap_backbone``, see ``config.swap_keys``.
        start: of the backbone, see ``starts``.
        folder: of the run; None: an interruption keeps nothing.
        progress: see ``engine.progress.has_line``.

    Raises:
        Interrupted: a signal came.
        UserError: losses are not finite.
    """
    began, own = time.monotonic(), _Own(net)
    first = Held(itertools.islice(batches, settings["align_batches"]))
    scale = Scale(theirs for _, theirs in first)
    with own.in_mode(training=False):
        before = _measure(own, first, scale)
    done = own.resume(folder)
    if not done:
        if start != PRETRAINED:  # a random network's statistics say nothing yet
            own.measure_statistics(first)
        own.solve(first, settings["align_ridge"])
        processes.broadcast_from_main(net)
    # an optimizer numbers what it keeps: training's own must find the numbers that it has in every run
    with paddle.utils.unique_name.guard():
        _take_steps(own, batches, scale, settings, start, done, folder, progress)
    if settings["align_steps"]:
        own.measure_statistics(first)
    with own.in_mode(training=False):
        after = _measure(own, first, scale)
    if folder is not None and processes.is_main():
        (Path(folder) / STATE).unlink(missing_ok=True)
    found = Alignment(before[0], after[0], before[1], after[1], settings["align_steps"], time.monotonic() - began)
    log.info(str(found))
    return found


class _Own:
    """What of a detector is aligned: its backbone and its neck's input projections."""

    def __init__(self, net: nn.Layer) -> None:
        self.net = net
        self.parts = [net.backbone, net.neck.input_proj]
        self.parameters = [one for part in self.parts for one in part.parameters() if not one.stop_gradient]

    def state(self) -> dict[str, paddle.Tensor]:
        return {name: value for name, value in self.net.state_dict().items()
                if name.startswith((BACKBONE, PROJECTIONS))}

    def features(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return projected(self.net, image)

    @contextlib.contextmanager
    def in_mode(self, training: bool) -> Iterator[None]:
        """Inside, the parts are in that mode; without training no gradient is kept."""
        flags = [(layer, layer.training) for layer in self.net.sublayers(include_self=True)]
        for part in self.parts:
            part.train() if training else part.eval()
        try:
            with contextlib.nullcontext() if training else paddle.no_grad():
                yield
        finally:
            for layer, flag in flags:
                layer.training = flag

    def measure_statistics(self, batches: Iterable[Batch]) -> None:
        """BatchNorm's running statistics become the mean over these batches; frozen ones stay."""
        with self.in_mode(training=True), paddle.no_grad():
            norms = [norm for part in self.parts for norm in batch_norms(part)
                     if norm.training and not norm._use_global_stats]
            momenta = [norm._momentum for norm in norms]
            try:
                for number, (image, _) in enumerate(batches):
                    for norm in norms:
                        norm._momentum = number / (number + 1)
                    self.features(image)
            finally:
                for norm, momentum in zip(norms, momenta):
                    norm._momentum = momentum

    def solve(self, batches: Iterable[Batch], ridge: float) -> None:
        """Set the projections to what, of this backbone's features, comes nearest to the teacher's."""
        with self.in_mode(training=False):
            fits = [Fit() for _ in self.net.neck.input_proj]
            for image, theirs in batches:
                features = self.net.backbone({"image": image})
                for fit, feature, wanted in zip(fits, features, theirs):
                    fit.add(feature, wanted)
            for fit, projection in zip(fits, self.net.neck.input_proj):
                fit.write(projection, ridge)

    def save(self, folder: str | Path, done: int) -> Path:
        path = Path(folder) / STATE
        with atomic_path(path) as temporary:
            paddle.save({**self.state(), STATE: paddle.to_tensor(done)}, str(temporary))
        return path

    def resume(self, folder: str | Path | None) -> int:
        """Steps that an interrupted alignment has done, whose weights are then taken; 0 for none."""
        path = Path(folder) / STATE if folder is not None else None
        if path is None or not path.is_file():
            return 0
        kept, own = read_paddle(path), self.state()
        done = int(kept.pop(STATE, 0))
        if any(np.shape(kept.get(name, ())) != tuple(value.shape) for name, value in own.items()):
            log.warning(f"'{path}' is of another backbone: alignment begins anew")
            return 0
        for name, value in own.items():
            value.set_value(np.asarray(kept[name]))
        log.info(f"alignment goes on after step {done}, from '{path}'")
        return done


@paddle.no_grad()
def _measure(own: _Own, batches: Iterable[Batch], scale: Scale) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(loss, cosine) per level, over the batches."""
    rows = []
    for image, theirs in batches:
        found = own.features(image)
        rows.append([float(value) for value in (*scale.losses(found, theirs), *scale.cosines(found, theirs))])
    mean = np.mean(rows, 0).tolist()
    return tuple(mean[:len(mean) // 2]), tuple(mean[len(mean) // 2:])


def _take_steps(own, batches, scale, settings, start, done, folder, progress):
    rate = settings[f"align_lr_{start}"]
    optimizer = paddle.optimizer.AdamW(rate, parameters=own.parameters, weight_decay=1e-4,
                                       grad_clip=nn.ClipGradByGlobalNorm(settings["align_clip"]))
    request = StopRequest()
    with request.listening(), own.in_mode(training=True), counted("align", settings["align_steps"], progress) as tell:
        for step in range(done, settings["align_steps"]):
            batch = _next(batches, request)
            if request.agreed() or batch is None:
                _stop(own, step, settings["align_steps"], folder, request)
            image, theirs = batch
            optimizer.set_lr(rate * _shape(step, settings))
            losses = scale.losses(own.features(image), theirs)
            loss = paddle.add_n(losses) / len(losses)
            if not math.isfinite(float(loss)):
                raise UserError(f"alignment: the loss is {float(loss)} at step {step}; make "
                                f"swap_backbone.align_lr_{start} ({rate:g}) smaller")
            loss.backward()
            if processes.count() > 1:
                average_gradients(own.parameters)
            optimizer.step()
            optimizer.clear_grad(set_to_zero=False)
            tell(step + 1 - done)
            if (step + 1) % SAID_EVERY == 0:
                log.info(f"align: step {step + 1}/{settings['align_steps']}, loss per level "
                         f"{_row([float(value) for value in losses])}")


def _next(batches, request):
    """A batch; None where a signal, which a reader's workers may have heard too, broke off reading."""
    try:
        return next(batches)
    except Exception:
        if request.signal:
            return None
        raise


def _shape(step, settings):
    """Share of the rate: up in a line, then down as a cosine."""
    warm = min(1.0, (step + 1) / max(settings["align_warmup"], 1))
    return warm * 0.5 * (1 + math.cos(math.pi * step / max(settings["align_steps"], 1)))


def _stop(own, step, steps, folder, request):
    where = f"interrupted: alignment, after step {step} of {steps}"
    if folder is None:
        raise Interrupted(f"{where}; nothing saved", request.code)
    path = own.save(folder, step) if processes.is_main() else Path(folder) / STATE
    raise Interrupted(f"{where}; saved as '{path}'; to go on: the same command", request.code)
