# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the native families share: a network is a list of steps, and some steps end in a feature."""
from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from ..errors import UserError
from ..nn import global_pool, recomputed


def take_indices(count: int, indices: int | Sequence[int] | None = None) -> tuple[int, ...]:
    """Indices of features as timm takes them: None for all, n for the last n, or a sequence (negative: from the end).

    Returns:
        tuple of ascending indices, 0 <= i < count.

    Raises:
        UserError: an index is out of range, or the sequence is empty or not ascending.
    """
    if indices is None:
        indices = count
    if isinstance(indices, int):
        indices = range(-indices, 0)
    taken = tuple(index + count if index < 0 else index for index in indices)
    if not taken or min(taken) < 0 or max(taken) >= count:
        raise UserError(f"out_indices {list(indices)} do not fit: the network has {count} features (0 to {count - 1})")
    if list(taken) != sorted(set(taken)):
        raise UserError(f"out_indices {list(indices)} must be ascending and without repeats")
    return taken


class FeatureInfo:
    """Channels, reductions (stride to the input) and timm module names of a network's features.

    Methods answer for ``out_indices``, or for the index or indices given.
    """

    def __init__(self, features: Sequence[Mapping[str, Any]], out_indices: int | Sequence[int] | None = None):
        self.info = [dict(feature, index=index) for index, feature in enumerate(features)]
        self.out_indices = take_indices(len(features), out_indices)

    def get(self, key: str, index: int | Sequence[int] | None = None) -> Any:
        """One value for an int, else a list."""
        if isinstance(index, int):
            return self.info[index][key]
        return [self.info[i][key] for i in (self.out_indices if index is None else tuple(index))]

    def channels(self, index: int | Sequence[int] | None = None) -> Any:
        return self.get("num_chs", index)

    def reduction(self, index: int | Sequence[int] | None = None) -> Any:
        return self.get("reduction", index)

    def module_name(self, index: int | Sequence[int] | None = None) -> Any:
        return self.get("module", index)

    def from_other(self, out_indices: int | Sequence[int] | None) -> FeatureInfo:
        """The same features with other out_indices."""
        return FeatureInfo(copy.deepcopy(self.info), out_indices)

    def __getitem__(self, index):
        return self.info[index]

    def __len__(self):
        return len(self.info)

    def __repr__(self):
        return f"FeatureInfo(out_indices={self.out_indices}, channels={self.channels()}, reduction={self.reduction()})"


@dataclass(frozen=True)
class Step:
    """Sublayers, by path, that run one after the other.

    Args:
        paths: such as ("conv_stem", "bn1"). Paths, not objects: a tool that exchanges a sublayer (SyncBatchNorm)
            must be seen.
        reduction: stride to the input after the step.
        num_chs: channels after the step.
        tap: timm's module name where the step's output is a feature, else ''.
    """
    paths: tuple
    reduction: int
    num_chs: int
    tap: str = ""


