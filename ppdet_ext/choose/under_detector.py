# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One network to look at: the detector that a config builds around it, and the facts that need no clock."""
from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from ppdet.core.workspace import create

from ..backbones import find_entry, split_tag
from ..backbones.adapters import PassOn, Select
from ..config import config_file
from ..errors import UserError
from ..measure.operations_count import count_backbone, count_detector, count_parameters
from ..registry.weights_wanted import without_pretrained
from ..trace import on_demand
from . import catalogue
from .backbone_section import backbone_section

PLAIN = (type(None), PassOn, Select)  # adapters without a layer of their own


def detector_sections(arch: str, size: Sequence[int], **settings: Any) -> dict[str, Any]:
    """What a config says to have this network under its detector, for images of (height, width)."""
    kind, section = backbone_section(arch, **settings)
    return {"DETR": {"backbone": kind}, kind: section, "eval_size": list(size)}


def require_detr(config: str) -> None:
    """Raise UserError where a config is none of a detector that takes these backbones."""
    architecture = config_file.read(config).get("architecture")
    if architecture != "DETR":
        raise UserError(f"-c {config}: architecture is {architecture!r}; backbones are compared under DETR")


def load(config: str, arch: str, size: Sequence[int], **settings: Any) -> dict[str, Any]:
    """ppdet's global config of the detector in ``config`` with this network as its backbone."""
    cfg = config_file.load(config)
    config_file.merge(cfg, detector_sections(arch, size, **settings))
    return cfg


def build(config: str, arch: str, size: Sequence[int]) -> tuple[nn.Layer, dict[str, Any]]:
    """(the detector with random weights, its config): costs do not depend on values.

    A network that is made for one image size, and not for this one, is built for this one (img_size).

    Raises:
        UserError: the network cannot be built, or does not take images of this size.
    """
    with without_pretrained():
        try:
            return _built(config, arch, size)
        except UserError as error:
            with contextlib.suppress(UserError):
                return _built(config, arch, size, img_size=list(size))
            raise error


def _built(config, arch, size, **settings):
    cfg = load(config, arch, size, pretrained=False, **settings)
    detector = create(cfg["architecture"])
    detector.eval()
    run_backbone(detector, image_of(1, size))  # a size that it does not take is found here
    return detector, cfg


def run_backbone(detector: nn.Layer, image: np.ndarray) -> list[Any]:
    """The features [B, C, H/stride, W/stride] of the detector's backbone, in evaluation."""
    with paddle.no_grad():
        return list(detector.backbone({"image": paddle.to_tensor(image)}))


def image_of(batch: int, size: Sequence[int]) -> np.ndarray:
    """Noise [batch, 3, height, width] in place of normalised pictures."""
    return np.random.default_rng(0).standard_normal((batch, 3, *size), np.float32)


def batch_of(batch: int, size: Sequence[int]) -> dict[str, np.ndarray]:
    """A batch for inference: image, im_shape, scale_factor."""
    return {"image": image_of(batch, size), "im_shape": np.tile(np.array(size, np.float32), (batch, 1)),
            "scale_factor": np.ones((batch, 2), np.float32)}


def training_batch(batch: int, size: Sequence[int], classes: int, boxes: int = 8) -> dict[str, Any]:
    """A batch for training: image, gt_bbox (centre, width and height as shares of the picture), gt_class."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0.2, 0.6, (batch, boxes, 2)), rng.uniform(0.1, 0.3, (batch, boxes, 2))
    return {"image": paddle.to_tensor(image_of(batch, size)),
            "gt_bbox": [paddle.to_tensor(one) for one in np.concatenate(corners, -1).astype(np.float32)],
            "gt_class": [paddle.to_tensor(one) for one in rng.integers(0, classes, (batch, boxes, 1)).astype(np.int32)],
            "im_id": paddle.arange(batch).reshape([batch, 1])}


def facts(detector: nn.Layer, arch: str) -> dict[str, Any]:
    """What is known of a network without running it: how it comes, weights, licence, parameters, features."""
    backbone = detector.backbone
    entry = find_entry(arch, _side(backbone.img_size))
    how = "native" if entry.family != "traced" else \
        "shipped" if split_tag(arch)[0] in on_demand.shipped() else "bridged"
    return {"how": how, **published(arch),
            "adapter": "" if type(backbone.to_strides) in PLAIN else type(backbone.to_strides).__name__,
            "channels": [spec.channels for spec in backbone.out_shape],
            "strides": [spec.stride for spec in backbone.out_shape],
            "parameters": count_parameters(backbone) / 1e6, "detector_parameters": count_parameters(detector) / 1e6}


def published(arch: str) -> dict[str, Any]:
    """'weights' (tag), 'licence' and 'top1' of a network's tag, or of its default one; what is known of them."""
    bare, tag = split_tag(arch)
    known = catalogue.load().get(bare)
    found = next((one for one in known.weights if tag in ("", one.tag)), None) if known else None
    return {"weights": found.tag, "licence": found.licence, "top1": found.top1} if found else {"weights": tag}


def _side(size):
    return tuple(size) if isinstance(size, (list, tuple)) else size


def operations(detector: nn.Layer, size: Sequence[int]) -> dict[str, float]:
    """GFLOPs of backbone and detector for one image, multiplications and additions counted apart, as RT-DETR's are."""
    return {"gflops": count_backbone(detector.backbone, size).gflops,
            "detector_gflops": count_detector(detector, size).gflops}
