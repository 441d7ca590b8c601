# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What tools/deploy_infer.py does with its command line: pictures, slices, videos, benchmark, and their outputs."""
from __future__ import annotations

import contextlib
import itertools
import sys
from argparse import Namespace
from pathlib import Path

from . import engines, media, slicing, video, visualize
from .deploy_error import DeployError
from .image_formats import PictureError
from .predictor import Predictor, Timings

#: the exit code of a run that did all pictures but some
SOME_FAILED = 4


def run(args: Namespace) -> None:
    """Detect as the command line says: what ``command_line.parse_args`` returned.

    Raises:
        DeployError: a user's mistake, or no picture could be read.
        SystemExit: some pictures failed (SOME_FAILED); the others are done.
    """
    try:
        _run(args)
    except OSError as error:  # a name that is too long, a folder without permission, a full disk
        raise DeployError(f"'{error.filename or args.output_dir}': {error.strerror or error}") from None


def _run(args):
    if args.run_benchmark and args.slice_infer:
        raise DeployError("--run_benchmark times whole pictures: leave out --slice_infer")
    _say(f"loading {args.model_dir}")  # the first line is ours: a GPU's driver may have something to say, too
    predictor = Predictor(args.model_dir, **engines.of_flags(args))
    print(f"model: {args.model_dir} ({predictor.model.arch}, {len(predictor.labels)} classes, "
          f"{predictor.model.program.name} by {predictor.engine})", flush=True)
    if args.camera_id != -1 or args.video_file:
        _video(predictor, args)
        return
    paths = media.find_images(args.image_file, args.image_dir)
    print(f"found {len(paths)} picture{'s' if len(paths) > 1 else ''}", flush=True)
    if args.run_benchmark:
        print_timings(predictor.benchmark(paths), warm=True)
        return
    _pictures(predictor, paths, args)


def _pictures(predictor, paths, args):
    records, skipped = [], 0
    categories = _categories(predictor, args)
    targets = media.image_targets(paths, args.output_dir) if args.save_images else [None] * len(paths)
    for start in range(0, len(paths), args.batch_size):
        chunk = paths[start:start + args.batch_size]
        for number, (path, boxes) in enumerate(zip(chunk, _detect(predictor, chunk, args)), start):
            if boxes is None:
                skipped += 1
                continue
            skipped += not _show(predictor, path, targets[number], boxes, args)
            image_id = _image_id(path) if args.use_coco_category else number
            records += visualize.coco_results(boxes, image_id, path.name, categories)
    if skipped == len(paths):
        raise DeployError(f"none of the {len(paths)} pictures could be read")
    _save_records(records, args)
    print_timings(predictor.timings)
    if skipped:
        _say(f"skipped {skipped} of {len(paths)} pictures that could not be read or written")
        sys.exit(SOME_FAILED)


def _detect(predictor, pictures, args):
    """Boxes [N, 6] per path or frame, None for one that cannot be read (named on the way)."""
    def tell(_picture, error):
        _say(f"skipped: {error}")

    if args.slice_infer:
        return [slicing.detect(predictor, picture, args, tell) for picture in pictures]
    return [result and result["boxes"] for result in predictor.predict(pictures, on_unreadable=tell)]


def _show(predictor, path, target, boxes, args):
    """Print the boxes above the threshold; draw them where a picture is wanted. Whether that could be written."""
    print(path)
    for line in visualize.describe(boxes, args.threshold):
        print(line)
    if target is None:
        return True
    try:
        media.write_image(target, visualize.draw_boxes(media.read_image(path), boxes, predictor.labels, args.threshold))
    except PictureError as error:
        _say(f"skipped: {error}")
        return False
    print(f"save result to: {target}", flush=True)
    return True


def _categories(predictor, args):
    if not args.use_coco_category:
        return None
    if len(predictor.labels) != len(visualize.COCO_CATEGORIES):
        raise DeployError(f"--use_coco_category: the model has {len(predictor.labels)} classes, COCO has "
                          f"{len(visualize.COCO_CATEGORIES)}")
    return visualize.COCO_CATEGORIES


def _image_id(path):
    try:
        return int(path.stem)
    except ValueError:
        raise DeployError(f"--use_coco_category: '{path.name}' is not named by its COCO image number") from None


