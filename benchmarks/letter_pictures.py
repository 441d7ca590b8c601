#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A second data set beside the sample set: printed letters over photographs, a relief and textures; COCO format.

python benchmarks/letter_pictures.py --root dataset/letters --preview letters.png

Nothing of it is in the sample set of digits, and train and val share neither font nor picture. The same seed makes the
same files; the last line is their SHA-256. Fonts are those of matplotlib's wheel: DejaVu (Bitstream Vera's licence),
STIX (SIL Open Font License), Computer Modern (BaKoMa's licence). Pictures: Grace Hopper's portrait (U.S. Navy, public
domain) and the elevation of Jacksboro (USGS, public domain) from matplotlib; cell.png, microaneurysms.png (both CC0)
and clock_motion.png (public domain) from scikit-image.
"""
import argparse
import functools
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from ppdet_ext.data.digit_pictures import colour, photograph, shared_part
from ppdet_ext.files import temporary_folder

ROOT = "dataset/letters"
CLASSES = "ABDEGHKMRSTX"
# split -> (number, fonts, photographs as (package, file), kinds of texture, a relief)
SPLITS = {
    "train": (0, ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono-Bold", "STIXGeneral", "cmr10",
                  "cmtt10"),
              (("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"), ("skimage", "data/cell.png"),
               ("skimage", "data/microaneurysms.png"), ("relief", "jacksboro_fault_dem.npz")), ("clouds", "cells")),
    "val": (1, ("DejaVuSans-Bold", "DejaVuSerif-Italic", "DejaVuSansMono", "STIXGeneralBol", "cmb10", "cmss10"),
            (("skimage", "data/clock_motion.png"),), ("clouds", "waves")),
}
COUNTS = {"train": 400, "val": 80}
HEIGHT, CONTRAST, OVERLAP, MOST, BLUR = (0.20, 0.50), 70, 0.20, 5, 0.8  # as in the digits' medium difficulty


# ---------------------------------------------------------------- backgrounds
@functools.cache
def picture(package, name):
    """RGB uint8 [H, W, 3]: a photograph, or an elevation lit from one side."""
    if package != "relief":
        return photograph(package, name)
    import matplotlib
    heights = np.load(Path(matplotlib.get_data_path()) / "sample_data" / name)["elevation"].astype("float32")
    light = np.gradient(heights)[0] + np.gradient(heights)[1]
    grey = cv2.normalize(np.clip(light, *np.percentile(light, (2, 98))), None, 0, 255, cv2.NORM_MINMAX)
    return np.repeat(grey[..., None], 3, 2).astype("uint8")


def texture(rng, kind, width, height):
    """RGB uint8 [h, w, 3]: a mixture of two colours by a map that ``kind`` names."""
    rows, columns = np.mgrid[:height, :width].astype("float32")
    if kind == "clouds":
        part = sum(cv2.resize(rng.random((2 ** level + 1, 2 ** level + 1)).astype("float32"), (width, height),
                              interpolation=cv2.INTER_CUBIC) / 2 ** level for level in range(1, 7))
    elif kind == "cells":
        points = rng.random((int(rng.integers(10, 40)), 2)) * (height, width)
        part = np.sqrt(np.min([(rows - y) ** 2 + (columns - x) ** 2 for y, x in points], axis=0))
    else:
        part = sum(np.sin((rows * np.sin(angle) + columns * np.cos(angle)) / length)
                   for angle, length in zip(rng.uniform(0, np.pi, 3), rng.uniform(3, 25, 3)))
    part = (part - part.min()) / (part.max() - part.min())
    one, other = rng.uniform(0, 255, (2, 3))
    return (one + part[..., None] * (other - one)).astype("uint8")


def background(rng, split, size):
    """RGB uint8 [h, w, 3], one side ``size``, the other 0.75 to 1 of it: half of them textures."""
    _, _, pictures, textures = SPLITS[split]
    short = round(size * rng.uniform(0.75, 1))
    width, height = (size, short) if rng.random() < 0.5 else (short, size)
    if rng.random() < 0.5:
        return texture(rng, textures[rng.integers(len(textures))], width, height)
    whole = picture(*pictures[rng.integers(len(pictures))])
    scale = min(whole.shape[1] / width, whole.shape[0] / height) * rng.uniform(0.4, 1)
    wide, high = max(1, int(width * scale)), max(1, int(height * scale))
    x, y = rng.integers(whole.shape[1] - wide + 1), rng.integers(whole.shape[0] - high + 1)
    crop = whole[y:y + high, x:x + wide][:, ::int(rng.choice((-1, 1)))]
    return cv2.resize(np.ascontiguousarray(crop), (width, height),
                      interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR)


# ---------------------------------------------------------------- letters
@functools.cache
def glyph(font, letter):
    """Opacity 0..1, float32 [h, w], large, cut to the ink."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    face = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"), 160)
    canvas = Image.new("L", (320, 320))
    ImageDraw.Draw(canvas).text((60, 40), letter, font=face, fill=255)
    return np.asarray(canvas.crop(canvas.getbbox()), dtype="float32") / 255


