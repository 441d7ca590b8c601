# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Checks of a data set in COCO format. ppdet skips or dies on what is wrong here, without saying where."""
from __future__ import annotations

import codecs
import itertools
import json
import logging
import math
import os
from pathlib import Path

import numpy as np

from ..config.rules import shown
from ..errors import UserError, printable
from . import contents
from .dataset_config import Source
from .images import check_headers

logger = logging.getLogger("ppdet.engine")

NEEDED = {"images": ("id", "file_name", "height", "width"), "categories": ("id", "name"),
          "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd")}
OPTIONAL = {"annotations": ("track_id",)}  # ppdet reads it where it is there
LARGEST_ID = 2 ** 63 - 1  # ppdet keeps an image's id in int64; some tools write hashes
DECIMALS = 3  # of the corners that ppdet keeps
LARGEST = 1e12  # of a coordinate, and more than any picture has


def _is_id(value):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_ID


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value):
    return isinstance(value, str)


# kind of a value -> (how it is told, words for it)
KINDS = {"id": (_is_id, "a whole number below 2^63"), "number": (_is_number, "a number"), "text": (_is_text, "text"),
         "list": (lambda value: isinstance(value, list), "a list"),
         "flag": (lambda value: isinstance(value, (int, float)) and value in (0, 1), "a number: 0 or 1")}
VALUES = {"id": "id", "image_id": "id", "category_id": "id", "track_id": "id", "file_name": "text", "name": "text",
          "bbox": "list", "height": "number", "width": "number", "area": "number", "iscrowd": "flag"}
BOX_TEXTS = {"no area": "have a good bbox but no positive area, and would be left out (write width*height as area)",
             "broken": "have a bbox that is not [x, y, width, height] with positive sizes",
             "outside": "have a bbox wholly outside the image",
             "empty": "have a bbox without area and are left out",
             "over": "reach over the image's border and are clipped"}


def load(path: Path, where: str) -> dict:
    """The annotation file's content. UserError where it is missing or is not a JSON object."""
    if not os.path.isfile(path):
        raise UserError(f"{where}: annotation file '{path}' is missing; put it there, or set {where}.dataset_dir and "
                        f"{where}.anno_path")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:  # UnicodeDecodeError is one too
        if _has_mark(path):
            raise UserError(f"{where}: '{path}' begins with a byte order mark; save it as UTF-8 without one") from None
        raise UserError(f"{where}: '{path}' is not JSON ({error})") from None
    except RecursionError:
        raise UserError(f"{where}: '{path}' is not in COCO format: its lists or objects nest too deep") from None
    except OSError as error:
        raise UserError(f"{where}: cannot read '{path}' ({error.strerror})") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: '{path}' is not in COCO format (a JSON {type(content).__name__}, not an object)")
    return content


def _has_mark(path):
    """Whether a file begins as some editors of Windows begin it; pycocotools does not take that."""
    with open(path, "rb") as file:
        return file.read(3) == codecs.BOM_UTF8


def _check_structure(content, path, sections):
    """Every section is a list of objects with the keys that ppdet and pycocotools read, of the right type."""
    for section in sections:
        records = content.get(section)
        if not isinstance(records, list):
            raise UserError(f"'{path}' is not in COCO format: it has no list '{section}'")
        for key in NEEDED[section]:
            for number, record in enumerate(records):
                if not isinstance(record, dict) or key not in record:
                    raise UserError(f"'{path}': {section}[{number}] has no {key}")
        for key in (*NEEDED[section], *OPTIONAL.get(section, ())):
            fits, words = KINDS[VALUES[key]]
            for number, record in enumerate(records):
                if key in record and not fits(record[key]):
                    raise UserError(f"'{path}': {section}[{number}]: {key} is {shown(record[key])}, not {words}")


def categories(content: dict, path: Path, say: bool = False) -> list[tuple[int, str]]:
    """[(id, name)] in ppdet's class order, which is the file's own.

    With ``say``, ids other than 0..n-1 in order are reported with what they become.
    """
    _check_structure(content, path, ["categories"])
    pairs = [(record["id"], record["name"]) for record in content["categories"]]
    ids = [number for number, _ in pairs]
    if not ids:
        raise UserError(f"'{path}' has no categories; a detector needs at least one")
    for number in ids:
        if ids.count(number) > 1:
            raise UserError(f"'{path}': category id {number} is there twice")
    _check_distinct(content, pairs, path)
    if say and ids != list(range(len(ids))):
        shown = ", ".join(f"{number} '{printable(name)}' -> {place}" for place, (number, name) in enumerate(pairs[:5]))
        logger.info("Category ids of '%s' are remapped to 0..%d: %s%s", path, len(ids) - 1, shown,
                    ", ..." if len(ids) > 5 else "")
    return pairs


