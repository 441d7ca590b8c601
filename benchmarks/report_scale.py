# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Seconds and memory of a report at the size of COCO val: 5,000 images, 80 classes, 300 made-up detections each."""
import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = 640, 480


def boxes(rng, count):
    """[count, 4] of x, y, width, height: log-uniform sizes."""
    width, height = (np.exp(rng.uniform(np.log(8), np.log(side / 1.5), count)) for side in SIZE)
    return np.stack([rng.uniform(0, SIZE[0] - width), rng.uniform(0, SIZE[1] - height), width, height], 1).round(2)


def write(folder, images, classes, detections, seed=0):
    """Annotations and a bbox.json: of seven objects an image most are found, the other detections are noise."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for image in range(1, images + 1):
        count = rng.poisson(7.3)
        true, labels = boxes(rng, count), rng.integers(1, classes + 1, count)
        objects += [{"id": len(objects) + n + 1, "image_id": image, "category_id": int(label), "bbox": box.tolist(),
                     "area": float(box[2] * box[3] * 0.6), "iscrowd": int(rng.random() < 0.01)}
                    for n, (box, label) in enumerate(zip(true, labels))]
        noise = boxes(rng, max(detections - 2 * count, 0))
        near = np.repeat(true, 2, 0) * rng.normal(1, 0.05, (2 * count, 4))
        guess = np.where(rng.random(2 * count) < 0.8, np.repeat(labels, 2), rng.integers(1, classes + 1, 2 * count))
        score = np.concatenate([rng.beta(4, 2, 2 * count), rng.beta(1, 20, len(noise))])
        for box, label, value in zip(np.concatenate([near, noise]), [*guess, *rng.integers(1, classes + 1, len(noise))],
                                     score):
            found.append({"image_id": image, "category_id": int(label), "bbox": box.round(2).tolist(),
                          "score": float(value)})
    content = {"images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": SIZE[0], "height": SIZE[1]}
                          for i in range(1, images + 1)],
               "categories": [{"id": i, "name": f"class {i}"} for i in range(1, classes + 1)], "annotations": objects}
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "bbox.json").write_text(json.dumps(found))


def peak():
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where the files lie (made there if they do not)")
    args = parser.parse_args()
    from ppdet_ext.report import box_tables, class_results, error_kinds, evaluation_part, run_page

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "bbox.json").exists():
            write(folder, args.images, args.classes, args.detections)
            print("written; run again with the same --folder for memory without the making")
        start = time.process_time()

        def step(name):
            print(f"{name:<30} {time.process_time() - start:7.1f} s of CPU, peak {peak()} MiB", flush=True)

        step("start")
        truth, found = box_tables.read(folder / "truth.json", folder / "bbox.json")
        step("files read")
        errors = error_kinds.analyse(truth, found)
        step("errors by kind")
        results = class_results.class_results(truth, found)
        step("each class at ten IoUs")
        part = evaluation_part.evaluation_part(errors, results, {})
        path = run_page.write(run_page.Page("scale", run_page.EVALUATION, evaluation=part), folder)
        step(f"page of {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
