# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The networks that checkpoints are for: built from configs/, found by the short names people use."""
from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from ppdet.core.workspace import create

from ..config import config_file, keys
from ..detector import HybridEncoder, RTDETRTransformer
from ..detector.anchors import make_anchors
from ..errors import UserError, nearest
from ..files import data_path
from ..nn.norms import batch_norms
from ..registry.weights_wanted import without_pretrained
from . import name_maps, name_rules

CONFIGS = data_path("configs")
FOLDERS = ("rtdetr", "rtdetrv2")
SCHEDULE = re.compile(r"_\d+[xe]_\w+$")  # what follows a model's name in a config's: _6x_coco, _120e_coco


@dataclass(frozen=True)
class Model:
    """A detector and what its config says of it.

    ``normalization`` is mean and std of its pixels (0..1), ``size`` the [height, width] it is evaluated at,
    ``activations`` the names of those in 'neck', 'encoder' and 'decoder'.
    """
    name: str
    path: Path
    net: paddle.nn.Layer
    normalization: tuple[tuple[float, ...], tuple[float, ...]]
    size: tuple[int, int]
    activations: dict[str, str]

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``{name: shape}`` of its state dict."""
        return {name: tuple(value.shape) for name, value in self.net.state_dict().items()}

    @property
    def second_version(self) -> bool:
        """Whether it is an RT-DETRv2."""
        return name_maps.is_second_version(self.shapes)

    @property
    def frozen_backbone(self) -> bool:
        """Whether normalisation in the backbone never learns (freeze_norm)."""
        norms = batch_norms(self.net.backbone)
        return bool(norms) and all(norm._use_global_stats for norm in norms)

    def name_map(self, project: str, classes: int | None = None) -> name_maps.NameMap:
        """Its NameMap in a project, for another number of classes where one is given.

        Raises:
            UserError: the project has no such network.
        """
        shapes = self.shapes if classes is None else name_maps.with_classes(self.shapes, classes)
        anchors = self.anchor_buffers if self.net.transformer.eval_size else None
        return name_maps.name_map(shapes, project, self.frozen_backbone, anchors)

    def anchor_buffers(self) -> dict[str, np.ndarray]:
        """torch's two buffers of anchors, {name: array}; infinity stands for no anchor there."""
        decoder = self.net.transformer
        anchors, valid = make_anchors(tuple(decoder._eval_shapes()), decoder.eps)
        anchors = np.where(valid, anchors, np.float32(np.inf))
        return dict(zip(name_rules.TORCH_V2_ANCHORS, (anchors[None], valid[None])))


def find(name: str | Path) -> Path:
    """Path of the config that a name means: ``rtdetr_r50vd``, a whole config name, or a .yml file.

    Raises:
        UserError: there is none, or several; the names to choose from are given.
    """
    if str(name).endswith((".yml", ".yaml")):
        return Path(name)
    paths = {path.stem: path for folder in FOLDERS for path in sorted((CONFIGS / folder).glob("*.yml"))}
    if name in paths:
        return paths[name]
    fits = [path for stem, path in paths.items() if SCHEDULE.sub("", stem) == name]
    if len(fits) == 1:
        return fits[0]
    short = sorted({SCHEDULE.sub("", stem) for stem in paths})
    if fits:
        raise UserError(f"--model {name} means several: {', '.join(path.stem for path in fits)}; name one")
    raise UserError(f"no model '{name}'{nearest(name, short)} (known: {', '.join(short)}; or a .yml file)")


def build(name: str | Path, classes: int | None = None) -> Model:
    """The Model of a name, see :func:`find`, untrained; ``classes`` instead of its config's number.

    Raises:
        UserError: unknown name, or a config of another kind of network.
    """
    path = find(name)
    cfg = config_file.load(path)
    keys.check_keys(cfg)
    if not cfg.get("architecture"):
        raise UserError(f"'{path}' names no architecture, so it is not an RT-DETR")
    if classes is not None:
        cfg["num_classes"] = classes
    with without_pretrained():
        net = create(cfg["architecture"])
    if not isinstance(getattr(net, "neck", None), HybridEncoder) or \
            not isinstance(getattr(net, "transformer", None), RTDETRTransformer):
        raise UserError(f"'{path}' is not an RT-DETR: only those can be converted whole")
    return Model(Path(path).stem, path, net, _normalization(cfg), tuple(cfg.get("eval_size") or (640, 640)),
                 _activations(cfg, type(net.transformer).__name__))


def _normalization(cfg):
    values = cfg.get("normalization") or {}
    return tuple(values.get("mean") or (0.0,) * 3), tuple(values.get("std") or (1.0,) * 3)


def _activations(cfg, transformer):
    layer = cfg["HybridEncoder"].get("encoder_layer")
    layer = layer if isinstance(layer, dict) else {}
    return {"neck": cfg.get("act") or dict.get(cfg["HybridEncoder"], "act") or "silu",
            "encoder": layer.get("activation", "relu"),
            "decoder": dict.get(cfg[transformer], "activation") or "relu"}
