# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A model that answers for files' bytes, a batch at a time, and what passes between its process and the server's."""
from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..deploy import DeployError, Predictor, Timings
from ..deploy.image_files import decode_image
from ..startup import environment, quiet


@dataclass(frozen=True)
class Facts:
    """What is known of a model before it is asked: its name at this server, PaddleDetection's, classes, engine."""

    name: str
    arch: str
    labels: Sequence[str]
    engine: str
    program: str

    def label(self, number: int) -> str:
        """The class name of a number; the number itself where the model has no name for it."""
        return str(self.labels[number]) if 0 <= number < len(self.labels) else str(number)


@dataclass(frozen=True)
class Found:
    """What a model found on a picture.

    Attributes:
        boxes: [N, 6] float32 of (class, score, x1, y1, x2, y2) in pixels of the upright picture; None: not readable.
        size: width, height of the upright picture.
        error: why it is not readable.
        milliseconds: of the batch that it was in: decode, preprocess, inference, postprocess.
        batch: pictures in that batch.
    """

    boxes: np.ndarray | None = None
    size: tuple[int, int] = (0, 0)
    error: str = ""
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    batch: int = 1


class ServedModel:
    """A Predictor for files' bytes.

    Args:
        model_dir: as the Predictor takes it.
        settings: the fields of ``deploy.Options``.

    Raises:
        DeployError: no such model, or it cannot be run as asked.
    """

    def __init__(self, model_dir: str, settings: Mapping[str, Any]) -> None:
        environment.setup()
        with quiet.imports():
            self.predictor = Predictor(model_dir, **settings)
            # the first run of an engine takes longer, and is nobody's picture
            self.predictor.predict([np.full((480, 640, 3), 127, np.uint8)])

    def facts(self, name: str) -> Facts:
        """What is known of it."""
        model = self.predictor.model
        return Facts(name, model.arch, list(self.predictor.labels), self.predictor.engine, model.program.name)

    def detect(self, files: Sequence[tuple[bytes, str]]) -> list[Found]:
        """On the (bytes, name) of files, as one batch; one that cannot be read costs the others nothing.

        Raises:
            DeployError: the engine cannot run the batch.
        """
        begin, errors = time.perf_counter(), {}
        pixels: dict[int, np.ndarray] = {}
        for index, (data, name) in enumerate(files):
            try:
                pixels[index] = decode_image(data, name)
            except DeployError as error:
                errors[index] = str(error)
        decode, timings = (time.perf_counter() - begin) * 1000, Timings()
        places = list(pixels)
        failed: dict[int, str] = {}

        def unreadable(image: Any, error: DeployError) -> None:
            failed[id(image)] = str(error)

        results = self.predictor.predict(list(pixels.values()), unreadable, timings)
        errors.update({index: failed[id(pixels[index])] for index in places if id(pixels[index]) in failed})
        stages = [sum(values) for values in zip(*timings.batches)]
        milliseconds = {"decode": decode, **dict(zip(timings.STAGES, stages))}
        boxes = {index: result["boxes"] for index, result in zip(places, results) if result}
        return [Found(error=errors[index]) if index in errors else
                Found(boxes[index], (pixels[index].shape[1], pixels[index].shape[0]), "", milliseconds, len(boxes))
                for index in range(len(files))]
