#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Batch inference by Ray Data: its speed beside one predictor's, its memory over many pictures, jobs that are killed.

python benchmarks/batch_inference.py speed --pictures 400 --rounds 3
python benchmarks/batch_inference.py memory --pictures 10000
python benchmarks/batch_inference.py kills --kills 20

``--model_dir``: an exported model; without it an R18 at 320x320 with random weights is exported. ``--output FOLDER``
writes batch_NAME.json. speed: 2 workers of one thread against one Predictor of two, turn about, from the first shard to
the last result, without the start of either. memory: MiB of the job's processes, every second. kills: the job's process
is killed (SIGKILL) at a random moment after each start that brought results; in the end each picture must be there
once, with the boxes of a job that nobody killed.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import psutil
from machine import about

REPO = Path(__file__).resolve().parents[1]
TOOL = REPO / "tools" / "batch_infer.py"
DISTINCT = 50  # files; the other names are links to these


def paint(folder, count, side):
    """``count`` JPEG files of about ``side`` pixels, all but DISTINCT of them links."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number >= DISTINCT:
            os.link(folder / f"{number % DISTINCT:06d}.jpg", path)
            continue
        noise = rng.integers(0, 256, (side // 8, side // 8 + number % 7, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC))
    return folder


def model_of(args, folder):
    if args.model_dir:
        return Path(args.model_dir)
    from inference import export

    return export("r18", 320, folder / "model")


def command(args, model, pictures, output, *more):
    return [sys.executable, str(TOOL), "--model_dir", str(model), "--input", str(pictures), "--output", str(output),
            "--threshold", str(args.threshold), "--workers", "2", "--threads", "1", "--engine", args.engine, *more]


def environment():
    return {**os.environ, "PYTHONPATH": str(REPO)}


# ---- speed

def speed(args, folder):
    """Pictures per second of both, turn about."""
    import ppdet_ext

    ppdet_ext.setup()
    from ppdet_ext.deploy import Options, Predictor
    from ppdet_ext.scale import batch_job, batch_run, picture_lists, ray_session, shard_files

    model, pictures = model_of(args, folder), paint(folder / "pictures", args.pictures, args.side)
    predictor = Predictor(model, engine=args.engine, cpu_threads=2, batch_size=args.batch_size)
    files = sorted(pictures.iterdir())
    predictor.predict(files[:4])
    options = Options(engine=args.engine, cpu_threads=1, batch_size=args.batch_size)
    one, two, begun = [], [], time.perf_counter()
    with ray_session.started(None, 3, folder / "ray.log", ["ray.data"]):
        start = time.perf_counter() - begun
        for number in range(args.rounds):
            seconds = time.perf_counter()
            predictor.predict(files)
            one.append(len(files) / (time.perf_counter() - seconds))
            output = folder / f"out{number}"
            (output / shard_files.FOLDER).mkdir(parents=True)
            job = batch_job.Job(str(model), options, str(output), list(range(len(predictor.labels))), args.threshold,
                                "coco", f"{number:08d}")
            found = picture_lists.find(pictures, tell=str)
            shards = list(found.shards(args.shard_size, range(found.count)))
            two.append(_steady(batch_run.results(job, shards, 2)))
    return {"one predictor of 2 threads": one, "2 workers of 1 thread": two, "start of Ray, s": start,
            "ratio": median(two) / median(one)}


def _steady(results):
    """Pictures per second from the first shard's end to the last one's: the workers' start is not in it."""
    moments = [(time.perf_counter(), done["pictures"]) for done in results]
    return sum(count for _, count in moments[2:]) / (moments[-1][0] - moments[1][0])


# ---- memory

def memory(args, folder):
    """MiB of the driver and of the workers, each second; what they had after a tenth, and in the end."""
    model, pictures = model_of(args, folder), paint(folder / "pictures", args.pictures, args.side)
    job = subprocess.Popen(command(args, model, pictures, folder / "out", "--shard_size", str(args.shard_size)),
                           env=environment(), cwd=folder)
    curve = []
    while job.poll() is None:
        done = len(list((folder / "out" / "shards").glob("*.jsonl"))) * args.shard_size
        curve.append((done, _mebibytes(psutil.Process(job.pid))))
        time.sleep(1)
    assert job.returncode == 0, job.returncode
    running = [(done, sizes) for done, sizes in curve if done >= args.pictures / 10 and "workers" in sizes]
    early, late = running[0], running[-1]
    return {"pictures": args.pictures, "after a tenth": early, "in the end": late, "curve": curve,
            "growth, MiB": {name: late[1][name] - early[1][name] for name in early[1] if name in late[1]}}


def _mebibytes(process):
    sizes = {}
    for each in [process, *process.children(recursive=True)]:
        try:
            name = "".join(each.cmdline())
            part = ("driver" if each.pid == process.pid else "workers" if "MapWorker" in name else "Ray")
            sizes[part] = sizes.get(part, 0) + each.memory_info().rss / 2**20
        except psutil.Error:
            continue
    return sizes


# ---- kills

def kills(args, folder):
    """Kill the job ``--kills`` times, then let it end; what is there must be each picture once."""
    model, pictures = model_of(args, folder), paint(folder / "pictures", args.pictures, args.side)
    output, chance, told = folder / "out", random.Random(args.seed), []
    words = command(args, model, pictures, output, "--shard_size", str(args.shard_size))
    for number in range(args.kills):
        before = _shards(output)
        job = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
        while job.poll() is None and _shards(output) <= before:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, args.seconds))
        job.send_signal(signal.SIGKILL)
        code = job.wait()
        told.append({"kill": number + 1, "shards": _shards(output), "exit code": code})
        print(json.dumps(told[-1]), flush=True)
        if code == 0:
            raise SystemExit("the job was over before the last kill: more --pictures, or fewer --seconds")
    assert subprocess.run(words, env=environment()).returncode == 0
    assert subprocess.run([*words[:words.index(str(output))], str(folder / "quiet"),
                           *words[words.index(str(output)) + 1:]], env=environment()).returncode == 0
    seen = [image["id"] for image in json.loads((output / "images.json").read_text())["images"]]
    assert sorted(seen) == list(range(1, args.pictures + 1)), "a picture is missing, or there twice"
    same = all((output / name).read_bytes() == (folder / "quiet" / name).read_bytes()
               for name in ("images.json", "bbox.json"))
    assert same, "not the boxes of a job that nobody killed"
    left = [path.name for path in (output / "shards").iterdir() if path.name.startswith(".")]
    return {"kills": told, "pictures": len(seen), "each once": True, "same bytes as without kills": same,
            "left in the folder": left}


def _shards(output):
    return len(list((output / "shards").glob("*.jsonl")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "kills"])
    parser.add_argument("--model_dir")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--side", type=int, default=320, help="pixels")
    parser.add_argument("--shard_size", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--threshold", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0, help="the longest time from a result to the kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batch_", dir=os.environ.get("TMPDIR")))
    try:
        found = {**about("ray", "onnxruntime", "paddlepaddle"), args.what: globals()[args.what](args, folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / f"batch_{args.what}.json").write_text(json.dumps(found, indent=1))
    found[args.what].pop("curve", None)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
