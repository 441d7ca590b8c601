# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detection on image files: pictures with boxes, and COCO-style results in bbox.json."""
from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from ppdet.core.workspace import create
from ppdet.metrics import get_infer_results
from tqdm import tqdm

from .. import kernels
from ..deploy import DeployError, media, preprocess, slicing
from ..deploy.image_formats import PictureError
from ..deploy.visualize import draw_boxes
from ..errors import UserError
from ..files import atomic_path, require_writable
from .export import image_shape, infer_config
from .hooks import call

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")


def find_images(infer_img: str | None = None, infer_dir: str | None = None,
                infer_list: str | None = None) -> list[str]:
    """Paths for PaddleDetection's --infer_img, --infer_dir and --infer_list (file names of --infer_dir, one a line).

    Raises:
        UserError: nothing is named, it does not exist, or no image is in the folder.
    """
    if infer_img:
        if not Path(infer_img).is_file():
            raise UserError(f"--infer_img: there is no file '{infer_img}'")
        return [str(infer_img)]
    if not infer_dir:
        raise UserError("name what to look at: --infer_img=FILE or --infer_dir=FOLDER")
    folder = Path(infer_dir)
    if not folder.is_dir():
        raise UserError(f"--infer_dir: there is no folder '{infer_dir}'")
    if infer_list:
        try:
            names = Path(infer_list).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UserError(f"--infer_list: cannot read '{infer_list}' ({reason})") from None
        paths = [folder / name.strip() for name in names if name.strip()]
    else:
        paths = media.images_in(folder, log.warning)
    if not paths:
        raise UserError(f"--infer_dir: no image ({', '.join(media.IMAGE_SUFFIXES)}) in '{infer_dir}'")
    log.info(f"Found {len(paths)} inference images in total.")
    return [str(path) for path in paths]


def transforms() -> Callable[[dict], Any]:
    """What the config's TestReader does with one sample: the sample, or a ``data.reading.Failure``."""
    return create("TestReader")._sample_transforms


@kernels.enabled()
@paddle.no_grad()
def predict(trainer: Trainer, images: Sequence[str], draw_threshold: float = 0.5, output_dir: str | Path = "output",
            save_results: bool = False, visualize: bool = True, save_threshold: float = 0.0,
            slices: Any = None, on_failure: Callable[[str, Exception], None] | None = None
            ) -> list[dict[str, np.ndarray]]:
    """Run a trainer in 'test' mode over image files.

    Args:
        images: paths that can be read (see ``data.checks.readable_images``).
        draw_threshold, save_threshold: least score of what is drawn and of what goes to bbox.json.
        visualize: write each picture with its boxes to ``output_dir`` under its own name.
        save_results: write ``output_dir``/bbox.json: image_id, file_name, category_id, bbox (x, y, w, h), score.
        slices: settings of ``deploy.slicing.detect`` (slice_size, overlap_ratio, ...): pictures are cut into
            overlapping windows and their boxes merged. None: pictures are taken whole.
        on_failure: called with (path, error) for a picture that cannot be cut or drawn; the others go on. Without it
            the error is raised.
    Returns:
        ppdet's raw results, a dict per batch: bbox [N, 6] (class, score, x1, y1, x2, y2), bbox_num, im_id, ...
    Raises:
        UserError: the output folder cannot be written, or a picture would overwrite its own original.
    """
    require_writable(output_dir)
    paths = dict(enumerate(map(str, images)))
    try:
        targets = dict(enumerate(media.image_targets(images, output_dir))) if visualize else {}
    except DeployError as error:
        raise UserError(str(error)) from None
    # not set_images(): that drops what has no picture's suffix, though it can be read
    trainer.dataset.roidbs = [{"im_id": np.array([number]), "im_file": path} for number, path in paths.items()]
    class_to_category, class_names = trainer.categories
    names = dict(enumerate(class_names))
    trainer.model.eval()
    results, records = [], []
    batches = _whole(trainer) if slices is None else _sliced(trainer, paths, slices, on_failure)
    for outputs in tqdm(batches, disable=not sys.stderr.isatty()):
        results.append(outputs)
        records += [{**record, "file_name": paths[int(record["image_id"])]}
                    for record in get_infer_results(outputs, class_to_category)["bbox"]
                    if record["score"] >= save_threshold] if save_results else []
        if visualize:
            for im_id, boxes in _per_picture(outputs):
                draw = functools.partial(draw_boxes, boxes=boxes, labels=names, threshold=draw_threshold)
                _draw(trainer, paths[im_id], targets[im_id], draw, on_failure)
    if save_results:
        with atomic_path(Path(output_dir) / "bbox.json") as path:
            path.write_text(json.dumps(records))
        log.info(f"The bbox result is saved to {Path(output_dir) / 'bbox.json'}.")
    return results


def skip(path: str, error: Exception) -> str:
    """Say that a picture is left out, and why; returns its path."""
    log.warning("Skipped %r: %s", path, error)
    return path


def _whole(trainer: Trainer) -> Iterator[dict[str, np.ndarray]]:
    for data in create("TestReader")(trainer.dataset, 0):
        outputs = {**trainer.model(data), **{key: data[key] for key in ("im_shape", "scale_factor", "im_id")}}
        yield {key: np.asarray(value) for key, value in outputs.items() if value is not None}


def _sliced(trainer: Trainer, paths: dict[int, str], slices: Any,
            on_failure: Callable[[str, Exception], None] | None) -> Iterator[dict[str, np.ndarray]]:
    windows = WindowPredictor(trainer)
    for im_id, path in paths.items():
        boxes: Any = slicing.detect(windows, path, slices, on_failure)
        if boxes is not None:
            yield {"bbox": boxes, "bbox_num": np.array([len(boxes)]), "im_id": np.array([[im_id]])}


class WindowPredictor:
    """What slicing asks of a predictor, done by the trainer's model with the preprocessing that its export has."""

    def __init__(self, trainer: Trainer) -> None:
        self.model = trainer.model
        self.steps = preprocess.build(infer_config(trainer.cfg, image_shape(trainer.cfg))["Preprocess"])

    def predict(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """``{'boxes': [N, 6]}`` for each picture [H, W, 3]."""
        return [{"boxes": self._boxes(image)} for image in images]

    def _boxes(self, image: np.ndarray) -> np.ndarray:
        pixels, info = preprocess.apply(self.steps, image)
        batch = {key: paddle.to_tensor(value[None]) for key, value in {"image": pixels, **info}.items()}
        return self.model(batch)["bbox"].numpy()


def _per_picture(outputs: dict[str, np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """(im_id, boxes [N, 6]) of a batch."""
    ends = np.cumsum(outputs["bbox_num"])[:-1]
    yield from zip(map(int, outputs["im_id"].ravel()), np.split(outputs["bbox"], ends))


def _draw(trainer: Trainer, source: str, target: Path, draw: Callable[[np.ndarray], np.ndarray],
          on_failure: Callable[[str, Exception], None] | None) -> None:
    try:
        original = media.read_image(source)
        drawn = draw(original)
        media.write_image(target, drawn)
    except PictureError as error:
        if on_failure is None:
            raise
        on_failure(source, error)
        return
    log.info(f"Detection bbox results save in {target}")
    call(trainer.hooks, "after_picture", original, drawn)
