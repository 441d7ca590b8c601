#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Images per second of a config's TrainReader against those of a training step, and what each transform costs.

The data is the sample set (photographs with digits) at about 640x480. "ppdet" is ppdet's transforms as they come,
"ours" those of ppdet_ext.data.pixels: same pixels. Alternatives take turns.
"""
import argparse
import contextlib
import copy
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import ppdet_ext

ppdet_ext.setup()

import cv2
import numpy as np
import paddle
from machine import about
from ppdet.core.workspace import create
from ppdet.data import reader as readers
from side_by_side import compare

from ppdet_ext.config import config_file
from ppdet_ext.data import digit_pictures, normalization, sample, worker_threads
from ppdet_ext.patches import ledger

REPO = Path(__file__).resolve().parents[1]
SOURCES = ("ppdet", "ours")
FAST = ("fast_distort", "fast_normalize", "fast_pad", "fast_flip")


@contextlib.contextmanager
def transforms_of(source):
    """Inside, the transforms are ppdet's own ('ppdet') or as they are ('ours'); readers' workers inherit it."""
    with ledger.without(*FAST) if source == "ppdet" else contextlib.nullcontext():
        yield


def load(path, folder, images):
    """The config with the sample set in ``folder`` as its data."""
    sample.make(folder, digit_pictures.Spec(train=images, val=1, size=640))
    cfg = config_file.load(path, ["num_classes=10", f"TrainDataset.dataset_dir={folder}",
                             "TrainDataset.image_dir=train", "TrainDataset.anno_path=annotations/train.json"])
    normalization.resolve(cfg)
    return cfg


def make_reader(cfg, name="TrainReader", **settings):
    """The config's reader over its TrainDataset, at rest; with ``memory_cache`` the pictures are kept by now."""
    made = getattr(readers, name)(**{**cfg[name], "num_classes": cfg["num_classes"], **settings})
    made(create("TrainDataset")(), 0, return_list=True)
    for _ in made.loader:  # ppdet starts reading at once, and here the reading is timed
        pass
    made.dataset.set_epoch(1)
    return made


def data_loader(reader, workers, shared, **settings):
    """The DataLoader that ppdet makes for a reader."""
    return readers.DataLoader(dataset=reader.dataset, batch_sampler=reader._batch_sampler, num_workers=workers,
                              collate_fn=reader._batch_transforms, return_list=True, use_shared_memory=shared,
                              **settings)


# ---------------------------------------------------------------- transforms
def transform_times(reader, rounds):
    """{source: {transform: [ms per image]}} of CPU time on one thread, over the batches of ``rounds`` epochs.

    Both see the same images and random numbers. What is left over: collating and copies of annotations.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    times = {source: {} for source in SOURCES}
    for turn in range(rounds + 1):
        for source in SOURCES:
            np.random.seed(turn)
            with transforms_of(source):
                measured = one_epoch_by_transform(reader)
            for name, value in measured.items() if turn else ():
                times[source].setdefault(name, []).append(value)
    cv2.setNumThreads(threads)
    return times


def one_epoch_by_transform(reader):
    """{transform: ms per image}, the mean over the data set."""
    spent, size = {}, reader.batch_size
    steps = [*reader._sample_transforms.transforms_cls, *reader._batch_transforms.transforms_cls]
    records = [copy.deepcopy(record) for record in reader.dataset.roidbs]
    for start in range(0, len(records) - size + 1, size):
        batch = [{**record, "curr_iter": 0} for record in records[start:start + size]]
        for step in steps:
            began = time.process_time()
            batch = step(batch)
            name = type(step).__name__
            spent[name] = spent.get(name, 0.0) + time.process_time() - began
        began = time.process_time()
        np.stack([item["image"] for item in batch])
        spent["stack"] = spent.get("stack", 0.0) + time.process_time() - began
    return {name: value * 1e3 / (len(records) // size * size) for name, value in spent.items()}


def transform_rows(times):
    """Table rows: medians in ms per image, their share, and how many times faster ours is."""
    medians = {source: {name: float(np.median(values)) for name, values in times[source].items()} for source in SOURCES}
    totals = {source: sum(medians[source].values()) for source in SOURCES}
    rows = [{"transform": name, **{f"{source} ms": round(medians[source][name], 2) for source in SOURCES},
             "share of ours": f"{medians['ours'][name] / totals['ours']:.0%}",
             "ppdet / ours": round(medians["ppdet"][name] / max(medians["ours"][name], 1e-3), 1)}
            for name in medians["ours"]]
    rows.append({"transform": "all", **{f"{source} ms": round(totals[source], 2) for source in SOURCES},
                 "share of ours": "100%", "ppdet / ours": round(totals["ppdet"] / totals["ours"], 2)})
    return rows


# ---------------------------------------------------------------- reader
def epoch(reader, workers, shared, source="ours", **settings):
    """A function that reads one epoch, workers' start included."""
    def read():
        with transforms_of(source):
            batches = iter(data_loader(reader, workers, shared, **settings))
            for _ in batches:
                pass
        if workers:
            worker_threads.wait_for_the_end(batches)
    return read


def thread_rows(reader, workers, rounds):
    """Images per second of that many workers where OpenCV has all its threads in each (the default), and none."""
    results = compare({"all": epoch(reader, workers, True),
                       "none": epoch(reader, workers, True, worker_init_fn=lambda worker: cv2.setNumThreads(0))},
                      rounds, warm_up=1)
    images = len(reader) * reader.batch_size
    return [{"workers": workers, "OpenCV's threads": threads, "images/s": round(images / row["median_ms"] * 1e3, 1),
             "low": round(images / row["high_ms"] * 1e3, 1), "high": round(images / row["low_ms"] * 1e3, 1)}
            for threads, row in results.items()]


