# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Networks that are no native port: a traced graph with the interface of the native ones (see FeatureNet)."""
from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import paddle
from paddle import nn

from ..errors import UserError
from ..graph.graph import Graph
from ..graph.layer import GraphLayer, paddle_name
from ..nn import recomputed
from .features import FeatureInfo, take_indices

logger = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"
QUARTERS = 4  # stages of a network whose features all have one stride


class TracedNet(GraphLayer):
    """The network of a traced graph; settings and attributes as create_model and FeatureNet describe them.

    Raises:
        UserError: the graph has no classifier and one is wanted, or cannot follow a setting.
    """

    def __init__(self, graph: Graph, num_classes: int | None = None, in_chans: int = 3, features_only: bool = False,
                 out_indices: int | Sequence[int] | None = None, drop_path_rate: float = 0.0):
        info = FeatureInfo(graph.features, out_indices)
        if not features_only and "logits" not in graph.outputs:
            raise UserError(f"{graph.name} is traced for its features only; create it with features_only=True")
        wanted = {"features": [graph.outputs["features"][index] for index in info.out_indices]}
        if not features_only:
            wanted["logits"] = graph.outputs["logits"]
        super().__init__(graph, wanted, drop_path_rate, in_chans, None if features_only else num_classes)
        if graph.info.get("training_differs"):
            logger.warning("%s follows what %s compute in evaluation, also while it trains", graph.name,
                           ", ".join(graph.info["training_differs"]))
        self.feature_info = info
        self._made = info.out_indices
        self.features_only = features_only
        self.num_classes = 0 if features_only else num_classes
        self.in_chans = in_chans
        self.recompute = False
        self.pretrained_cfg = None
        own = set(self.state_dict())
        names = map(paddle_name, graph.state)
        self.unused_prefixes = tuple(name for name in names if name not in own and not name.endswith(COUNTER))

    @property
    def position_grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the patches at the traced size, for networks whose features all have one stride."""
        strides = {feature["reduction"] for feature in self.graph.features}
        height, width = self.graph.info["input_size"][1:]
        return (height // min(strides), width // min(strides)) if len(strides) == 1 else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor | list[paddle.Tensor]:
        """Logits, or with features_only the list of features at ``feature_info.out_indices``."""
        outputs = super().forward(x)
        if not self.features_only:
            return outputs["logits"]
        return [self._with_channels(outputs["features"], index) for index in self.feature_info.out_indices]

    def _with_channels(self, features: Sequence[paddle.Tensor], index: int) -> paddle.Tensor:
        """A feature; where a static graph has lost count of its channels, it is told."""
        feature = features[self._made.index(index)]
        known = isinstance(feature.shape[1], int) and feature.shape[1] >= 0
        return feature if known else feature.reshape([0, self.feature_info.channels(index), 0, 0])

    def forward_intermediates(self, x: paddle.Tensor,
                              indices: int | Sequence[int] | None = None) -> list[paddle.Tensor]:
        """Features [B, C, H, W] by index, as ``take_indices`` reads them."""
        indices = take_indices(len(self.feature_info), indices)
        missing = [index for index in indices if index not in self._made]
        if missing:
            raise UserError(f"{self.graph.name} was made for the features {list(self._made)}, not {missing}; create it "
                            "with out_indices=None")
        features = super().forward(x)["features"]
        return [self._with_channels(features, index) for index in indices]

    def run_stage(self, index: int, values: Sequence[Any]) -> Any:
        """GraphLayer's, recomputed in the backward pass where ``recompute`` is set."""
        if self.recompute and self.training and index > 0:
            owners = [self.owner(path, kind) for path, kind in self.owned[index]]
            return recomputed(lambda *given: super(TracedNet, self).run_stage(index, given), owners, *values)
        return super().run_stage(index, values)

    def owner(self, path: str, kind: str) -> nn.Layer:
        """The sublayer at a path as it is now; a parameter is handed out in a layer of its own."""
        layer, name = self.holder(path if kind == "leaf" else paddle_name(path))
        if kind == "leaf":
            return layer._sub_layers[name]
        if name not in layer._parameters:
            return nn.Layer()
        alone = nn.Layer()
        alone.add_parameter(name.replace(".", "_"), layer._parameters[name])
        return alone

    def stage_layers(self) -> list[list[nn.Layer]]:
        """As FeatureNet's; of a network whose features all have one stride: [stem, first to last quarter]."""
        groups: dict[int, list[nn.Layer]] = {}
        for level, owners in self._levels():
            layers = [self.owner(path, kind) for path, kind in owners]
            groups.setdefault(level, []).extend(layer for layer in layers if layer.parameters())
        return [groups[level] for level in sorted(groups)]

    def _levels(self) -> Iterator[tuple[int, list[tuple[str, str]]]]:
        """(level, owners) by stage; 0 is the stem, the others count strides above 2 or quarters."""
        reductions = [feature["reduction"] for feature in self.graph.features]
        count = len(reductions)
        flat = len(set(reductions)) == 1 and count >= QUARTERS
        for index, owners in enumerate(self.owned):
            place = min(index, count - 1)
            level = 1 + place * QUARTERS // count if flat else reductions[place]
            level = 0 if not flat and level <= 2 else level
            if index == 0 and level:
                stem = self._stem()
                yield 0, [owner for owner in owners if owner in stem]
                owners = [owner for owner in owners if owner not in stem]
            yield level, owners

    def _stem(self) -> set[tuple[str, str]]:
        """What the network's first module and its top level own, of the things that run before the first feature."""
        first, *others = self.owned
        head = first[0][0].partition(".")[0]
        shared = any(path.startswith(f"{head}.") for owners in others for path, _ in owners)
        prefix = ".".join(first[0][0].split(".")[:2 if shared else 1])
        return {owner for owner in first if f"{owner[0]}.".startswith(f"{prefix}.") or
                (owner[1] == "param" and "." not in owner[0])}
