# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Putting arrays into a layer by exact name, and saying what fitted. Nothing is written before all has been checked."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from paddle import nn

from ..errors import UserError, printable
from .mapped import release

SHOWN = 4  # rows of each kind in a one-line message


class Mismatch(NamedTuple):
    """A parameter whose shape in the checkpoint is another than in the layer."""
    name: str
    wanted: tuple[int, ...]
    given: tuple[int, ...]

    def __str__(self):
        return f"{printable(self.name)} (wanted {list(self.wanted)}, given {list(self.given)})"


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    ``unused`` are keys dropped knowingly (``layer.unused_prefixes``); ``source``, ``sha256`` and ``meta`` say where the
    weights came from and which mean, std, ... belong to them.
    """
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    unused: tuple[str, ...] = ()
    layer: str = ""
    source: str = ""
    sha256: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    def raise_for_problems(self, allow: str | Sequence[str] = ()) -> None:
        """Raise UserError for what is missing, unexpected or mismatched and matches none of the globs in ``allow``."""
        missing = [name for name in self.missing if not _allowed(name, allow)]
        unexpected = [name for name in self.unexpected if not _allowed(name, allow)]
        mismatched = [row for row in self.mismatched if not _allowed(row.name, allow)]
        if not (missing or unexpected or mismatched):
            return
        origin = self.source or "the checkpoint"
        if len(self.matched) < len(missing) + len(mismatched):
            raise UserError(
                f"{origin} is not for {self.layer}: only {len(self.matched)} of its {self.wanted} parameters fit; "
                f"it lacks {_row(missing)}, holds {_row(unexpected)} that the model does not have, and "
                f"{_row(mismatched)} of another shape; give weights of this arch")
        kinds = (("missing", missing), ("unexpected", unexpected), ("mismatched", mismatched))
        problems = "; ".join(f"{kind}: {_row(rows)}" for kind, rows in kinds if rows)
        raise UserError(f"{origin} does not fit {self.layer} ({len(self.matched)} of {self.wanted} parameters match): "
                        f"{problems}; where that is meant, allow it by name (--allow PATTERN, allow: [PATTERN])")

    @property
    def wanted(self) -> int:
        """Number of parameters and buffers the layer has."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    def counts(self) -> str:
        """One line: ``matched 240, missing 0, unexpected 0, shape-mismatched 0, unused 2``."""
        return (f"matched {len(self.matched)}, missing {len(self.missing)}, unexpected {len(self.unexpected)}, "
                f"shape-mismatched {len(self.mismatched)}, unused {len(self.unused)}")

    def __str__(self):
        lines = [f"{self.layer}: {self.counts()}" + (f" (from {self.source})" if self.source else "")]
        for kind in ("missing", "unexpected", "mismatched", "unused"):
            lines += [f"  {kind}: {row}" for row in _folded(getattr(self, kind))]
        return "\n".join(lines)


def load_into(layer: nn.Layer, state: dict[str, np.ndarray], allow: str | Sequence[str] = (),
              unused: Sequence[str] = (), label: str = "", **about: Any) -> LoadReport:
    """Copy Paddle-layout ``{name: array}`` into ``layer`` where name and shape are the layer's own.

    Args:
        allow: a glob pattern, or several, of names that may be missing, unexpected or of another shape (they stay as
            they were).
        unused: name prefixes that may be in the checkpoint and are dropped where the layer has no such name.
        label: what messages call the layer; its class name by default.
        about: ``source``, ``sha256``, ``meta`` of the report.

    Raises:
        UserError: anything else is missing, unexpected or mismatched; the layer is then untouched.
    """
    own = layer.state_dict()
    common = [name for name in own if name in state]
    shapes = {name: (tuple(own[name].shape), tuple(state[name].shape)) for name in common}
    extra = [name for name in state if name not in own]
    dropped = tuple(name for name in extra if name.startswith(tuple(unused)))
    report = LoadReport(
        matched=tuple(name for name in common if shapes[name][0] == shapes[name][1]),
        missing=tuple(name for name in own if name not in state),
        unexpected=tuple(name for name in extra if name not in dropped),
        mismatched=tuple(Mismatch(name, *shapes[name]) for name in common if shapes[name][0] != shapes[name][1]),
        unused=dropped,
        layer=label or type(layer).__name__,
        **about)
    report.raise_for_problems(allow)
    _require_finite([name for name, _ in layer.named_parameters() if name in set(report.matched)], state,
                    report.source or "the checkpoint")
    kinds = {name: _kind_of(name, own[name], state[name]) for name in report.matched}
    for name, kind in kinds.items():  # one by one, so that no more than one is in memory twice
        own[name].set_value(np.require(state[name], kind, ["C", "A"]))
        release(state[name])
    return report


def _require_finite(names, state, origin):
    """What is loaded are numbers; buffers may hold what they like, such as -inf in a mask."""
    for name in names:
        array = np.asarray(state[name])
        if array.dtype.kind not in "iub" and not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise UserError(f"{origin}: {printable(name)} holds NaN or infinite numbers ({bad} of {array.size}); it "
                            "comes from a training that diverged, or is damaged: take an earlier checkpoint")


def fold(names: Iterable[str]) -> list[str]:
    """``layers.0.w, layers.1.w, layers.2.w`` -> ``['layers.0...2.w (3)']``; first seen, first listed.

    Digits of names alike but for their numbers fold into ranges; the count says how many names a row stands for.
    """
    groups = defaultdict(list)
    for name in names:
        groups[re.sub(r"\d+", "#", name)].append([int(digits) for digits in re.findall(r"\d+", name)])
    return [_folded_row(pattern, numbers) for pattern, numbers in groups.items()]


def _folded_row(pattern, numbers):
    columns = iter([sorted(set(column)) for column in zip(*numbers)])

    def span(_match):
        values = next(columns)
        return f"{values[0]}...{values[-1]}" if len(values) > 1 else str(values[0])
    row = printable(re.sub("#", span, pattern))
    return f"{row} ({len(numbers)})" if len(numbers) > 1 else row


def _folded(rows):
    """Folded names, or one line a mismatch (its shapes are what one wants to see)."""
    return [str(row) for row in rows] if rows and isinstance(rows[0], Mismatch) else fold(rows)


def _row(rows):
    """``7: a, b, c, ...`` with at most SHOWN folded rows."""
    shown = _folded(rows)
    return f"{len(rows)}" + (": " + ", ".join(shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "") if rows else "")


def _allowed(name, patterns):
    patterns = (patterns,) if isinstance(patterns, str) else patterns  # one by one, the letters of 'fc.*' hold a '*'
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _kind_of(name, parameter, array):
    """The numpy type in which the parameter wants the array."""
    kind = np.dtype(str(parameter.dtype).rpartition(".")[2])
    if kind.kind == "f" and array.dtype.kind != "f":
        raise UserError(f"'{name}' is {array.dtype} in the checkpoint and {kind} in the model: quantised weights "
                        "cannot be used for training; give the float32 or float16 file")
    return kind
