# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Does an exported file give what the trained model gives? Asked on a random batch and on a photograph."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ..data import digit_pictures
from ..deploy import DeployError, Difference, Predictor, compare_all, media, preprocess
from ..deploy.compare_detections import agreeing
from ..errors import UserError

log = logging.getLogger("ppdet.engine")
# max|d|/max|ref|, of scores and of boxes: a score moves by less than 0.001, a box by 0.001 of the picture's longer side
TOLERANCE = 1e-3
# of a model that rounds; measured on 22 pictures: at least 99.3% of 300 queries agree
LEAST_SHARE = 0.8
# side of the random picture where the exported model takes any size
ANY_SIDE = (320, 352)
PHOTOGRAPH = ("skimage", "data/coffee.png")  # 400x600: one that is not square shows mixed up heights and widths


@dataclass(frozen=True)
class Case:
    """An input batch by name, and the trained model's outputs for it."""

    name: str
    inputs: dict[str, np.ndarray]
    wanted: list[np.ndarray]


def cases(model: nn.Layer, steps: list[dict], shape: Sequence[int], picture: str | None = None) -> list[Case]:
    """The two Cases: a random batch of 2, and a picture alone, so that a fixed batch size is found out too.

    Args:
        model: the trained model in evaluation mode.
        steps: the ``Preprocess`` list of infer_cfg.yml.
        shape: (H, W) of the exported model's input, -1 where free.
        picture: an image file; None: a photograph that comes with scikit-image.

    Raises:
        UserError: the picture cannot be read or comes out of another size than ``shape``, or the model's own outputs
            are not numbers.
    """
    batches = {"a random batch of 2": random_batch(shape), _name(picture): _photo_batch(steps, shape, picture)}
    return [Case(name, batch, _eager(model, name, batch)) for name, batch in batches.items()]


def random_batch(shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Two pictures of noise 0..1; the second is said to be resized, height and width by different factors."""
    rng = np.random.default_rng(0)
    sides = [default if side == -1 else side for side, default in zip(shape, ANY_SIDE)]
    return {"image": rng.random((2, 3, *sides), np.float32), "im_shape": np.array([sides] * 2, np.float32),
            "scale_factor": np.array([[1.0, 1.0], [0.5, 0.8]], np.float32)}


def _name(picture: str | None) -> str:
    return f"'{picture or Path(PHOTOGRAPH[1]).name}'"


def _photo_batch(steps: list[dict], shape: Sequence[int], picture: str | None) -> dict[str, np.ndarray]:
    try:
        pixels = media.read_image(picture) if picture else digit_pictures.photograph(*PHOTOGRAPH)
        image, info = preprocess.apply(preprocess.build(steps), pixels)
    except DeployError as error:
        raise UserError(f"the exported model cannot be verified: {error}") from error
    if any(side not in (-1, size) for side, size in zip(shape, image.shape[1:])):
        raise UserError(f"TestReader makes {image.shape[1]}x{image.shape[2]} of {_name(picture)}, but the exported "
                        f"model takes {shape[0]}x{shape[1]} (TestReader.inputs_def.image_shape); make them agree")
    return {"image": image[None], **{name: value[None] for name, value in info.items()}}


def _eager(model: nn.Layer, name: str, batch: dict[str, np.ndarray]) -> list[np.ndarray]:
    with paddle.no_grad():
        outputs = [value.numpy() for value in model({k: paddle.to_tensor(v) for k, v in batch.items()}).values()]
    if not all(np.isfinite(value).all() for value in outputs):
        raise UserError(f"the trained model itself gives values that are no numbers (nan, inf) on {name}; "
                        "nothing was written")
    return outputs


def verify(folder: str | Path, engine: str, given: Sequence[Case], boxes: bool, chance: bool = False) -> None:
    """Run what was exported on every case; the differences are logged.

    Args:
        folder: where infer_cfg.yml and the engine's file are.
        engine: a name of ``deploy.ENGINES``.
        given: what :func:`cases` made.
        boxes: whether the outputs are detections (compared whatever their order) or the head's raw output.
        chance: the model rounds (discrete sampling), so that a last bit moves some queries: of each picture's values
            only LEAST_SHARE need be within TOLERANCE. Its bilinear form is to be verified as well.

    Raises:
        UserError: it does not run, or differs by more than TOLERANCE.
    """
    gpu = engine == "paddle" and paddle.get_device().startswith("gpu")
    try:
        predictor = Predictor(folder, engine=engine, device="gpu" if gpu else "cpu", batch_size=2)
        for case in given:
            compare = _compare_shares if chance else _compare
            compare(case, predictor.run(case.inputs), f"{predictor.model.program.name} ({engine})", boxes)
    except DeployError as error:
        raise UserError(f"the exported model does not run: {error}") from error


def _compare(case: Case, found: list[np.ndarray], what: str, boxes: bool) -> None:
    if boxes:
        difference = compare_all(_per_image(case.wanted), _per_image(found), TOLERANCE)
    else:
        errors = [float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(case.wanted, found)]
        difference = Difference(errors[1], errors[0], 0)
    log.info("exported %s against the trained model on %s: %s", what, case.name, difference)
    if not difference.within(TOLERANCE):
        raise UserError(f"the exported {what} differs from the trained model on {case.name}: {difference}, allowed are "
                        f"{TOLERANCE}; nothing was written")


def _compare_shares(case: Case, found: list[np.ndarray], what: str, boxes: bool) -> None:
    if boxes:
        shares = [agreeing(wanted, got, TOLERANCE) for wanted, got in zip(_per_image(case.wanted), _per_image(found))]
    else:
        shares = [float((np.abs(a - b) <= TOLERANCE * np.abs(a).max()).mean()) for a, b in zip(case.wanted, found)]
    log.info("exported %s against the trained model on %s: %.1f%% agree to %g; the others are what rounding moves "
             "(discrete sampling)", what, case.name, min(shares) * 100, TOLERANCE)
    if min(shares) < LEAST_SHARE:
        raise UserError(f"the exported {what} differs from the trained model on {case.name}: only {min(shares):.0%} of "
                        f"its values agree to {TOLERANCE}, where discrete sampling moves a few; nothing was written")


def _per_image(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    boxes, counts = outputs[:2]
    return np.split(boxes, np.cumsum(counts)[:-1])