class FeatureNet(nn.Layer):
    """Base of the native families.

    A family builds its sublayers under timm's names, then calls ``_set_steps`` (and ``_add_head``). With
    features_only there is no head, steps after the last feature are dropped, and forward gives a list of features.

    Attributes:
        feature_info: FeatureInfo.
        unused_prefixes: names that timm's state dict has and this network was built without.
        recompute: while training, recompute each step but the stem in the backward pass.
        pretrained_cfg: PretrainedCfg, set by create_model.
    """

    HEAD: tuple[str, ...] = ()  # paths that run after the last step, before pooling
    CLASSIFIER = ""  # path of the classifier

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, features_only: bool = False,
                 out_indices: int | Sequence[int] | None = None, drop_rate: float = 0.0, pool: str = "avg"):
        super().__init__()
        self.num_classes = 0 if features_only else num_classes
        self.in_chans = in_chans
        self.features_only = features_only
        self.recompute = False
        self.pretrained_cfg = None
        self.unused_prefixes: tuple[str, ...] = ()
        self.head_dropout = nn.Dropout(drop_rate)
        self._out_indices = out_indices
        self._pool = global_pool(pool)

    def _set_steps(self, steps):
        """Take the steps, drop those that no wanted feature needs, and describe the features."""
        taps = [index for index, step in enumerate(steps) if step.tap]
        features = [dict(num_chs=steps[i].num_chs, reduction=steps[i].reduction, module=steps[i].tap) for i in taps]
        self.feature_info = FeatureInfo(features, self._out_indices)
        self.num_features = steps[-1].num_chs
        self._taps = tuple(taps)
        self._steps = tuple(steps)
        if self.features_only:
            self._drop_steps(self._taps[self.feature_info.out_indices[-1]] + 1)
            self.unused_prefixes += tuple(f"{path}." for path in self.HEAD)
        if not self.num_classes:
            self.unused_prefixes += (f"{self.CLASSIFIER}.",)

    def _drop_steps(self, first):
        for step in self._steps[first:]:
            for path in step.paths:
                parent, _, name = path.rpartition(".")
                delattr(self._sublayer(parent), name)
                self.unused_prefixes += (f"{path}.",)
        self._steps = self._steps[:first]

    def _sublayer(self, path):
        layer = self
        for name in path.split(".") if path else ():
            layer = layer._sub_layers[name]
        return layer

    def _run(self, paths, x):
        for path in paths:
            x = self._sublayer(path)(x)
        return x

    def _run_step(self, index, x):
        paths = self._steps[index].paths
        if self.recompute and self.training and index > 0:
            return recomputed(lambda value: self._run(paths, value), [self._sublayer(path) for path in paths], x)
        return self._run(paths, x)

    def forward_intermediates(self, x: paddle.Tensor,
                              indices: int | Sequence[int] | None = None) -> list[paddle.Tensor]:
        """Features [B, C, H, W] by index, as ``take_indices`` reads them; stops at the last one wanted."""
        wanted = take_indices(len(self._taps), indices)
        steps = [self._taps[index] for index in wanted]
        features = []
        for index in range(steps[-1] + 1):
            x = self._run_step(index, x)
            if index in steps:
                features.append(x)
        return features

    def forward_features(self, x: paddle.Tensor) -> paddle.Tensor:
        """Image [B, in_chans, H, W] -> the map that the head pools."""
        for index in range(len(self._steps)):
            x = self._run_step(index, x)
        return x if self.features_only else self._run(self.HEAD, x)

    def forward_head(self, x: paddle.Tensor, pre_logits: bool = False) -> paddle.Tensor:
        """The head's map -> logits [B, num_classes] (pooled features with pre_logits or without a classifier)."""
        x = self.head_dropout(self._pool(x))
        return x if pre_logits or not self.num_classes else self._sublayer(self.CLASSIFIER)(x)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor | list[paddle.Tensor]:
        """Logits, or with features_only the list of features at out_indices."""
        if self.features_only:
            return self.forward_intermediates(x, self.feature_info.out_indices)
        return self.forward_head(self.forward_features(x))

    def stage_layers(self) -> list[list[nn.Layer]]:
        """Sublayers that own parameters, for freezing and learning rates: [stem, stage at stride 4, 8, 16, 32].

        The stem is the first step and all that works at stride 1 and 2, so the lists mean the same in every family:
        EfficientNet's first block and DarkNet's first stage belong to the stem. Features at stride 4 and deeper end a
        stage.
        """
        groups: dict[int, list[nn.Layer]] = {}
        for index, step in enumerate(self._steps):
            level = next(self._steps[tap].reduction for tap in self._taps if index <= tap < len(self._steps))
            layers = [self._sublayer(path) for path in step.paths]
            level = 2 if index == 0 else max(level, 2)
            groups.setdefault(level, []).extend(layer for layer in layers if layer.parameters())
        return [groups[level] for level in sorted(groups)]
