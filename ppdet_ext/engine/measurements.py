# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a training step says of itself: gradients, updates, statistics of BatchNorm, memory. Once an interval each."""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import paddle
from paddle import nn

from ..measure import memory_there

MB = 2**20
SAMPLED, NUMBERS = 16, 65536  # weights that are looked at in each part of a network, and numbers of each
STATISTICS = ("_mean", "_variance")  # ends of their names, in every BatchNorm


def learning_parts(model: nn.Layer) -> dict[str, dict[str, paddle.Tensor]]:
    """{part: {name: parameter}}: what learns, by the detector's own children (backbone, neck, transformer, ...)."""
    parts: dict[str, dict[str, paddle.Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            parts.setdefault(name.partition(".")[0], {})[name] = parameter
    return parts


@paddle.no_grad()
def gradient_norm(parameters: Iterable[paddle.Tensor], scale: float = 1.0) -> float:
    """Norm of all gradients together, as clipping sees it; 0 where there is none.

    Args:
        scale: what the loss was multiplied by (float16).
    """
    squares = [_squared(p.grad.astype("float32")) for p in parameters if p.grad is not None]
    # in float64: the sum of squares of a large gradient is more than float32 holds
    return math.sqrt(float(paddle.stack(squares).astype("float64").sum())) / scale if squares else 0.0


def _squared(tensor):
    """Sum of squares, by the operation that clips gradients: a tenth of the time of a product and a sum."""
    return paddle._C_ops.squared_l2_norm(tensor).reshape([])


class Updates:
    """How far one step of the optimizer moves the weights of each part, over how large they are.

    It looks at some numbers of some weights (matrices and kernels), so that it costs little time and memory.

    Args:
        parts: see ``learning_parts``.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, paddle.Tensor]]) -> None:
        self.parts = {part: _spread([p for p in named.values() if len(p.shape) > 1] or list(named.values()))
                      for part, named in parts.items()}
        self._before: dict[str, list[paddle.Tensor]] = {}

    def before(self, masters: Mapping[str, paddle.Tensor] = {}) -> None:
        """Remember the weights.

        Args:
            masters: {parameter.name: what the optimizer moves in the place of a half-precision weight}.
        """
        self._before = {part: _some(weights, masters) for part, weights in self.parts.items()}

    @paddle.no_grad()
    def ratios(self, masters: Mapping[str, paddle.Tensor] = {}) -> dict[str, float]:
        """{part: norm of the step over norm of the weights}; None stands for nothing: {} where none is remembered."""
        sums = []
        for part, before in self._before.items():
            for old, new in zip(before, _some(self.parts[part], masters)):
                sums += [_squared(new - old), _squared(old)]
        if not sums:
            return {}
        pairs, found = iter(paddle.stack(sums).numpy().astype("float64").reshape(-1, 2)), {}
        for part, before in self._before.items():
            moved, size = sum(next(pairs) for _ in before)
            found[part] = math.sqrt(moved / size) if size > 0 else 0.0
        self._before = {}
        return found


def _spread(weights):
    """Some of them, evenly from first to last."""
    return [weights[i] for i in np.unique(np.linspace(0, len(weights) - 1, SAMPLED).round().astype(int))]


@paddle.no_grad()
def _some(weights, masters):
    """The first numbers of each, as copies in float32."""
    tensors = (masters.get(weight.name, weight) for weight in weights)
    return [tensor[:max(NUMBERS * tensor.shape[0] // max(tensor.size, 1), 1)].astype("float32").clone()
            for tensor in tensors]


class Statistics:
    """How far the running statistics of BatchNorm have grown since the start of the run."""

    def __init__(self, model: nn.Layer) -> None:
        self.tensors = {name: tensor for name, tensor in model.state_dict().items() if name.endswith(STATISTICS)}
        self._start = [np.maximum(np.abs(value), 1) for value in self._values()]

    def growth(self) -> tuple[float, str]:
        """(the largest number over what it was, or over 1 where it was smaller; its layer)."""
        factors = [float(np.max(np.abs(now) / start)) for now, start in zip(self._values(), self._start)]
        factors = [factor if math.isfinite(factor) else math.inf for factor in factors]
        if not factors:
            return 0.0, ""
        worst = int(np.argmax(factors))
        return factors[worst], list(self.tensors)[worst].rpartition(".")[0]

    @paddle.no_grad()
    def _values(self):
        """Each statistic's numbers; all come from the device at once."""
        if not self.tensors:
            return []
        flat = paddle.concat([tensor.astype("float32").reshape([-1]) for tensor in self.tensors.values()]).numpy()
        return np.split(flat, np.cumsum([tensor.size for tensor in self.tensors.values()])[:-1])


def memory() -> dict[str, int]:
    """MiB: 'resident_mb' and 'peak_mb' of this process; 'gpu_mb', the most that Paddle's tensors took, on a GPU."""
    import psutil

    now, most = psutil.Process().memory_info().rss // MB, memory_there.resident_peak() // MB
    found = {"resident_mb": now, "peak_mb": max(now, most)}  # the system counts the peak less often
    if paddle.get_device().startswith("gpu"):
        found["gpu_mb"] = paddle.device.cuda.max_memory_allocated() // MB
    return found


def share_taken(taken: Mapping[str, int]) -> float:
    """Share of the memory that this process has, or could have, that it has: of the GPU's where it runs on one."""
    if "gpu_mb" in taken:
        return taken["gpu_mb"] * MB / memory_there.gpu().total
    resident = taken["resident_mb"] * MB
    return resident / max(resident + memory_there.ram().free, 1)


def average_age(kind: str, decay: float, steps: int) -> float:
    """Mean age, in steps, of the weights in ppdet's moving average after ``steps`` steps.

    Args:
        kind: ``ema_decay_type``.
        decay: ``ema_decay``.
    """
    done = np.arange(steps, dtype="float64")
    decays = {"threshold": lambda: np.minimum(decay, (1 + done) / (10 + done)),
              "exponential": lambda: decay * (1 - np.exp(-(done + 1) / 2000))}.get(
                  kind, lambda: np.full(steps, float(decay)))()
    # the weights of step k count (1 - d_k) d_k+1 ... d_n; they are divided by their sum, as ppdet does
    later = np.concatenate([np.cumsum(np.log(np.maximum(decays, 1e-300))[::-1])[::-1][1:], [0.0]])
    shares = (1 - decays) * np.exp(later)
    return float((shares * done[::-1]).sum() / max(shares.sum(), 1e-300))
