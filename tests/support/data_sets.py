# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Tiny data sets and configs for the data tests."""
import json

import cv2
import numpy as np
import yaml

from ppdet_ext.config import config_file

SIZE = (40, 30)  # width, height
NAMES = ["cat", "dog"]

TRANSFORMS = [{"Decode": {}}, {"Resize": {"target_size": [32, 32], "keep_ratio": False, "interp": 1}},
              {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}, {"Permute": {}}]


def write_images(folder, count=3):
    """``count`` JPEG files of SIZE; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        picture = np.random.default_rng(number).integers(0, 255, (SIZE[1], SIZE[0], 3)).astype("uint8")
        cv2.imwrite(str(folder / name), picture)
    return names


def coco_content(names):
    """COCO annotations: one box an image, classes in turn."""
    return {
        "images": [{"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, name in enumerate(names)],
        "annotations": [{"id": 100 + i, "image_id": i, "category_id": i % len(NAMES), "bbox": [5, 6, 10, 12],
                         "area": 120, "iscrowd": 0} for i in range(len(names))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
    }


def write_coco(root, change=None):
    """A COCO set under ``root``: images/, annotations/train.json; ``change`` edits the annotations before writing."""
    content = coco_content(write_images(root / "images"))
    if change:
        change(content)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "train.json").write_text(json.dumps(content))
    return root


def write_voc(root, boxes=((5, 6, 15, 18),), names=NAMES):
    """A VOC set under ``root``: images/, xml/, train.txt, label_list.txt."""
    lines = []
    (root / "xml").mkdir(parents=True)
    for number, image in enumerate(write_images(root / "images")):
        objects = "".join(
            f"<object><name>{names[number % len(names)]}</name><difficult>0</difficult><bndbox><xmin>{x1}</xmin>"
            f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>" for x1, y1, x2, y2 in boxes)
        (root / "xml" / f"{number}.xml").write_text(
            f"<annotation><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>{objects}</annotation>")
        lines.append(f"images/{image} xml/{number}.xml")
    (root / "train.txt").write_text("\n".join(lines) + "\n")
    (root / "label_list.txt").write_text("\n".join(NAMES) + "\n")
    return root


def coco_values(root, **top):
    """Config values of a COCO set with two classes."""
    data = {"name": "COCODataSet", "dataset_dir": str(root), "image_dir": "images",
            "anno_path": "annotations/train.json", "data_fields": ["image", "gt_bbox", "gt_class", "is_crowd"]}
    readers = {name: {"sample_transforms": [dict(entry) for entry in TRANSFORMS], "batch_size": 1}
               for name in ("TrainReader", "EvalReader", "TestReader")}
    return {"metric": "COCO", "num_classes": len(NAMES), "TrainDataset": dict(data), "EvalDataset": dict(data),
            "TestDataset": {"name": "ImageFolder", "dataset_dir": str(root), "anno_path": data["anno_path"]},
            **readers, **top}


def load(tmp_path, values, options=()):
    """``values`` through a YAML file into ppdet's global config, as the tools load it."""
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(values))
    return config_file.load(path, options)
