# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A backbone against its torch original: the largest and mean difference and the cosine, feature by feature."""
from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass

import numpy as np
import paddle

from ..errors import UserError
from ..weights import parity
from ..weights.readers import need
from . import first_difference, random_start, torch_original
from .backbone_subject import Subject
from .findings import FAILED, OK, SKIPPED, WARNING, Report

CHECK = "parity with torch"


@dataclass(frozen=True)
class Agreement:
    """One feature of both: max|d|/max|ref|, mean|d|/mean|ref|, and the cosine of all values."""

    name: str
    largest: float
    mean: float
    cosine: float


def agreement(name: str, ours: np.ndarray, theirs: np.ndarray) -> Agreement:
    """Compare two arrays of one shape; ValueError where the shapes differ."""
    largest = parity.relative_error(ours, theirs)
    one, other = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    reference = np.abs(other).mean()
    return Agreement(name, largest, float(np.abs(one - other).mean() / reference) if reference else largest,
                     float(one @ other / lengths) if lengths else float(largest == 0.0))


def check(subject: Subject, image: paddle.Tensor, report: Report) -> None:
    """Compare; on failure the first module that differs is named. A random start is stirred, and stays so."""
    if importlib.util.find_spec("torch") is None:
        report.add(CHECK, SKIPPED, "torch is not installed: pip install 'ppdet-ext[torch]'")
        return
    if subject.random:
        random_start.stir(subject.network)
    try:
        pairs = torch_original.pairs(subject, image)
    except UserError as error:
        report.add(CHECK, SKIPPED, str(error))
        return
    if not pairs:
        report.add(CHECK, SKIPPED, "nothing of it came from torch")
        return
    _check_left_out(subject, pairs, report)
    torch = need("torch", CHECK)
    for pair in pairs:
        try:
            with torch.no_grad():
                theirs = [value.numpy() for value in pair.run(torch.from_numpy(pair.image.numpy()))]
        except Exception as error:  # of another size, for one
            report.add(CHECK, SKIPPED, f"torch's {type(pair.module).__name__} does not take {list(pair.image.shape)}: "
                       f"{' '.join(str(error).split())[:200]}")
            continue
        _check_pair(pair, theirs, report)


def _check_pair(pair, theirs, report):
    where = pair.path or "the whole class"
    ours = [value.numpy() for value in pair.outputs]
    if [value.shape for value in ours] != [value.shape for value in theirs]:
        report.add(CHECK, FAILED, f"{where} gives {[value.shape for value in ours]}, torch "
                   f"{[value.shape for value in theirs]}")
        return
    rows = [agreement(f"{where}[{index}]", *both) for index, both in enumerate(zip(ours, theirs))]
    report.parity += [asdict(row) for row in rows]
    worst = max(rows, key=lambda row: row.largest)
    numbers = f"max {worst.largest:.1e}, mean {max(row.mean for row in rows):.1e}, cosine " \
              f"{min(row.cosine for row in rows):.7f}"
    if worst.largest <= parity.LIMIT:
        report.add(CHECK, OK, f"{where} as torch's {type(pair.module).__name__}: {numbers}")
    else:
        report.add(CHECK, FAILED, f"{worst.name} is not what torch gives ({numbers}); the first module that differs is "
                   f"{first_difference.find(pair)}")


def _check_left_out(subject, pairs, report):
    """Parts of a user's torch modules that forward does not use, and that the bridge therefore leaves out."""
    if subject.is_named:
        return
    from .gradient_flow import modules_of
    for pair in pairs:
        shapes = {name: value.ndim for name, value in pair.module.named_parameters()}
        left = [name for name in shapes if name not in pair.weights]
        whole = [name for name in left if shapes[name] > 2]
        status = FAILED if whole else WARNING
        if left:
            report.add("unused modules", status, f"{pair.path or 'forward'} never uses "
                       f"{', '.join(modules_of(left, shapes)[:4])}" + (
                           "" if whole else " (a head? then this is as it should be)"))
