# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Photographs of scikit-image's wheel, as weights want them, and what ImageNet calls what is on them."""
from pathlib import Path

import cv2
import numpy as np
import skimage.data

CATS = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}
# photograph -> ImageNet classes that are right for it (the best class must be one of them)
PHOTOGRAPHS = {
    "chelsea.png": CATS,
    "coffee.png": {967: "espresso", 968: "cup", 504: "coffee mug"},
    "rocket.jpg": {657: "missile", 812: "space shuttle"},  # there is no class of rockets
    "camera.png": {872: "tripod"},
    "motorcycle_left.png": {665: "moped", 670: "motor scooter"},
}


def photograph(name, meta):
    """[3, H, W] float32: resized, centre-cropped and normalised as the weights' own metadata says."""
    size = meta["input_size"][-1]
    image = cv2.cvtColor(cv2.imread(str(Path(skimage.data.__file__).parent / name)), cv2.COLOR_BGR2RGB)
    scale = size / meta["crop_pct"] / min(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = ((length - size) // 2 for length in image.shape[:2])
    image = image[top:top + size, left:left + size].astype(np.float32) / 255
    return ((image - np.float32(meta["mean"])) / np.float32(meta["std"])).transpose(2, 0, 1)
