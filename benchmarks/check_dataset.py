#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""How long check-data takes for 10,000 pictures like photographs: JPEGs of 640x480 with boxes in COCO's layout.

The pictures are windows of scikit-image's photographs under other light, with coloured noise; some are copies, some
cut off. The figure is that of the command itself, with the start of Python and the page.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from machine import about

REPO = Path(__file__).resolve().parents[1]
SIDES = 640, 480
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "immunohistochemistry")
QUALITY = 90


def picture(number):
    """RGB [480, 640, 3]: a window of a photograph, other light and noise for each number."""
    from skimage import data

    rng = np.random.default_rng(number)
    image = getattr(data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])()
    height, width = image.shape[:2]
    share = rng.uniform(0.3, 0.9)
    cut = int(height * share), int(min(width, height * 4 / 3) * share)
    top, left = rng.integers(0, height - cut[0] + 1), rng.integers(0, width - cut[1] + 1)
    image = cv2.resize(image[top:top + cut[0], left:left + cut[1]], SIDES, interpolation=cv2.INTER_CUBIC)
    noise = cv2.resize(rng.normal(0, 25, (60, 80, 3)).astype(np.float32), SIDES, interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 6, (SIDES[1], SIDES[0], 1)).astype(np.float32)
    return np.clip(image * rng.uniform(0.7, 1.2) + noise + grain, 0, 255).astype(np.uint8)


def write(folder, numbers):
    for number in numbers:
        cv2.imwrite(f"{folder}/{number:06}.jpg", picture(number)[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))


def make(root, count, workers):
    """A COCO data set of ``count`` pictures with three boxes each, four fifths of them for training."""
    folder = root / "images"
    folder.mkdir(parents=True)
    (root / "annotations").mkdir()
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(write, [folder] * workers, [range(first, count, workers) for first in range(workers)]))
    rng = np.random.default_rng(0)
    splits = {"train": range(count * 4 // 5), "val": range(count * 4 // 5, count)}
    for split, numbers in splits.items():
        images = [{"id": n + 1, "file_name": f"images/{n:06}.jpg", "width": SIDES[0], "height": SIDES[1]}
                  for n in numbers]
        annotations = [{"id": 3 * n + k + 1, "image_id": n + 1, "category_id": int(rng.integers(1, 11)), "iscrowd": 0,
                        "bbox": [float(x), float(y), float(w), float(h)], "area": float(w * h)}
                       for n in numbers for k in range(3)
                       for x, y, w, h in [rng.integers((0, 0, 10, 10), (320, 240, 300, 230))]]
        (root / "annotations" / f"{split}.json").write_text(json.dumps({
            "images": images, "annotations": annotations,
            "categories": [{"id": n, "name": f"class {n}"} for n in range(1, 11)]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", help="make the set here, or take what is there (default: a folder that "
                        "goes at the end)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.data or Path(folder) / "data")
        if not root.exists():
            make(root, args.count, args.workers)
        before, start = os.getloadavg(), time.perf_counter()
        done = subprocess.run([sys.executable, str(REPO / "tools" / "check_dataset.py"), str(root), "--workers",
                               str(args.workers), "--output_dir", f"{folder}/out"], capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode not in (0, 1):
            sys.exit(done.stderr)
        size = sum(path.stat().st_size for path in (root / "images").iterdir())
        print(done.stdout)
        print(json.dumps({"pictures": args.count, "megabytes": round(size / 1e6), "workers": args.workers,
                          "seconds": round(seconds, 1), "load before": before, **about("opencv-python", "pillow")}))


if __name__ == "__main__":
    main()