def _video(predictor, args):
    """Detect on each frame and write the video with boxes. Ctrl-C ends a camera; what was seen is kept."""
    source = args.camera_id if args.camera_id != -1 else args.video_file
    clip = video.Video(source)
    print(f"fps: {clip.fps:.0f}, frame_count: {clip.count}", flush=True)
    if args.run_benchmark:
        print_timings(predictor.benchmark(list(itertools.islice(clip, args.batch_size))), warm=True)
        return
    target = video.video_target(source, args.output_dir) if args.save_images else None
    records, seen, skipped, stopped = [], 0, 0, False
    categories = _categories(predictor, args)
    with video.video_writer(target, clip.fps, clip.size, _say) if target else contextlib.nullcontext(_drop) as write:
        try:
            for seen, (frame, boxes) in enumerate(_frames(predictor, clip, args), 1):
                print(f"detect frame: {seen}", flush=True)
                if boxes is None:
                    skipped += 1
                    write(frame)
                    continue
                for line in visualize.describe(boxes, args.threshold):
                    print(line)
                write(visualize.draw_boxes(frame, boxes, predictor.labels, args.threshold))
                if args.save_results:
                    records += visualize.coco_results(boxes, seen, video.name_of(source), categories)
        except KeyboardInterrupt:
            stopped = True
            print("stopped")
        if skipped == seen:
            raise DeployError(f"none of the {seen} frames could be detected on")
    if target:
        print(f"save result to: {target}")
    _save_records(records, args)
    print_timings(predictor.timings)
    _tell_what_is_missing(clip, seen, skipped, stopped)


def _frames(predictor, clip, args):
    """Yield (frame, boxes [N, 6], or None where that frame cannot be prepared), ``batch_size`` detected at a time."""
    frames = iter(clip)
    while True:
        chunk = list(itertools.islice(frames, args.batch_size))
        if not chunk:
            return
        yield from zip(chunk, _detect(predictor, chunk, args))


def _tell_what_is_missing(clip, seen, skipped, stopped):
    if skipped:
        _say(f"skipped {skipped} of {seen} frames: they are in the video without boxes")
    missing = 0 if stopped else max(0, clip.count - seen)
    if missing:
        _say(f"the video ended after {seen} of the {clip.count} frames that its header promises: it is cut off, "
             "damaged, or its header is inexact")
    if skipped or (missing and clip.many_missing(seen)):
        sys.exit(SOME_FAILED)


def _save_records(records, args):
    if args.save_results:
        target = Path(args.output_dir) / "bbox.json"
        media.write_json(target, records)
        print(f"The bbox result is saved to {target}")


def _say(line):
    print(line, flush=True)


def _drop(_frame):
    """For who wants no video."""


def print_timings(timings: Timings, warm: bool = False) -> None:
    """PaddleDetection's lines over all batches, then the stages: of the first batch, and of the others.

    Args:
        warm: the engine was warm before the first batch, so that all are alike.
    """
    summary = timings.summary()
    images, total = summary["images"], summary["total"]["mean"] * summary["batches"]
    print("------------------ Inference Time Info ----------------------")
    print(f"total_time(ms): {total:.1f}, img_num: {images}")
    print(f"average latency time(ms): {total / images:.2f}, QPS: {images / total * 1000:.2f}")
    print(", ".join(f"{stage}_time(ms): {summary[stage]['mean'] * summary['batches'] / images:.2f}"
                    for stage in timings.STAGES))
    if warm:
        print(f"per batch (ms), mean/median of {summary['batches']}: {_means(summary)}")
        return
    first, others = timings.summary(slice(1)), timings.summary(slice(1, None))
    print("first batch (ms), in which the engine also warms up: " + ", ".join(
        f"{name} {first[name]['mean']:.2f}" for name in (*timings.STAGES, "total")))
    if others["batches"]:
        print(f"per batch (ms), mean/median of the other {others['batches']}: {_means(others)}")
    else:
        print("there was one batch only, so these times say little about speed; --run_benchmark measures it")


def _means(summary):
    return ", ".join(f"{name} {summary[name]['mean']:.2f}/{summary[name]['median']:.2f}"
                     for name in (*Timings.STAGES, "total"))
