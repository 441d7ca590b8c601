#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A small real data set, in COCO's format: tree crowns in aerial photographs, drawn by hand.

The photographs (National Ecological Observatory Network, USA) and the boxes come with the package deepforest (MIT):

    pip download --no-deps deepforest==2.1.0 && python benchmarks/tree_crowns.py deepforest-*.whl dataset/tree_crowns

Four photographs are cut into squares that do not overlap. The right third of the largest one, and all of another
place's, are the val split.
"""
import argparse
import json
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import cv2
import numpy as np

SIDE = 200  # pixels of a square
LEAST = 0.4  # share of a crown that is in a square; less is left out
# photograph -> the share of its width that is for training
PHOTOGRAPHS = {"2019_YELL_2_528000_4978000_image_crop2": 0.67, "2019_YELL_2_541000_4977000_image_crop": 0.0,
               "OSBS_029": 1.0, "SOAP_061": 1.0}


def boxes_of(text):
    corners = ("xmin", "ymin", "xmax", "ymax")
    return np.array([[float(one.find(f"bndbox/{name}").text) for name in corners]
                     for one in ElementTree.fromstring(text).iter("object")])


def squares(image, boxes):
    """(left edge, square, its boxes) for each square that has a crown."""
    for top in range(0, image.shape[0] - SIDE // 2, SIDE):
        for left in range(0, image.shape[1] - SIDE // 2, SIDE):
            square = image[top:top + SIDE, left:left + SIDE]
            limits = [left, top, left + square.shape[1], top + square.shape[0]]
            inside = np.clip(boxes, limits[:2] * 2, limits[2:] * 2)
            shares = np.prod(inside[:, 2:] - inside[:, :2], axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
            if (shares >= LEAST).any():
                yield left, square, inside[shares >= LEAST] - (limits[:2] * 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    splits = {name: {"images": [], "annotations": [], "categories": [{"id": 0, "name": "tree"}]}
              for name in ("train", "val")}
    with zipfile.ZipFile(args.wheel) as wheel:
        for name, share in PHOTOGRAPHS.items():
            image = cv2.imdecode(np.frombuffer(wheel.read(f"deepforest/data/{name}.png"), np.uint8), cv2.IMREAD_COLOR)
            for left, square, boxes in squares(image, boxes_of(wheel.read(f"deepforest/data/{name}.xml"))):
                split = "train" if left + SIDE <= share * image.shape[1] or share == 1.0 else "val"
                write(args.output, split, splits[split], square, boxes)
    (args.output / "annotations").mkdir(exist_ok=True)
    for split, content in splits.items():
        (args.output / "annotations" / f"{split}.json").write_text(json.dumps(content))
        print(split, len(content["images"]), "pictures,", len(content["annotations"]), "crowns")


def write(folder, split, content, square, boxes):
    number = len(content["images"])
    (folder / split).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / split / f"{number:04d}.png"), square)
    content["images"].append({"id": number, "file_name": f"{number:04d}.png", "height": square.shape[0],
                              "width": square.shape[1]})
    for x1, y1, x2, y2 in boxes.round(2).tolist():
        content["annotations"].append({"id": len(content["annotations"]) + 1, "image_id": number, "category_id": 0,
                                       "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})


if __name__ == "__main__":
    main()
