# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detections on pictures with an exported model: preprocess, run, split per picture; with the time of each stage."""
from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Union

import numpy as np

from . import engines, preprocess
from .deploy_error import DeployError
from .image_formats import PictureError
from .media import read_image

Image = Union[str, Path, np.ndarray]  # a path, or RGB [H, W, 3]


class Timings:
    """Milliseconds per batch and stage, and the number of pictures they cover. Several threads may add."""

    STAGES = ("preprocess", "inference", "postprocess")

    def __init__(self):
        self.batches: list[list[float]] = []
        self.images = 0
        self._lock = threading.Lock()

    def add(self, moments: Sequence[float], images: int) -> None:
        """Add a batch: the four moments (seconds) between which its three stages lie."""
        with self._lock:
            self.batches.append([(end - start) * 1000 for start, end in zip(moments, moments[1:])])
            self.images += images

    def summary(self, part: slice = slice(None)) -> dict:
        """``{stage: {'mean', 'median'}}`` in ms per batch, 'total' for all stages, and the numbers of both.

        Args:
            part: the batches that count; 'images' is the number of all.
        """
        with self._lock:
            batches, images = self.batches[part], self.images
        rows = dict(zip(self.STAGES, map(list, zip(*batches))))
        rows["total"] = [sum(batch) for batch in batches]
        table = {name: {"mean": statistics.fmean(values), "median": statistics.median(values)}
                 for name, values in rows.items() if values}
        return {**table, "images": images, "batches": len(batches)}


class Predictor:
    """Detects with a folder written by tools/export_model.py.

    Threads may share a Predictor. Each prepares its own pictures; the engine runs in one thread of the Predictor's own,
    one batch after the other. An engine's inputs and outputs are shared memory, so two runs at once would give one
    picture another's boxes. One session for each thread is not faster, as one run already takes all cores, and Paddle
    keeps about 200 MB for every thread that ever ran a model. After a fork make a new Predictor.

    Args:
        model_dir: the folder: infer_cfg.yml beside model.json or model.pdmodel with model.pdiparams, or beside
            model.onnx; or one of these files.
        device: cpu, gpu, xpu, npu or mlu.
        run_mode: paddle, trt_fp32, trt_fp16 or trt_int8 (TensorRT needs a GPU).
        enable_mkldnn: oneDNN on the CPU.
        cpu_threads: threads on the CPU; None: all cores.
        batch_size: pictures of the same preprocessed size run together, up to this many.
        engine: paddle, onnxruntime or openvino; None: the first of them that reads what is there.
        options: further fields of engines.Options (precision, the TensorRT ones).

    Raises:
        DeployError: no exported model, or this machine cannot run it as asked.
    """

    def __init__(self, model_dir: str | Path, device: str = "cpu", run_mode: str = "paddle",
                 enable_mkldnn: bool = False, cpu_threads: int | None = None, batch_size: int = 1,
                 engine: str | None = None, **options: Any):
        self.options = engines.Options(engine=engine, device=device, run_mode=run_mode, enable_mkldnn=enable_mkldnn,
                                       cpu_threads=cpu_threads, batch_size=batch_size, **options)
        self.model, self.engine, self._runtime = engines.create(model_dir, self.options)
        self.timings = Timings()
        self._one_thread = ThreadPoolExecutor(1, "predictor")

    @property
    def labels(self) -> list[str]:
        """Class names; a detection's class number is the index."""
        return self.model.labels

    def predict(self, images: Sequence[Image], on_unreadable: Callable[[Image, DeployError], None] | None = None,
                timings: Timings | None = None) -> list[dict[str, np.ndarray] | None]:
        """Detections of each picture.

        Args:
            images: paths, or RGB arrays [H, W, 3] of 0..255.
            on_unreadable: called with (image, error) for a picture that cannot be read or prepared; its result is None.
                Without it the error is raised.
            timings: where the times of this call go; None: to ``self.timings``, which grows with every batch.

        Returns:
            A list of ``{'boxes': [N, 6] float32}``: class, score, x1, y1, x2, y2 in pixels of the picture as given.

        Raises:
            DeployError: an unreadable picture, or a model without post-processing.
        """
        results: list[dict[str, np.ndarray] | None] = [None] * len(images)
        for start in range(0, len(images), self.options.batch_size):
            chunk = range(start, min(start + self.options.batch_size, len(images)))
            for index, boxes in self._detect(images, chunk, on_unreadable, timings or self.timings).items():
                results[index] = {"boxes": boxes}
        return results

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The model's raw outputs for ``{'image': [N, 3, H, W], 'im_shape': [N, 2], 'scale_factor': [N, 2]}``."""
        unknown = next((name for name in self._runtime.input_names if name not in inputs), None)
        if unknown:
            raise DeployError(f"'{self.model.program}' wants an input '{unknown}', which detection does not have")
        return self._one_thread.submit(self._runtime.run, inputs).result()

    def benchmark(self, images: Sequence[Image], warmup: int = 10, repeats: int = 100) -> Timings:
        """Time one batch (the first ``batch_size`` of ``images``) ``repeats`` times. Returns Timings."""
        chunk = range(min(self.options.batch_size, len(images)))
        for _ in range(warmup):
            self._detect(images, chunk, None, Timings(), boxes_wanted=False)
        timings = Timings()
        for _ in range(repeats):
            self._detect(images, chunk, None, timings, boxes_wanted=False)
        return timings

    def _detect(self, images, chunk, on_unreadable, timings, boxes_wanted=True):
        """{index: boxes} of the pictures in ``chunk`` that can be read."""
        moments = [time.perf_counter()]
        ready = {}
        for index in chunk:
            self._prepare(images[index], index, ready, on_unreadable)
        groups = list(_batches(ready))
        moments.append(time.perf_counter())
        outputs = [self.run(inputs) for _, inputs in groups]
        moments.append(time.perf_counter())
        found = {}
        for (indices, _), output in zip(groups, outputs):
            found.update(zip(indices, self._split(output, len(indices)) if boxes_wanted else indices))
        moments.append(time.perf_counter())
        if ready:
            timings.add(moments, len(ready))
        return found

    def _prepare(self, image, index, ready, on_unreadable):
        try:
            pixels = image if isinstance(image, np.ndarray) else read_image(image)
            ready[index] = preprocess.apply(self.model.steps, pixels, "" if pixels is image else image)
        except PictureError as error:
            if on_unreadable is None:
                raise
            on_unreadable(image, error)

    def _split(self, outputs, count):
        """Boxes per picture from (bbox [sum, 6], bbox_num [N])."""
        if len(outputs) < 2 or outputs[0].shape[1:] != (6,) or outputs[1].shape != (count,):
            raise DeployError(f"'{self.model.program}' gives no boxes: it was exported without post-processing "
                              "(export.post_process False or export.benchmark True)")
        pieces = np.split(outputs[0], np.cumsum(outputs[1])[:-1])
        # ppdet marks "nothing found" by class -1
        return [piece[piece[:, 0] >= 0].astype(np.float32) for piece in pieces]


def _batches(ready):
    """Yield (indices, inputs) for the pictures of equal preprocessed shape; ``ready``: {index: (array, info)}."""
    by_shape = {}
    for index, (array, info) in ready.items():
        by_shape.setdefault(array.shape, []).append((index, array, info))
    for group in by_shape.values():
        indices, arrays, infos = zip(*group)
        names = ("im_shape", "scale_factor")
        yield indices, {"image": np.stack(arrays), **{name: np.stack([i[name] for i in infos]) for name in names}}

