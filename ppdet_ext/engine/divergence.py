# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Numbers that are not finite end a training in one line: which batch, which loss term, which parameter first.

A loss is looked at before the weights move, so the line says what is still true of them. The weights are looked at
where something has failed, and before they are saved: a good checkpoint is never replaced by one of NaN.
"""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..distributed import processes
from ..errors import NotFinite, UserError
from .hooks import Status
from .replay import Keeper

ADVICE = ("lower LearningRate.base_lr, set OptimizerBuilder.clip_grad_by_norm, lengthen the warm-up, or check the data "
          "(boxes much smaller than a pixel)")
SHOWN = 8  # images that a line names


class Watch:
    """Looks after the batches of one run.

    Args:
        model: what is trained.
        dataset: ppdet's data set, whose records know the files of a batch's ``im_id``.
        keeper: names the layer and keeps the step; None: nobody does.
    """

    def __init__(self, model: nn.Layer, dataset: Any, keeper: Keeper | None = None) -> None:
        self.model, self.dataset, self.keeper = model, dataset, keeper
        self._since_step: list[int] = []  # pictures of the batches since the weights moved
        self._last_step: list[int] = []  # those that moved them

    @contextlib.contextmanager
    def batch(self, data: Mapping[str, Any], status: Status) -> Iterator[None]:
        """Around a batch's forward pass: what fails because numbers are not finite says so.

        Raises:
            UserError: in place of any error, where a parameter is not finite or the error is NotFinite.
        """
        images = _image_ids(data)
        if self.keeper:
            self.keeper.before()
        try:
            yield
        except Exception as error:  # NaN can end in any error, such as an index of -2147483648
            # statistics of a BatchNorm are moved by this very pass, so they say nothing of where it began
            broken = first_not_finite({name: value for name, value in self.model.named_parameters()
                                       if not name.endswith(("_mean", "_variance"))})
            if not broken and not isinstance(error, NotFinite):
                raise
            what = str(error).partition(":")[0] if isinstance(error, NotFinite) else "the training diverged"
            where = f"{what} at epoch {status.epoch}, step {status.step}"
            about = self._about(images, broken)
            if self.keeper:
                about += self.keeper.explain(data, {"epoch": status.epoch, "step": status.step, "message": what,
                                                    "images": self._names(images)})
            raise UserError(f"{where} ({'; '.join(about)}), and no checkpoint was written from it: {ADVICE}") from error
        self._since_step += images

    def check(self, losses: Mapping[str, paddle.Tensor]) -> None:
        """Raise NotFinite where the loss is no number. Several processes: their mean is looked at, by ``History``."""
        if processes.count() > 1 or math.isfinite(value := float(losses["loss"])):
            return
        terms = [name for name, term in losses.items() if name != "loss" and not math.isfinite(float(term.sum()))]
        raise NotFinite(f"the loss became {value}{', first of all ' + terms[0] if terms else ''}")

    def weights_moved(self) -> None:
        """The optimizer has made a step with the batches since the last one."""
        self._last_step, self._since_step = self._since_step, []

    def _about(self, images, broken):
        parts = [f"images: {self._files(images)}"] if images else []
        if broken:
            step = f", since the step on {self._files(self._last_step)}" if self._last_step else ""
            parts.append(f"first parameter that is not finite: {broken}{step}")
        else:
            parts.append("all parameters are finite")
        return parts

    def _names(self, images):
        records = getattr(self.dataset, "roidbs", None) or ()
        files = {int(np.ravel(record["im_id"])[0]): record.get("im_file") for record in records if "im_id" in record}
        return [f"'{files[image]}'" if files.get(image) else f"im_id {image}" for image in images]

    def _files(self, images):
        shown = self._names(images)[:SHOWN]
        return ", ".join(shown) + (f" and {len(images) - SHOWN} more" if len(images) > SHOWN else "")


def _image_ids(data):
    ids = data.get("im_id") if isinstance(data, Mapping) else None
    return [] if ids is None else np.asarray(ids).ravel().astype("int64").tolist()


def first_not_finite(tensors: Mapping[str, paddle.Tensor]) -> str:
    """Name of the first tensor with a NaN or an infinite number in it; '' where there is none."""
    floats = {name: tensor for name, tensor in tensors.items() if paddle.is_floating_point(tensor)}
    if not floats:
        return ""
    # all answers at once: on a GPU each of them would be waited for
    finite = paddle.stack([paddle.isfinite(tensor).all() for tensor in floats.values()]).numpy()
    return "" if finite.all() else list(floats)[int(np.argmin(finite))]


def require_finite(model: nn.Layer, *states: Mapping[str, paddle.Tensor] | None) -> None:
    """Weights to be saved are numbers.

    Args:
        model: its parameters are what is looked at in
        states: state dicts of it; buffers may hold what they like.
    Raises:
        UserError: with the first parameter that is not finite.
    """
    own = {name for name, _ in model.named_parameters()}
    for state in states:
        broken = first_not_finite({name: value for name, value in (state or {}).items() if name in own})
        if broken:
            raise UserError(f"the training diverged: {broken} is not finite (NaN or infinite), so no checkpoint is "
                            f"written from it and earlier ones stay: {ADVICE}")
