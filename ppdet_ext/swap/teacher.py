# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The teacher: the detector as it was before the swap, built from its checkpoint and config, in eval mode."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn
from ppdet.core.workspace import global_config

from ..checkpoints import checkpoint_files, models, name_maps, name_rules
from ..config import config_file
from ..data import normalization, random_state
from ..errors import UserError, masked
from ..weights.load_report import load_into
from . import swapping

log = logging.getLogger("ppdet.engine")
#: mean and std of RGB in 0..1
Normalization = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Teacher:
    """A detector that no longer learns.

    Attributes:
        net: the network, in eval mode.
        normalization: what its pixels are normalised with.
        size: (height, width) that it was evaluated at.
        classes: names in its order; () where they are not known.
        source: what its checkpoint is called.
    """

    net: nn.Layer
    normalization: Normalization
    size: tuple[int, int]
    classes: tuple[str, ...] = ()
    source: str = ""

    @paddle.no_grad()
    def features(self, image: paddle.Tensor, own: Normalization) -> list[paddle.Tensor]:
        """Its features after ``neck.input_proj``, [B, hidden_dim, H/stride, W/stride] each.

        Args:
            image: [B, 3, H, W], normalised for another network.
            own: what that network's pixels are normalised with.
        """
        return projected(self.net, self.seen(image, own))

    def seen(self, image: paddle.Tensor, own: Normalization) -> paddle.Tensor:
        """Pictures that are normalised for another network, normalised for this one."""
        return normalized_again(image, own, self.normalization)


def projected(net: nn.Layer, image: paddle.Tensor) -> list[paddle.Tensor]:
    """A detector's features after ``neck.input_proj`` of pictures [B, 3, H, W] that are normalised for it."""
    return [project(feature) for project, feature in zip(net.neck.input_proj, net.backbone({"image": image}))]


def normalized_again(image: paddle.Tensor, given: Normalization, wanted: Normalization) -> paddle.Tensor:
    """Pictures [B, 3, H, W] that are normalised with ``given``, normalised with ``wanted`` instead."""
    if tuple(map(tuple, given)) == tuple(map(tuple, wanted)):
        return image
    (mean, std), (other_mean, other_std) = ([paddle.to_tensor(values, "float32").reshape([3, 1, 1])
                                             for values in pair] for pair in (given, wanted))
    return image * (std / other_std) + (mean - other_mean) / other_std


def build(spec: str | Path, config: str | Path | None = None) -> Teacher:
    """The teacher of a checkpoint.

    Random numbers, ppdet's global config and the names that Paddle gives to parameters are afterwards as before.

    Args:
        spec: PaddleDetection's, lyuwenyu's or transformers' detector, or one that was trained here.
        config: its config, as ``checkpoints.models.find`` takes it; None: the one that its run wrote beside it.

    Raises:
        UserError: the config is not known, or network and checkpoint do not fit.
    """
    try:
        with config_file.set_aside(), random_state.kept(), paddle.utils.unique_name.guard():
            paddles = random_state.of_paddle()
            try:
                return _build(spec, config or _config_beside(spec))
            finally:
                random_state.restore_paddle(paddles)
    except UserError as error:
        raise UserError(f"the teacher '{masked(spec)}' cannot be built: {error}") from None


def _config_beside(spec: str | Path) -> Path:
    """The config that a run writes beside its checkpoints; UserError where there is none."""
    path = swapping.config_beside(checkpoint_files.locate(spec).path)
    if not path.is_file():
        raise UserError(f"its config is not known (there is no '{path}'); name it: from_config: FILE, or the name of a "
                        "model such as rtdetr_r50vd (of tools/swap_backbone.py: --from_config)")
    return path


def _build(spec: str | Path, config: str | Path) -> Teacher:
    model = models.build(config)
    maps = name_maps.reading_maps(model.shapes)
    checkpoint = checkpoint_files.read(spec, {name for found in maps.values() for name in found.shapes})
    found, _ = name_maps.identify(checkpoint.state, maps.values())
    if found is None:
        raise UserError(f"it has no parameter of the network in '{model.path}'")
    classes = found.classes_of(checkpoint.state)
    if classes and classes != model.shapes[name_maps.SCORE_BIAS][0]:
        model = models.build(config, classes)
        found = model.name_map(found.project)
    state, _ = found.to_paddle(checkpoint.state, model.name, checkpoint.source)
    load_into(model.net, state, source=checkpoint.source)
    model.net.eval()
    for parameter in model.net.parameters():
        parameter.stop_gradient = True
    names = tuple(checkpoint.meta.get("classes") or ())
    log.info(f"teacher: {model.name} from {checkpoint.source} ({name_rules.TITLES[found.project]}'s format)")
    return Teacher(model.net, _normalization(checkpoint.meta, model), model.size, names, checkpoint.source)


def _normalization(known: dict[str, Any], model: models.Model) -> Normalization:
    """What the checkpoint itself says, else its config: readers' own numbers, or those of its backbone's weights."""
    if known.get("mean") and known.get("std"):
        return tuple(known["mean"]), tuple(known["std"])
    normalization.resolve(global_config)
    for reader in ("EvalReader", "TestReader", "TrainReader"):
        found = normalization.used(global_config, reader)
        if found:
            return found
    raise UserError(f"how its pixels were normalised is not known; write 'normalization: {{mean: [...], std: [...]}}' "
                    f"into '{model.path}'")
