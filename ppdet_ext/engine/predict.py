# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detection on image files: pictures with boxes, and COCO-style results in bbox.json."""
from __future__ import annotations

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
from ..deploy.file_names import safe_name
from ..deploy.image_formats import PictureError
from ..deploy.visualize import draw_boxes
from ..errors import UserError
from ..files import atomic_path, require_writable
from .export import image_shape, infer_config
from .hooks import call
from .looks import Looks, chosen

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
            slices: Any = None, on_failure: Callable[[str, Exception], None] | None = None,
            looks: Sequence[str] = ()) -> list[dict[str, np.ndarray]]:
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
        looks: what of ``looks.KINDS`` is drawn, too, as ``NAME_features.png``, ...; for whole pictures.
    Returns:
        ppdet's raw results, a dict per batch: bbox [N, 6] (class, score, x1, y1, x2, y2), bbox_num, im_id, ...
    Raises:
        UserError: the output folder cannot be written, a picture would overwrite its own original, or the detector has
            nothing of ``looks``.
    """
    if slices is not None and looks:
        raise UserError(f"--visualize {','.join(looks)} shows whole pictures; leave out --slice_infer")
    seen = Looks(trainer.model, looks)
    require_writable(output_dir)
    paths = dict(enumerate(map(str, images)))
    drawings = _Drawings(images, output_dir, visualize, seen, trainer, draw_threshold)
    # not set_images(): that drops what has no picture's suffix, though it can be read
    trainer.dataset.roidbs = [{"im_id": np.array([number]), "im_file": path} for number, path in paths.items()]
    class_to_category, _ = trainer.categories
    trainer.model.eval()
    results, records = [], []
    batches = _whole(trainer) if slices is None else _sliced(trainer, paths, slices, on_failure)
    with seen:
        for outputs in tqdm(batches, disable=not sys.stderr.isatty()):
            results.append(outputs)
            records += [{**record, "file_name": paths[int(record["image_id"])]}
                        for record in get_infer_results(outputs, class_to_category)["bbox"]
                        if record["score"] >= save_threshold] if save_results else []
            for number, (im_id, boxes) in enumerate(_per_picture(outputs)):
                drawings.write(number, im_id, boxes, outputs, on_failure)
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


class _Drawings:
    """Writes what is drawn of each picture: its boxes, and sheets of what the detector looked at."""

    def __init__(self, images: Sequence[str], output_dir: str | Path, boxes: bool, seen: Looks, trainer: Trainer,
                 threshold: float) -> None:
        self.images, self.seen, self.trainer, self.threshold = images, seen, trainer, threshold
        self.names = dict(enumerate(trainer.categories[1]))
        self.kinds = [*(["bbox"] if boxes else []), *seen.kinds]
        try:
            targets = media.image_targets(images, output_dir) if self.kinds else []
            names = [target.name if kind == "bbox" else f"{safe_name(target.stem)}_{kind}.png"
                     for kind in self.kinds for target in targets]
            targets = media.targets_of(images, output_dir, names)
        except DeployError as error:
            raise UserError(str(error)) from None
        self.targets = [targets[number::len(images)] for number in range(len(images))]

    def write(self, number: int, im_id: int, boxes: np.ndarray, outputs: dict[str, np.ndarray],
              on_failure: Callable[[str, Exception], None] | None) -> None:
        """The drawings of picture ``im_id``, the batch's ``number``-th, with boxes [N, 6]."""
        if not self.kinds:
            return
        source = str(self.images[im_id])
        try:
            original = media.read_image(source)
            for kind, target in zip(self.kinds, self.targets[im_id]):
                drawn = self._drawn(kind, original, number, boxes, outputs)
                media.write_image(target, drawn)
                log.info(f"Detection {kind} results save in {target}")
                if kind == "bbox":
                    call(self.trainer.hooks, "after_picture", original, drawn)
        except PictureError as error:
            if on_failure is None:
                raise
            on_failure(source, error)

    def _drawn(self, kind, original, number, boxes, outputs):
        if kind == "bbox":
            return draw_boxes(original, boxes, self.names, self.threshold)
        detections = chosen(boxes, self.names, self.threshold)
        return self.seen.sheet(kind, number, original, outputs["scale_factor"][number], detections)
