# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Data sets are looked at before anything is built or written: one clear line per mistake."""
from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UserError
from . import coco, contents, dataset_config, reader_checks, reading, voc

logger = logging.getLogger("ppdet.engine")

# class counts for which ppdet knows the names without a file
BUILT_IN = {"COCO": 80, "VOC": 20}
CHECKS = {"COCODataSet": coco.check, "VOCDataSet": voc.check}


def check(cfg: dict, mode: str, validate: bool | None = None) -> None:
    """Check the data sets that ``mode`` uses. Reads annotations whole, but of the images only a few headers.

    Args:
        cfg: ppdet's global config.
        mode: 'train', 'eval' or 'test' (inference and export: only the class names are needed).
        validate: whether training evaluates too; None checks EvalDataset only where its annotation file is there.

    Raises:
        UserError: the first mistake found.
    """
    reader_checks.check(cfg, mode)
    classes: dict[dataset_config.Source, list[str]] = {}
    for section in _sections(cfg, mode, validate):
        data = dataset_config.read(cfg, section)
        if data is None:
            raise UserError(f"the config has no {section}; add one (configs/datasets/ has examples)")
        found = _label_names(cfg, data) if section == "TestDataset" else _checked(cfg, data)
        if found:
            _check_num_classes(cfg, data, found)
            classes[data] = [name for _, name in found]
    _check_same_classes(classes)


def keep_background(cfg: dict) -> None:
    """Let evaluation see the pictures without objects too, whatever ``EvalDataset`` says: what is found there is wrong.

    By itself ppdet leaves them out, and AP is that of an easier set.
    """
    data = dataset_config.read(cfg, "EvalDataset")
    if data is None or data.kind not in CHECKS:
        return
    section, kept = cfg["EvalDataset"], {"allow_empty": True, "empty_ratio": 1.0}
    if isinstance(section, dict):
        section.update(kept)
    else:  # a YAML tag: the data set is there already
        vars(section).update(kept)


def readable_images(paths: Sequence[str], prepare: Callable[[dict], Any] | None = None) -> list[str]:
    """The images that can be read, in their order; the others are named in a warning.

    Args:
        prepare: a reader's sample transforms: images that they cannot take are left out, too.

    Raises:
        UserError: none can.
    """
    good, skipped = reading.split_readable(paths, prepare)
    for path, reason in skipped:
        logger.warning("Skipped %r: %s", path, reason)
    if not good:
        raise UserError(f"none of {len(skipped)} images can be read; first: '{skipped[0][0]}' ({skipped[0][1]})"
                        if skipped else "there are no images to read")
    return good


def _sections(cfg, mode, validate):
    if mode != "train":
        return {"eval": ["EvalDataset"], "test": ["TestDataset"]}[mode]
    data = dataset_config.read(cfg, "EvalDataset")
    if validate or (validate is None and data and data.anno_path and data.anno_file.is_file()):
        return ["TrainDataset", "EvalDataset"]
    return ["TrainDataset"]


def _checked(cfg, data):
    """[(id, name)] of a data set to train or evaluate on; None where its class is not ours to judge."""
    if data.kind not in CHECKS:
        return None
    found = CHECKS[data.kind](data, needs_boxes=data.trains or not cfg.get("save_prediction_only"))
    _check_room(cfg, data, found)
    return found.classes


def _check_room(cfg, data, found):
    """One line where a picture has more objects than can be found, or counted."""
    limits = [(f"{key} is {limit}", found.most, limit)
              for key, limit in rooms(cfg, ("num_queries",) if data.trains else ("num_queries", "num_top_queries"))]
    if not data.trains and str(cfg.get("metric", "")).upper() == "COCO":
        limits.append((f"pycocotools counts {contents.MOST_COUNTED} detections of a class in a picture",
                       found.most_of_class, contents.MOST_COUNTED))
    short = [words for words, there, limit in limits if there > limit]
    if short:
        logger.warning("'%s' has up to %d objects in a picture (%d of one class; fullest: '%s'), but %s: the others "
                       "cannot be found, or count as missed; raise the setting, or cut the pictures into smaller ones",
                       data.anno_file, found.most, found.most_of_class, found.example, ", and ".join(short))


def rooms(cfg: dict, keys: Sequence[str]) -> list[tuple[str, int]]:
    """('RTDETRTransformer.num_queries', 300), ... of the parts that the config's architecture uses."""
    heads = {name: cfg[name] for name in cfg if isinstance(cfg[name], dict)}
    used = [str(part) for part in heads.get(str(cfg.get("architecture")), {}).values() if isinstance(part, str)]
    return [(f"{name}.{key}", heads[name][key]) for name in used for key in keys
            if isinstance(heads.get(name, {}).get(key), int)]


def _label_names(cfg, data):
    """[(id, name)] that inference would print; None where ppdet's built-in names are meant (COCO's 80, VOC's 20)."""
    where = f"{data.section}.anno_path"
    if data.kind == "VOCDataSet":
        return voc.labels(data)
    if not data.anno_path or not data.anno_file.is_file():
        metric, count = str(cfg.get("metric", "")).upper(), cfg.get("num_classes")
        if BUILT_IN.get(metric) == count:
            return None
        raise UserError(f"{where}: '{data.anno_file}' is missing; it names the {count} classes (a COCO .json, or a "
                        ".txt with one name per line)")
    if data.anno_file.suffix == ".json":
        return coco.categories(coco.load(data.anno_file, data.section), data.anno_file)
    names = voc.read_label_file(data.anno_file, where)
    return names[1:] if names[0][1] == voc.BACKGROUND else names


def _check_num_classes(cfg, data, found):
    wanted = cfg.get("num_classes")
    if wanted == len(found):
        return
    shown = ", ".join(str(name) for _, name in found[:5]) + (", ..." if len(found) > 5 else "")
    file = data.label_file if data.kind == "VOCDataSet" else data.anno_file
    training = data.section == "TrainDataset"
    advice = "" if training else f"a list of the training's {wanted} classes is wanted here, all of them and in its " \
        "order, those without a box too; if the detector itself has other classes: "
    raise UserError(f"num_classes is {wanted}, but {data.section} has {len(found)} classes ({shown}; {file}); {advice}"
                    f"write 'num_classes: {len(found)}' in the config, or -o num_classes={len(found)}")


def _check_same_classes(classes):
    """All data sets number their classes alike (ppdet numbers each file's categories in the file's own order)."""
    (first, names), *others = list(classes.items()) or [(None, None)]
    for other, other_names in others:
        for place, (left, right) in enumerate(zip(names, other_names)):
            if left != right:
                raise UserError(f"class {place} is '{left}' in {first.section} ({first.anno_file}) but '{right}' in "
                                f"{other.section} ({other.anno_file}); list the categories in the same order")
