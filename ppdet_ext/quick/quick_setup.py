# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What ``train --quick`` changes in a config, a line each: few images, no augmentation, one small size, its rate."""
from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from ppdet.core.workspace import create
from ppdet.optimizer.optimizer import LinearWarmup, PiecewiseDecay

from ..config.reader_keys import READERS, TRANSFORM_LISTS
from ..data.augment import AUGMENTATIONS, SCHEDULES
from ..data.reading import parse_once
from ..errors import UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a quick run goes; found on random starts of many families, see docs/quick.md.

    Attributes:
        images: how many are learnt by heart.
        steps: of the optimizer.
        batch: images of a step; fewer where there are fewer.
        rate: learning rate after the warm-up, on which factors of groups and layers count as ever; a tenth of it in the
            last of ``PARTS`` equal parts.
        warmup: its steps.
        clip: limit of the gradient's norm.
        side: longest side of a picture on a CPU, pixels; a GPU takes the config's own.
        least_box: pixels, sides of boxes in pictures that are chosen first.
        most_boxes: boxes of pictures that are chosen first, at most.
        least_ap: the AP on the images themselves that must be passed.
        fall: the loss must come below this share of what it was.
    """
    images: int = 16
    steps: int = 300
    batch: int = 4
    rate: float = 5e-4
    warmup: int = 20
    clip: float = 1.0
    side: int = 256
    least_box: float = 8
    most_boxes: int = 20
    least_ap: float = 0.5
    fall: float = 0.8


PARTS = 5  # epochs of a run; a short one has a single one, at one rate
#: from this epoch on BatchNorm keeps its statistics and the weights come to terms with them: few images a step have
#: others each time, by which heads without norms of their own (RetinaNet) learn to tell the steps apart
HELD_FROM = 3
# transforms that bring pictures to a size; DETR's RandomSelect chooses between two ways to do it
RESIZING = frozenset({"Resize", "RandomResize", "BatchRandomResize", "RandomShortSideResize", "RandomResizeCrop",
                      "PadResize", "RandomSelect"})
MULTIPLE = 32  # of which sides are made


def take_images(cfg: dict[str, Any], recipe: Recipe) -> tuple[Any, list[str]]:
    """(the training set cut down to a few images with boxes, lines on which).

    Raises:
        UserError: no image has a box.
    """
    dataset = create("TrainDataset")()
    parse_once(dataset)
    records = dataset.roidbs
    boxed = [record for record in records if len(record.get("gt_bbox", ()))]
    if not boxed:
        raise UserError(f"--quick: none of TrainDataset's {len(records)} images has a box to learn; name annotations "
                        "with boxes, and 'gt_bbox' and 'gt_class' in data_fields")
    dataset.roidbs = _spread(boxed, recipe)
    dataset.sample_num = -1
    lines = [f"{len(dataset.roidbs)} of {len(records)} training images, learnt by heart: evaluated on the same"]
    if len(boxed) < len(records):
        lines.append(f"{len(records) - len(boxed)} images without boxes are left out")
    if len(boxed) < recipe.images:
        lines.append(f"there are only {len(boxed)} images with boxes (of {recipe.images} wanted): all are taken")
    return dataset, lines


def _spread(records: Sequence[dict[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """Images from all over the set; first those that are easy to see at a small size."""
    easy = [record for record in records if _is_easy(record, recipe)]
    chosen = easy if len(easy) >= recipe.images else \
        easy + [record for record in records if not _is_easy(record, recipe)][:recipe.images - len(easy)]
    places = np.linspace(0, len(chosen) - 1, min(recipe.images, len(chosen))).round().astype(int)
    return [chosen[place] for place in places]


def _is_easy(record: Mapping[str, Any], recipe: Recipe) -> bool:
    boxes = np.asarray(record["gt_bbox"], "float64")
    longest = max(float(record.get("w") or 0), float(record.get("h") or 0), 1.0)
    sides = (boxes[:, 2:] - boxes[:, :2]) * min(1.0, recipe.side / longest)
    return len(boxes) <= recipe.most_boxes and bool((sides >= recipe.least_box).all())


def for_evaluation(dataset: Any) -> Any:
    """The same images without their boxes, as an evaluation reads them."""
    told = ("im_file", "im_id", "h", "w")
    seen = copy.copy(dataset)
    seen.roidbs = [{key: record[key] for key in told if key in record} for record in dataset.roidbs]
    seen.repeat = 1
    return seen


def adjust(cfg: dict[str, Any], dataset: Any, recipe: Recipe) -> list[str]:
    """Change ``cfg`` in place for a run of ``recipe.steps`` steps on ``dataset``; a line for each change."""
    lines = [*_augmentation_off(cfg), *_one_size(cfg, recipe)]
    count = len(dataset.roidbs)
    batch = min(recipe.batch, count)
    # few and long epochs: what depends on their number stays as at the start
    epochs = PARTS if recipe.steps >= 10 * PARTS else 1
    dataset.repeat = -(-recipe.steps * batch // (count * epochs))
    per_epoch = max(len(dataset) // batch, 1)
    if dataset.repeat * count > len(dataset):  # a data set that knows no repeat
        epochs = -(-recipe.steps // per_epoch)
    cfg["TrainReader"].update({"batch_size": batch, "shuffle": True, "drop_last": True})
    cfg["EvalReader"]["batch_size"] = min(_whole(cfg["EvalReader"].get("batch_size"), 1), count)
    cfg["TrainDataset"], cfg["EvalDataset"] = dataset, for_evaluation(dataset)
    lines += _own_rate(cfg, recipe, epochs)
    if epochs > HELD_FROM:
        lines.append("BatchNorm keeps its statistics in the last two fifths")
    if cfg.get("use_ema"):
        lines.append("no average of weights (use_ema): in a short run it lags")
    cfg.update({"use_ema": False, "accumulate_steps": 1, "epoch": epochs, "worker_num": 0, "validate": False,
                "snapshot_epoch": epochs})
    lines.append(f"{epochs * per_epoch} steps of {batch} images; no checkpoint is written")
    return lines


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _entries(reader: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, arguments) of a reader's transforms."""
    for key in TRANSFORM_LISTS:
        for entry in dict.get(reader, key) or ():
            for name, arguments in entry.items():
                yield name, arguments if arguments is not None else {}