def reader_rows(reader, worker_counts, rounds):
    """Images per second for each number of workers, with and without shared memory, ppdet's transforms and ours."""
    cases = [(workers, shared, source) for workers in worker_counts
             for shared in ((True, False) if workers else (False,)) for source in SOURCES]
    results = compare({case: epoch(reader, *case) for case in cases}, rounds, warm_up=1)
    images = len(reader) * reader.batch_size
    return [{"workers": workers, "shared memory": "on" if shared else "off", "transforms": source,
             "images/s": round(images / row["median_ms"] * 1e3, 1), "low": round(images / row["high_ms"] * 1e3, 1),
             "high": round(images / row["low_ms"] * 1e3, 1)} for (workers, shared, source), row in results.items()]


def cache_rows(cfg, worker_counts, rounds):
    """Images per second of readers that decode each picture, and of those that keep them (memory_cache)."""
    rows = []
    for name in ("TrainReader", "EvalReader"):
        made = {"decoded": make_reader(cfg, name), "kept": make_reader(cfg, name, memory_cache="8GB")}
        for workers in worker_counts:
            found = compare({kind: epoch(reader, workers, True) for kind, reader in made.items()}, rounds, warm_up=1)
            images = len(made["kept"]) * made["kept"].batch_size
            rows.append({"reader": name, "workers": workers, **{
                f"{kind}: images/s": round(images / row["median_ms"] * 1e3, 1) for kind, row in found.items()},
                "kept / decoded": round(1 / found["kept"]["ratio"], 2)})
    return rows


# ---------------------------------------------------------------- training step
def step_images_per_second(path, device, size, batch, amp, rounds):
    """Images per second of forward, backward and AdamW on one batch that is there already."""
    sys.path.insert(0, str(REPO / "tests"))
    from support.detector_cases import build_detector, train_batch

    paddle.set_device(device)
    model = build_detector(path, eval_size=[size, size], norm_type="bn").train()
    optimizer = paddle.optimizer.AdamW(1e-5, parameters=model.parameters())
    data = train_batch(size, size, batch)

    def step():
        with paddle.amp.auto_cast(enable=amp):
            loss = model(dict(data))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)  # waits for the device
    return batch / compare({"step": step}, rounds, warm_up=1)["step"]["median_ms"] * 1e3


# ---------------------------------------------------------------- output
def table(rows):
    """Rows with equal keys as a markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def plot(content, path):
    """Stacked cost of the transforms, and images/s of the readers with the step's as a line."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    bottom = np.zeros(2)
    for row in content["transforms"][:-1]:
        heights = np.array([row[f"{source} ms"] for source in SOURCES])
        if heights.max() > 0.1:
            left.bar(SOURCES, heights, bottom=bottom, label=row["transform"])
            bottom += heights
    left.set(ylabel="ms per image, one core", title="What the transforms cost")
    left.legend(fontsize=7)
    cases = sorted({(row["workers"], row["shared memory"]) for row in content["readers"]})
    for shift, source in enumerate(SOURCES):
        speeds = {(row["workers"], row["shared memory"]): row["images/s"] for row in content["readers"]
                  if row["transforms"] == source}
        right.bar(np.arange(len(cases)) + (shift - 0.5) * 0.4, [speeds[case] for case in cases], 0.4, label=source)
    names = [f"{workers} workers\nshared {shared}" for workers, shared in cases]
    right.set_xticks(range(len(cases)), names, fontsize=7)
    if content["step"]:
        right.axhline(content["step"]["images/s"], color="black", linestyle="--", label="training step")
    right.set(ylabel="images/s", title="Readers")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", default=str(REPO / "configs/rtdetr/rtdetr_r18vd_6x_coco.yml"))
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({0, 1, os.cpu_count()}))
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="of the training step: cpu, gpu")
    parser.add_argument("--amp", action="store_true", help="mixed precision in the training step")
    parser.add_argument("--step_size", type=int, default=640)
    parser.add_argument("--step_batch", type=int, default=4)
    parser.add_argument("--step_rounds", type=int, default=3, help="0: leave the training step out")
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "runs" / "data_loading.json")
    return parser.parse_args()


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cfg = load(args.config, Path(folder) / "digits", args.images)
        content = {**about("paddlepaddle", "paddlepaddle-gpu", "paddledet", "opencv-python", "numpy"),
                   "config": Path(args.config).name, "images": args.images, "rounds": args.rounds,
                   "batch": cfg["TrainReader"]["batch_size"]}
        reader = make_reader(cfg)
        content["transforms"] = transform_rows(transform_times(reader, args.rounds))
        content["readers"] = reader_rows(reader, args.workers, args.rounds)
        content["cache"] = cache_rows(cfg, sorted({0, max(args.workers)}), args.rounds)
        content["threads"] = thread_rows(reader, max(args.workers), args.rounds) if max(args.workers) else []
    content["step"] = None
    if args.step_rounds:
        speed = step_images_per_second(args.config, args.device, args.step_size, args.step_batch, args.amp,
                                       args.step_rounds)
        content["step"] = {"device": args.device, "amp": args.amp, "size": args.step_size, "batch": args.step_batch,
                           "images/s": round(speed, 2)}
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(table(content[part]) for part in ("transforms", "readers", "cache", "threads") if content[part])
    if content["step"]:
        text += f"\n\nTraining step ({args.device}): {content['step']['images/s']} images/s"
    args.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    plot(content, args.out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
