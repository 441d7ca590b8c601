# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one measure of parity, max|d| / max|ref|, for arrays and for networks stage by stage."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError

LIMIT = 1e-4  # float32, same weights and input


class StageParity(NamedTuple):
    """One row of a parity table."""
    name: str
    shape: tuple[int, ...]
    max_difference: float
    max_reference: float
    error: float


def as_array(value: Any) -> np.ndarray:
    """numpy array of a Paddle tensor, a torch tensor (detached, on the CPU) or anything array-like."""
    value = value.detach() if hasattr(value, "detach") else value
    value = value.cpu() if hasattr(value, "cpu") else value
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def relative_error(out: Any, ref: Any) -> float:
    """max|out - ref| / max|ref| in float64; inf where either holds a NaN or ref is all zero and out is not.

    Raises:
        ValueError: the shapes differ.
    """
    return compare("", out, ref).error


def compare(name: str, out: Any, ref: Any) -> StageParity:
    """StageParity of one pair; see ``relative_error``."""
    out, ref = as_array(out).astype(np.float64), as_array(ref).astype(np.float64)
    if out.shape != ref.shape:
        raise ValueError(f"{name or 'output'}: shape {out.shape}, reference {ref.shape}")
    difference, reference = (float(np.max(np.abs(a), initial=0.0)) for a in (out - ref, ref))
    if not np.isfinite(difference):
        return StageParity(name, out.shape, difference, reference, float("inf"))
    error = difference / reference if reference else (float("inf") if difference else 0.0)
    return StageParity(name, out.shape, difference, reference, error)


def compare_stages(paddle_feats: Any, torch_feats: Any, names: Sequence[str] | None = None) -> list[StageParity]:
    """Compare features one by one; both are lists, or dicts with the same keys (which then are the names)."""
    if isinstance(paddle_feats, dict):
        names, torch_feats = list(paddle_feats), [torch_feats[name] for name in paddle_feats]
        paddle_feats = list(paddle_feats.values())
    if len(paddle_feats) != len(torch_feats):
        raise ValueError(f"{len(paddle_feats)} features against {len(torch_feats)}")
    names = names or [f"stage{i}" for i in range(len(paddle_feats))]
    return [compare(name, out, ref) for name, out, ref in zip(names, paddle_feats, torch_feats)]


def table(rows: Sequence[StageParity]) -> str:
    """The rows as text, one a line."""
    width = max([5, *(len(row.name) for row in rows)])
    lines = [f"{'stage':{width}}  {'shape':>18}  {'max|d|':>10}  {'max|ref|':>10}  max|d|/max|ref|"]
    lines += [f"{row.name:{width}}  {'x'.join(map(str, row.shape)):>18}  {row.max_difference:10.3e}  "
              f"{row.max_reference:10.3e}  {row.error:.3e}" for row in rows]
    return "\n".join(lines)


def check(rows: Sequence[StageParity], limit: float = LIMIT) -> None:
    """Raise UserError for rows above ``limit``."""
    worst = [row for row in rows if not row.error <= limit]
    if worst:
        raise UserError(f"parity lost: {', '.join(f'{row.name} {row.error:.2e}' for row in worst)} (limit {limit:g})")