def ink(rng, font, letter, height):
    """Opacity 0..1, float32 [h, w], h near ``height``: the letter, slightly turned and stretched, cut to its ink."""
    shape = np.pad(glyph(font, letter), 60)
    middle = shape.shape[1] / 2, shape.shape[0] / 2
    turn = cv2.getRotationMatrix2D(middle, rng.uniform(-15, 15), 1)
    turn[0] *= rng.uniform(0.8, 1.2)
    turn[0, 2] += middle[0] - turn[0] @ (*middle, 1)
    turned = cv2.warpAffine(shape, turn, shape.shape[::-1])
    rows, columns = np.where((turned > 0.5).any(1))[0], np.where((turned > 0.5).any(0))[0]
    cut = turned[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    wide = max(2, round(cut.shape[1] * height / cut.shape[0]))
    return cv2.resize(cut, (wide, max(2, round(height))), interpolation=cv2.INTER_AREA)


def draw(split, number, size, seed):
    """Picture ``number`` of a split: (RGB uint8 [h, w, 3], [(class, (x, y, w, h))])."""
    code, fonts, _, _ = SPLITS[split]
    rng = np.random.default_rng([seed, 7, code, number])
    image = background(rng, split, size).astype("float32")
    labels, boxes = [], []
    for _ in range(rng.integers(1, MOST + 1)):
        label = int(rng.integers(len(CLASSES)))
        opacity = ink(rng, fonts[rng.integers(len(fonts))], CLASSES[label],
                      rng.uniform(*HEIGHT) * min(image.shape[:2]))
        h, w = opacity.shape
        for x, y in rng.integers(0, (max(1, image.shape[1] - w + 1), max(1, image.shape[0] - h + 1)), (30, 2)).tolist():
            patch = image[y:y + h, x:x + w]
            if patch.shape[:2] == (h, w) and shared_part((x, y, w, h), boxes) <= OVERLAP:
                mask = opacity[..., None] * rng.uniform(0.9, 1)
                patch[:] = patch * (1 - mask) + colour(rng, patch, CONTRAST) * mask
                labels.append(label)
                boxes.append((x, y, w, h))
                break
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.05, BLUR))
    image = image * rng.uniform(0.85, 1.1) + rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype("uint8"), list(zip(labels, boxes))


def _write(folder, split, count, size, seed):
    (folder / split).mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        pixels, objects = draw(split, number, size, seed)
        name = f"{number:06d}.jpg"
        (folder / split / name).write_bytes(cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
        images.append({"id": number + 1, "file_name": name, "height": pixels.shape[0], "width": pixels.shape[1]})
        annotations += [{"id": len(annotations) + place, "image_id": number + 1, "category_id": label, "iscrowd": 0,
                         "bbox": list(box), "area": box[2] * box[3]} for place, (label, box) in enumerate(objects, 1)]
    categories = [{"id": place, "name": name} for place, name in enumerate(CLASSES)]
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(
        {"images": images, "annotations": annotations, "categories": categories}))


def make(root, seed=0, size=320, counts=None):
    """Write the set to ``root`` in one stroke, unless there is one; its SHA-256."""
    root = Path(root)
    if not root.exists():
        with temporary_folder(root) as work:
            for split, count in (counts or COUNTS).items():
                _write(work / "new", split, count, size, seed)
            (work / "new").rename(root)
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return total.hexdigest()


def sections():
    """What a config says of the set."""
    train = {"image_dir": "train", "anno_path": "annotations/train.json", "dataset_dir": ROOT}
    val = {"image_dir": "val", "anno_path": "annotations/val.json", "dataset_dir": ROOT}
    return {"num_classes": len(CLASSES), "TrainDataset": train, "EvalDataset": val,
            "TestDataset": {"anno_path": "annotations/val.json", "dataset_dir": ROOT}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=ROOT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preview", metavar="PNG", help="also draw a grid of validation pictures with their boxes")
    args = parser.parse_args()
    found = make(args.root, args.seed)
    if args.preview:
        from PIL import Image

        from ppdet_ext.data import sample
        Image.fromarray(sample.preview(args.root, "val")).save(args.preview)
    print(f"{args.root}: sha256 {found}")


if __name__ == "__main__":
    main()