def _augmentation_off(cfg: dict[str, Any]) -> list[str]:
    reader = cfg["TrainReader"]
    removed = [name for name, _ in _entries(reader) if name in AUGMENTATIONS]
    for key in TRANSFORM_LISTS:
        if dict.get(reader, key):
            reader[key] = [entry for entry in reader[key] if not AUGMENTATIONS & set(entry)]
    for key in SCHEDULES:
        reader.pop(key, None)
    return [f"no augmentation ({', '.join(dict.fromkeys(removed))})"] if removed else []


def _one_size(cfg: dict[str, Any], recipe: Recipe) -> list[str]:
    """Training sees pictures as evaluation does; on a CPU small ones."""
    shown = next((arguments for name, arguments in _entries(cfg["EvalReader"]) if name in RESIZING), None)
    own = _sides(shown.get("target_size")) if shown else None
    if shown is None or own is None:
        return []
    fixed = any(isinstance(section, dict) and dict.get(section, "img_size") for section in cfg.values())
    on_cpu = paddle.get_device() == "cpu"
    share = 1.0 if fixed or not on_cpu else min(1.0, recipe.side / max(own))
    size = own if share == 1.0 else [max(round(side * share / MULTIPLE), 1) * MULTIPLE for side in own]
    settings = {"target_size": size, "keep_ratio": shown.get("keep_ratio", True), "interp": shown.get("interp", 1)}
    for reader in READERS:
        _resize(cfg[reader], settings)
    if size != own:
        _tell_size(cfg, own, size)
    also = f" (the config's {own[0]} x {own[1]} is for later)" if size != own else ""
    return [f"pictures at {size[0]} x {size[1]} in training too{also}"]


def _sides(value: Any) -> list[int] | None:
    """A target_size as [height, width]; None for what is no one size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value, value]
    two = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value)
    return list(value) if two else None


def _resize(reader: dict[str, Any], settings: dict[str, Any]) -> None:
    for key in TRANSFORM_LISTS:
        if dict.get(reader, key):
            reader[key] = [{"Resize": dict(settings)} if RESIZING & set(entry) else entry
                           for entry in reader[key]]


def _tell_size(cfg: dict[str, Any], own: list[int], size: list[int]) -> None:
    """The size where the network is told it: eval_size, and TestReader's image_shape."""
    for section in (cfg, *(value for value in cfg.values() if isinstance(value, dict))):
        if dict.get(section, "eval_size"):
            section["eval_size"] = list(size)
    shape = (cfg["TestReader"].get("inputs_def") or {}).get("image_shape")
    if shape and list(shape[-2:]) == own:
        cfg["TestReader"]["inputs_def"] = {**cfg["TestReader"]["inputs_def"], "image_shape": [*shape[:-2], *size]}


def _own_rate(cfg: dict[str, Any], recipe: Recipe, epochs: int) -> list[str]:
    """AdamW with a rate that suits a short run; groups of an AdamW stay."""
    optimizer = dict(cfg["OptimizerBuilder"].get("optimizer") or {})
    groups = {key: optimizer[key] for key in ("param_groups",) if key in optimizer and optimizer["type"] == "AdamW"}
    was = f"{optimizer.get('type', 'Momentum')}, base_lr {cfg['LearningRate'].get('base_lr')}"
    warmup = min(recipe.warmup, max(recipe.steps // 4, 1))
    last = max(epochs * (PARTS - 1) // PARTS, 1)
    cfg["LearningRate"].update({"base_lr": recipe.rate, "schedulers": [
        PiecewiseDecay(gamma=[0.1], milestones=[last], use_warmup=True),
        LinearWarmup(steps=warmup, start_factor=0.01)]})
    cfg["OptimizerBuilder"].update({
        "clip_grad_by_norm": recipe.clip, "clip_grad_by_value": None, "regularizer": False,
        "optimizer": {"type": "AdamW", "weight_decay": 0.0001, **groups}})
    end = ", a tenth of it in the last fifth" if epochs > 1 else ""
    return [f"AdamW at {recipe.rate:g} after {warmup} steps of warm-up{end} (the config's {was}); factors of layers "
            f"{'and groups ' if groups else ''}stay"]
