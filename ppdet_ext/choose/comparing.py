# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The comparison: one worker process for each network, turns that go round, peaks in processes of their own."""
from __future__ import annotations

import contextlib
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..report.page import Words
from ..startup import environment
from ..sweep import worker_pool

log = logging.getLogger("ppdet_ext")
MEASURE = "ppdet_ext.choose.compare_worker:measure"
GROUP = 6  # networks that are held at a time, each in a process: so many take turns with one another
POLL = 0.02  # seconds
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Args:
        config: whose detector the networks are put under.
        size: (height, width) of the images.
        device: 'cpu' or 'gpu'.
        rounds: turns that count; one more comes before them.
        half: in bfloat16 as well.
        batch: of the training step whose memory is found.
        memory: MB that a training may take; None: the largest batch is not looked for.
        confirm: measure the largest batch too, once it is known from two smaller ones.
        time_limit: seconds for one step of a network (building and exporting, a peak of memory).
    """

    config: str = "rtdetr_cspresnet_6x_coco.yml"
    size: tuple[int, int] = (640, 640)
    device: str = "cpu"
    rounds: int = 9
    half: bool = True
    batch: int = 2
    memory: float | None = None
    confirm: bool = False
    time_limit: float = 1200.0


def about(settings: Settings) -> list[Words]:
    """Lines that say how and where it was measured."""
    import paddle

    import ppdet_ext

    height, width = settings.size
    cpu = settings.device == "cpu"
    machine = f"{environment.cpu_model()}, {environment.cores()} cores" if cpu else \
        paddle.device.cuda.get_device_name()
    return [(f"Detector of {settings.config}, images {height}x{width}, batch 1, {settings.rounds} turns in which the "
             f"networks (up to {GROUP}) follow one another; exported: Paddle Inference{' with oneDNN' if cpu else ''}.",
             f"{settings.config} 的检测器,图片 {height}x{width},批大小 1,各网络 (至多 {GROUP} 个) 轮流运行 "
             f"{settings.rounds} 轮;"
             f"导出后:Paddle Inference{' 和 oneDNN' if cpu else ''}。"),
            (f"{machine}; Paddle {paddle.__version__}, ppdet_ext {ppdet_ext.__version__}.",) * 2,
            (f"Memory: MB (2**20 bytes) of {'the whole process' if cpu else 'the GPU pool'} at its peak, each in a "
             "process of its own; in training with optimizer, EMA and losses.",
             f"内存:{'整个进程' if cpu else '显存池'}的峰值 (MB,2**20 字节),每项单独用一个进程测量;"
             "训练包含优化器、EMA 和损失。"),
            ("GFLOPs: multiplication and addition count as two, as in papers of detectors.",
             "GFLOPs:乘法和加法各算一次,与检测论文一致。")]


class GivenUp(Exception):
    """A network cannot be measured; the message is why."""


@contextlib.contextmanager
def worker(settings: Settings) -> Iterator[worker_pool.Worker]:
    """A fresh process."""
    plan = worker_pool.Plan(MEASURE, {"device": settings.device}, time_limit=settings.time_limit,
                            memory=worker_pool.share_of_memory(1))
    found = worker_pool.Worker(plan)
    try:
        yield found
    finally:
        found.close()


def answer(of: worker_pool.Worker, name: str, step: str, **given: Any) -> Row:
    """What a worker says to one step of a network.

    Raises:
        GivenUp: it failed, died, or went beyond a limit.
    """
    of.ask(name, step=step, **given)
    try:
        while (row := of.look()) is None:
            time.sleep(POLL)
    except worker_pool.Lost as error:
        raise GivenUp(f"{step}: {error}") from None
    if row["status"] != "ok":
        raise GivenUp(row["reason"].removeprefix("UserError: "))
    return row


def compare(names: Sequence[str], settings: Settings, finished: Callable[[list[Row]], object] = lambda rows: None
            ) -> list[Row]:
    """A row for each network, in the order of the names.

    Args:
        finished: is told all rows that there are, after each group of networks.

    Returns:
        rows: 'name', 'status' ('ok' or 'failed'), 'reason'; under_detector.facts; 'latency' {what: {'median', 'low',
        'high'}} in ms and 'missing' {what: why}; memory in MB, see :func:`_memory`.
    """
    rows: list[Row] = []
    for first in range(0, len(names), GROUP):
        with tempfile.TemporaryDirectory(prefix="compare.") as folder:
            rows += _group(names[first:first + GROUP], settings, Path(folder))
        finished(rows)
    return rows


def _group(names: Sequence[str], settings: Settings, folder: Path) -> list[Row]:
    rows = {name: Row(name=name, status="ok", reason="", latency={}, missing={}) for name in names}
    folders = {name: folder / str(place) for place, name in enumerate(names)}
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in names:
            folders[name].mkdir()
            log.info("%s: building and exporting", name)
            with _failing(rows[name]):
                workers[name] = stack.enter_context(worker(settings))
                rows[name].update(answer(workers[name], name, "prepare", config=settings.config, half=settings.half,
                                         size=settings.size, folder=str(folders[name])))
        _take_turns(rows, workers, settings)
    for name, row in rows.items():
        if row["status"] == "ok":
            log.info("%s: memory", name)
            with _failing(row):
                _memory(row, settings, folders[name])
    return list(rows.values())


@contextlib.contextmanager
def _failing(row: Row) -> Iterator[None]:
    """Around what may fail: the row then says why, and the others go on."""
    try:
        yield
    except GivenUp as error:
        row.update(status="failed", reason=str(error))
        log.warning("%s: %s", row["name"], error)


def _take_turns(rows: dict[str, Row], workers: dict[str, worker_pool.Worker], settings: Settings) -> None:
    """Time all networks, one call of each thing a turn; the order is another in each turn."""
    order, times = random.Random(0), {name: {} for name in rows}  # type: ignore[var-annotated]
    for number in range(settings.rounds + 1):
        log.info("turn %d of %d", number, settings.rounds)
        for name in order.sample(list(workers), len(workers)):
            if rows[name]["status"] != "ok":
                continue
            with _failing(rows[name]):
                for key, value in answer(workers[name], name, "turn", seed=number)["times"].items():
                    if number:  # the first one warms up
                        times[name].setdefault(key, []).append(value)
    for name, row in rows.items():
        row["latency"] = {key: {"median": statistics.median(found), "low": min(found), "high": max(found)}
                          for key, found in times[name].items()}


def _memory(row: Row, settings: Settings, folder: Path) -> None:
    """Add the peaks of memory, each of a process of its own, and the largest batch where it is asked for.

    'inference_peak', 'exported_peak' (batch 1), 'training_peak' {batch: MB}; 'largest_batch', 'largest_batch_peak' (MB,
    extrapolated), 'confirmed_peak' (MB, measured).
    """
    def training(batch: int) -> float:
        return _peak(row, settings, "training_peak", config=settings.config, batch=batch)

    program = next((path for suffix in (".json", ".pdmodel") if (path := folder / f"detector{suffix}").is_file()), None)
    row["inference_peak"] = _peak(row, settings, "inference_peak", config=settings.config)
    if program:
        row["exported_peak"] = _peak(row, settings, "exported_peak", program=str(program))
    batches = [settings.batch] if settings.memory is None else [settings.batch, 2 * settings.batch]
    row["training_peak"] = {batch: training(batch) for batch in batches}
    if settings.memory is not None:
        row["largest_batch"], row["largest_batch_peak"] = largest_batch(row["training_peak"], settings.memory)
        if settings.confirm and row["largest_batch"]:
            row["confirmed_peak"] = training(row["largest_batch"])


def _peak(row: Row, settings: Settings, step: str, **given: Any) -> float:
    with worker(settings) as fresh:
        return answer(fresh, row["name"], step, size=settings.size, **given)["peak"]


def largest_batch(peaks: dict[int, float], memory: float) -> tuple[int, float]:
    """(the largest batch that a straight line through two peaks keeps within ``memory``, its MB on that line).

    Args:
        peaks: {batch: MB} of two batches.
        memory: MB.
    """
    (small, low), (large, high) = sorted(peaks.items())
    slope = (high - low) / (large - small)
    if slope <= 0:
        return large, high  # memory that another step has left free hides the batch's: no line to go on with
    found = max(int((memory - low) / slope + small), 0)
    return found, low + (found - small) * slope


def add_trainings(rows: Sequence[Row], results: dict[str, Row]) -> None:
    """Add 'ap', 'curve' and 'start' of short trainings to the rows; one that failed fails its row."""
    for row in rows:
        result = results.get(row["name"])
        if result and result["status"] == "ok":
            row.update({key: result[key] for key in ("ap", "curve", "start")})
        elif result:
            row.update(status="failed", reason=result["reason"])