def _check_distinct(content, pairs, path):
    """Raise UserError where two categories have one name: then neither AP nor boxes can say which is meant."""
    names = [name for _, name in pairs]
    twice = next((name for place, name in enumerate(names) if names.index(name) != place), None)
    if twice is None:
        return
    boxes = [record.get("category_id") for record in content.get("annotations") or () if isinstance(record, dict)]
    same = {number: boxes.count(number) for number, name in pairs if name == twice}
    unused = next((number for number, count in same.items() if not count), None)
    advice = "give them different names, or make them one" if unused is None or not boxes else \
        f"take out category {unused}, which no box has (label tools write the project's name there), or rename it"
    which = " and ".join(f"{number} ({count} boxes)" for number, count in same.items())
    raise UserError(f"'{path}': categories {which} are both called '{printable(twice)}'; {advice}")


def check(source: Source, needs_boxes: bool = True) -> contents.Contents:
    """Check one data set: structure, ids, images on disk, boxes.

    Args:
        needs_boxes: whether a set without boxes is a mistake.

    Raises:
        UserError: the first problem, with the count where there may be many.
    """
    path = source.anno_file
    if path.suffix != ".json":
        raise UserError(f"{source.section}.anno_path is '{source.anno_path}'; ppdet reads COCO annotations from a file "
                        "whose name ends in .json")
    content = load(path, source.section)
    pairs = categories(content, path, say=True)
    _check_structure(content, path, ["images", "annotations"])
    if not content["images"]:
        raise UserError(f"'{path}' lists no images")
    if source.trains and not content["annotations"]:
        raise UserError(f"'{path}' has no annotations; there is nothing to learn from")
    _check_sizes(content["images"], path)
    _check_references(content, path, {number for number, _ in pairs})
    _check_files(source, content["images"])  # before the boxes, which exchanged sizes would put outside
    empty = _check_boxes(content, path)
    _count(source, content, empty, needs_boxes)
    return contents.Contents(pairs, *_fullest(content))


def _count(source, content, empty, needs_boxes):
    """One line on crowds, ignored boxes and background images."""
    annotations = content["annotations"]
    masks = {"iscrowd: 1": np.array([bool(annotation["iscrowd"]) for annotation in annotations], bool),
             "ignore: 1": np.array([bool(annotation.get("ignore")) for annotation in annotations], bool),
             "without area": empty}
    facts = {name: int(mask.sum()) for name, mask in masks.items()}
    unused = [masks[name] for name in contents.UNUSED[source.trains] if name in masks
              and not (name == "iscrowd: 1" and source.trains and source.load_crowd)]
    usable = ~np.any(unused, axis=0)
    filled = {annotation["image_id"] for annotation in itertools.compress(annotations, usable)}
    facts["background images"] = len(content["images"]) - len(filled)
    contents.summary(source, facts, len(annotations), len(content["images"]), int(usable.sum()), needs_boxes)


def _fullest(content):
    most, of_class, image = contents.fullest([(annotation["image_id"], annotation["category_id"])
                                              for annotation in content["annotations"] if not annotation["iscrowd"]])
    return most, of_class, next((found["file_name"] for found in content["images"] if found["id"] == image), "")


def _check_sizes(images, path):
    seen = set()
    for image in images:
        if image["id"] in seen:
            raise UserError(f"'{path}': image id {image['id']} is there twice (the second time for "
                            f"'{image['file_name']}'); give each image an id of its own")
        seen.add(image["id"])
        if not all(0 < image[side] <= LARGEST for side in ("width", "height")):  # nan is neither
            raise UserError(f"'{path}': image '{image['file_name']}' has the size {image['width']}x{image['height']}")


