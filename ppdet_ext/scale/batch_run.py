# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A batch job from its command line to its results: what is left is dealt out by Ray Data, and counted as it comes."""
from __future__ import annotations

import secrets
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..deploy import ExportedModel, Options, engines
from ..deploy.image_formats import max_pixels
from ..deploy.session import SOME_FAILED
from ..errors import Interrupted, UserError
from ..startup import environment
from . import batch_job, picture_lists, ray_session, shard_files
from .batch_job import Job
from .batch_worker import Worker
from .picture_lists import Shard

LOG = "ray.log"
SECONDS = 30  # between two lines where no line can move


def run(args: Namespace) -> None:
    """Detect on all pictures of ``--input`` that have no results yet, and put the results together.

    Args:
        args: what ``cli.batch_infer.parse_args`` returned.

    Raises:
        UserError, DeployError: a user's mistake; what is done stays, and the same command goes on.
        Interrupted: Ctrl-C or SIGTERM, the same.
        SystemExit: SOME_FAILED, some pictures could not be read; the others are done.
    """
    ray_session.require_ray("pyarrow", "pandas")
    max_pixels()  # a mistake in its variable would be every picture's
    output = Path(args.output)
    model, options = engines.choose(args.model_dir, Options(**engines.of_flags(args)))
    print(f"model: {args.model_dir} ({model.arch}, {len(model.labels)} classes, {model.program.name} by "
          f"{options.engine})", flush=True)
    pictures = picture_lists.find(args.input, args.column, output, _say)
    ids, categories = batch_job.numbers(pictures.names, model.labels, args.anno_file)
    workers = args.workers or _workers(options)
    size = batch_job.begin(output, batch_job.facts(model, options, pictures, args),
                           batch_job.size_of_shards(pictures.count, workers, args.shard_size))
    if args.shard_size not in (None, size):
        _say(f"shards of {size} pictures, as the job was begun, not of {args.shard_size}")
    job = Job(str(Path(args.model_dir).absolute()), options, str(output.absolute()), categories, args.threshold,
              args.format, secrets.token_hex(4))
    shards = list(pictures.shards(size, ids))
    _detect(job, shards, workers, args)
    _finish(job, model, shards)


def _workers(options: Options) -> int:
    """One for each core, as each has one thread unless told otherwise; one where it is not the CPU that computes."""
    return max(1, environment.cores() // options.threads) if options.device == "cpu" else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _detect(job: Job, shards: Sequence[Shard], workers: int, args: Namespace) -> None:
    """Do the shards that have no file."""
    output = Path(job.output)
    left = [shard for shard in shards if not shard_files.shard_path(output, shard.number, job.form).exists()]
    total = sum(len(shard.ids) for shard in shards)
    waiting = sum(len(shard.ids) for shard in left)
    workers = min(workers, max(len(left), 1))
    _say(f"found {total} pictures in {len(shards)} shards" + (
        f"; {total - waiting} are done, {waiting} are left" if waiting < total else ""))
    if left:
        threads = job.options.threads
        where = f"the cluster at {args.address}" if args.address else "this machine"
        _say(f"{workers} workers of {threads} thread{'s' * (threads > 1)} on {where}")
        ray = ray_session.started(args.address, workers * threads + 1, output / LOG, ["ray.data"])
        with _interruptible(job), ray, _Progress(total, total - waiting) as progress:
            for done in results(job, left, workers):
                if done["error"]:
                    raise UserError(done["error"])
                if done["deaths"]:
                    _say(f"shard {done['number']}: the process that did it ended {done['deaths']} "
                         f"time{'s' * (done['deaths'] > 1)}, and another one did it again ({LOG} says more)")
                progress.add(done)


def results(job: Job, shards: Sequence[Shard], workers: int) -> Iterator[dict[str, Any]]:
    """What Ray Data's actors say of each shard (see ``Worker``), in the order in which they are done.

    To be called in ``ray_session.started``.
    """
    from ray import data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    resources: dict[str, Any] = {"num_gpus": 1} if job.options.device == "gpu" else {}
    # a block for each shard: who is free takes the next one
    rows = data.from_items([{"shard": shard.to_text()} for shard in shards], override_num_blocks=len(shards))
    yield from rows.map_batches(Worker, fn_constructor_args=(job,), batch_size=1, batch_format="numpy",
                                compute=data.ActorPoolStrategy(size=workers), num_cpus=job.options.threads,
                                **resources).iter_rows()


@contextmanager
def _interruptible(job: Job) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the job in one line that says how it goes on."""
    def stop(number: int, _frame: object) -> None:
        raise Interrupted("", code=128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: what is done is in '{job.output}'; the same command goes on from there",
                          getattr(error, "code", 130)) from None
    finally:
        signal.signal(signal.SIGTERM, before)


class _Progress:
    """One line that moves, or a line now and then where none can; and the sums of what was done."""

    def __init__(self, total: int, done: int) -> None:
        self._bar = tqdm(total=total, initial=done, unit="picture", dynamic_ncols=True,
                         disable=not sys.stderr.isatty())
        self._total, self._done, self._new, self._unreadable = total, done, 0, 0
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def add(self, done: dict[str, Any]) -> None:
        """A shard is done."""
        self._new += done["pictures"]
        self._unreadable += done["unreadable"]
        self._bar.update(int(done["pictures"]))
        if self._unreadable:
            self._bar.set_postfix_str(f"{self._unreadable} unreadable", refresh=False)
        now = time.monotonic()
        if self._bar.disable and now - self._told > SECONDS:
            self._told = now
            _say(f"{self._done + self._new} of {self._total} pictures, {self._new / (now - self._begun):.1f} per second"
                 + (f", {self._unreadable} unreadable" if self._unreadable else ""))


def _finish(job: Job, model: ExportedModel, shards: Sequence[Shard]) -> None:
    output = Path(job.output)
    categories = [{"id": number, "name": name} for number, name in zip(job.categories, model.labels)]
    found = shard_files.finish(output, job.form, [(shard.number, len(shard.ids)) for shard in shards], categories)
    coco = job.form == "coco"
    results, reasons = (shard_files.RESULTS, shard_files.IMAGES) if coco else (f"{shard_files.FOLDER}/*.parquet",) * 2
    _say(f"{found.pictures} pictures, {found.boxes} boxes with a score of {job.threshold:g} or more: "
         f"{output / results}")
    if found.unreadable:
        _say(f"{found.unreadable} of the pictures could not be read; 'error' in {output / reasons} says why, such as "
             f"{found.example}")
        sys.exit(SOME_FAILED)