def _check_references(content, path, known):
    """Annotations have ids of their own, and point at categories and images that exist."""
    images = {image["id"] for image in content["images"]}
    seen = set()
    for annotation in content["annotations"]:
        # pycocotools keeps the last of an id, in the place of both: its box would go to the other's image, too
        if annotation["id"] in seen:
            raise UserError(f"'{path}': annotation id {annotation['id']} is there twice (the second time for image id "
                            f"{annotation['image_id']}); give each annotation an id of its own")
        seen.add(annotation["id"])
        if annotation["category_id"] not in known:
            shown = ", ".join(map(str, sorted(known, key=str)[:10])) + (", ..." if len(known) > 10 else "")
            raise UserError(f"'{path}': annotation id {annotation['id']} has the unknown category id "
                            f"{annotation['category_id']} (known: {shown})")
        if annotation["image_id"] not in images:
            raise UserError(f"'{path}': annotation id {annotation['id']} belongs to image id "
                            f"{annotation['image_id']}, which is not among the images")


def _as_box(values):
    """[x, y, w, h], or NaNs for what is no box."""
    good = len(values) == 4 and all(_is_number(value) and abs(value) <= LARGEST for value in values)
    return values if good else [math.nan] * 4


def box_problems(boxes: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Sort boxes by what is wrong with them; a box counts once.

    Args:
        boxes: [n, 4] as x, y, width, height in pixels.
        sizes: [n, 2], width and height of their images.

    Returns:
        Bool masks [n]: 'broken' and 'outside' cannot be trained on, 'empty' ones are left out, 'over' ones reach over
        the border by more than a pixel.
    """
    broken = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    outside = ~broken & (boxes[:, 2:] > 0).all(1) & ((low >= sizes) | (high <= 0)).any(1)
    empty = ~broken & ~outside & ~has_area(low, high, sizes)
    over = ~broken & ~empty & ~outside & ((low < 0) | (high > sizes + 1)).any(1)
    return {"broken": broken, "outside": outside, "empty": empty, "over": over}


def has_area(low: np.ndarray, high: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes have an area once they are rounded, as ppdet does it, and cut at the border: bool [n].

    Args:
        low, high: [n, 2], their upper left and lower right corners in pixels.
        sizes: [n, 2], width and height of their images.
    """
    low, high = (np.clip(np.round(corner, DECIMALS), 0, sizes) for corner in (low, high))
    return (high.astype("float32") > low.astype("float32")).all(1)


def _check_boxes(content, path):
    """Boxes broken, outside the image or of area 0: an error; empty ones and those over the border: a warning.

    Returns the mask of the empty ones.
    """
    annotations, images = content["annotations"], {image["id"]: image for image in content["images"]}
    owners = [images[annotation["image_id"]] for annotation in annotations]
    boxes = np.array([_as_box(annotation["bbox"]) for annotation in annotations], "float64").reshape(-1, 4)
    sizes = np.array([(image["width"], image["height"]) for image in owners], "float64").reshape(-1, 2)
    masks = box_problems(boxes, sizes)
    if annotations:
        example = f"annotation id {annotations[0]['id']} of '{owners[0]['file_name']}': {shown(annotations[0]['bbox'])}"
        contents.require_pixels(boxes, sizes, example, path, "[x, y, width, height]")
        contents.require_sizes(boxes, masks["over"], sizes, example, path)
    without = np.array([not annotation["area"] > 0 for annotation in annotations], bool)  # nan too
    masks["no area"] = without & ~masks["broken"] & ~masks["outside"] & ~masks["empty"]
    found = {problem: np.flatnonzero(mask) for problem, mask in masks.items()}
    for problem, places in found.items():
        if not len(places):
            continue
        annotation, image = annotations[places[0]], owners[places[0]]
        text = (f"'{path}': {len(places)} annotations {BOX_TEXTS[problem]}; first: annotation id {annotation['id']} of "
                f"'{image['file_name']}' ({image['width']}x{image['height']}): {shown(annotation['bbox'])}")
        if problem in ("broken", "outside", "no area"):
            raise UserError(text)
        logger.warning(printable(text, 1000))
    return masks["empty"]


def _check_files(source, images):
    folder = source.image("")
    paths = [os.path.join(folder, image["file_name"]) for image in images]
    stray = source.stray(paths)
    if stray is not None:
        raise UserError(f"{source.section}: the annotations name '{stray}', outside the data set's folder "
                        f"'{source.dataset_dir}'; write file names relative to image_dir, or name a folder that holds "
                        "them all as dataset_dir")
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(f"{source.section}: {len(missing)} of {len(paths)} images are missing; first: '{missing[0]}' "
                        f"(dataset_dir '{source.dataset_dir}' + image_dir '{source.image_dir}' + file_name)")
    check_headers(paths, [(image["width"], image["height"]) for image in images])
