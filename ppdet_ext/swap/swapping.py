# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The operation: a trained detector's weights into a built one of another backbone, in memory, all accounted for."""
from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ..checkpoints import checkpoint_files, finetune, name_maps, name_rules, stamp
from ..checkpoints.facts import Facts, backbone_name
from ..config import config_file
from ..data.known_normalization import numbers
from ..detector import HybridEncoder, RTDETRTransformer
from ..errors import UserError, masked
from ..weights import load_report, pretrained_weights
from . import swap_plan
from .swap_report import SwapReport

log = logging.getLogger("ppdet.engine")


def swap(new_model: nn.Layer, checkpoint: str | Path, from_config: str | Path | None = None, *,
         keep_backbone: bool | None = None, class_map: dict[Any, Any] | None = None,
         own_names: Sequence[str] | None = None, check: Callable[[Facts], None] | None = None,
         start: str = "") -> SwapReport:
    """Load what a trained detector learnt after its backbone into a detector with another one.

    Args:
        new_model: an RT-DETR, built; its backbone has its own first weights already.
        checkpoint: of a trained RT-DETR: a file of PaddleDetection or lyuwenyu/RT-DETR, a folder of Hugging Face's, or
            a URL. Of several sets of weights the averaged one is taken.
        from_config: the config that the checkpoint was trained with; it says what its backbone is called where the
            checkpoint does not.
        keep_backbone: whether the checkpoint's backbone stays; None: it does where the new one is the same, by its
            name (without a tag of weights) and all its parameters' names and shapes.
        class_map: as in fine-tuning; None: classes of the same name are paired where the classes differ.
        own_names: names of the new detector's classes, where they are known.
        check: told the checkpoint's facts where its backbone stays, before anything is loaded.
        start: where the new backbone's first weights come from, where it does not say so itself.

    Returns:
        What became of every tensor.

    Raises:
        UserError: the new detector or the checkpoint is no RT-DETR; other levels; another hidden size; keep_backbone
            asks for a backbone that the checkpoint does not have. The new detector is then untouched.
    """
    require_rtdetr(new_model)
    new = {name: tuple(value.shape) for name, value in new_model.state_dict().items()}
    found, project, state = _read(checkpoint, new)
    facts, old = _facts(found), _shapes(state)
    swap_plan.require_detector(old, found.source, found.state)
    swap_plan.require_alike(new, old, found.source)
    names = facts.backbone or _configured_backbone(from_config, found.path), backbone_name(new_model.backbone)
    same, why_not = _same_backbone(new, old, names)
    if keep_backbone and not same:
        raise UserError(f"swap_backbone: keep_backbone: true, but the new backbone is not the checkpoint's: {why_not}; "
                        "leave it out")
    kept = same if keep_backbone is None else keep_backbone
    if kept and check:
        check(facts)
    state, anew, notes = _fit_classes(new_model, state, class_map, own_names, found.meta.get("classes"))
    report = SwapReport(
        rows=swap_plan.plan(new, _shapes(state), kept, anew), source=masked(found.source), sha256=found.sha256,
        project=project, old_backbone=names[0], new_backbone=names[1], start=start or _start(new_model.backbone),
        backbone_kept=kept, notes=(*notes, *_notes(same, kept, why_not, facts)),
        classes=_classes(own_names, found, new), licence=str(found.meta.get("license") or ""), swaps=facts.swaps)
    wanted = {name: state[name] for name in (*report.names(swap_plan.KEPT), *anew)}
    # what it lacks is what the rows call made or reset
    log.debug(str(load_report.load_into(new_model, wanted, allow="*", source=report.source)))
    return report


def require_rtdetr(model: nn.Layer) -> None:
    """Raise UserError for a detector that this operation is not for."""
    if not isinstance(getattr(model, "neck", None), HybridEncoder) or \
            not isinstance(getattr(model, "transformer", None), RTDETRTransformer):
        raise UserError(f"swap_backbone keeps an RT-DETR's neck and decoder, but the config names a "
                        f"{type(model).__name__} with another neck or decoder; take HybridEncoder and "
                        "RTDETRTransformer (or v2)")


def _read(checkpoint, new):
    """(Checkpoint, project, {Paddle name: array} of all that can be named)."""
    rest = {name: shape for name, shape in new.items() if not name.startswith(name_maps.BACKBONE)}
    maps = {**name_maps.reading_maps(rest), **name_maps.reading_maps(new)}
    try:
        found = checkpoint_files.read(checkpoint, {name for one in maps.values() for name in one.shapes})
    except UserError as error:
        raise UserError(f"the detector to swap from: {error}") from None
    after, count = name_maps.identify(found.state, name_maps.reading_maps(rest).values())
    if after is None or not count:
        swap_plan.require_detector({}, found.source, found.state)
    project = after.project
    tidy = maps[project].tidy(found.state, found.source)
    state, others = name_maps.by_rules(tidy, project)
    backbone = maps[project].translate({name: tidy[name] for name in others}) if project != "paddledet" else \
        {name: tidy[name] for name in others}
    used = {name for link in maps[project].links if link.paddle in backbone for name in link.foreign}
    # another backbone's names have no counterpart in Paddle
    strange = {f"{name_maps.BACKBONE}({name})" if name_maps.BACKBONE in name else name: tidy[name]
               for name in others if name not in used
               and not name.endswith((name_rules.COUNTER, *name_rules.TORCH_V2_ANCHORS))}
    return found, project, {**state, **backbone, **(strange if project != "paddledet" else {})}


def _facts(found):
    own = stamp.read(found.path) if found.path.suffix == stamp.WEIGHTS else None
    return own.facts if own and own.facts else Facts.of(found.meta)


def config_beside(weights: Path) -> Path:
    """Where a training writes its config beside its checkpoints; see ``engine.training_report.config_path``.

    In a folder that has had another name since, it is the only config there.
    """
    path = weights.parent / f"{weights.parent.resolve().name}.yml"
    if path.is_file():
        return path
    configs = [other for other in sorted(weights.parent.glob("*.yml")) if _is_config(other)]
    return configs[0] if len(configs) == 1 else path


def _is_config(path):
    """Whether it is no .yml of converted weights."""
    try:
        return "architecture" in config_file.read(path)
    except UserError:
        return False


def _shapes(state):
    return {name: tuple(np.shape(value)) for name, value in state.items()}


def _configured_backbone(from_config, weights):
    """The name of the backbone in a config, by default the one beside the weights; '' without one."""
    path = from_config or config_beside(weights)
    if not from_config and not path.is_file():
        return ""
    values = config_file.read(path)
    section = values.get(str(values.get("architecture"))) or {}
    backbone = section.get("backbone") if isinstance(section, dict) else None
    settings = values.get(str(backbone)) or {}
    if not isinstance(settings, dict):
        return str(backbone or "")
    arch, depth = settings.get("arch"), settings.get("depth")
    if arch and str(backbone) in ("TimmBackbone", "TorchvisionBackbone"):
        return f"{'torchvision/' if backbone == 'TorchvisionBackbone' else ''}{arch}"
    return str(backbone or "") + (f"-{depth}" if isinstance(depth, int) else "")


def _same_backbone(new, old, names):
    """(whether the new backbone is the old one, why it is not)."""
    theirs, ours = (name.partition(".")[0] for name in names)
    if theirs and theirs != ours:
        return False, f"it is {names[1]}, the checkpoint's {names[0]}"
    found = swap_plan.difference(*({name: shape for name, shape in shapes.items()
                                    if name.startswith(name_maps.BACKBONE)} for shapes in (new, old)))
    return not found, found


def _fit_classes(model, state, class_map, own_names, their_names):
    """(state for the new classes, names that do not keep all rows, notes)."""
    wanted = class_map if class_map is not None else swap_plan.class_names_pair(own_names, their_names)
    start = finetune.fit_classes(state, model, wanted, own_names, their_names)
    anew = [name for name in swap_plan.depends_on_classes(state) if start.state[name] is not state[name]]
    return start.state, anew, [line for line in start.lines if not line.startswith("kept:")]


def _start(backbone):
    """Where the backbone's first weights come from, in words."""
    source = getattr(backbone, "weights_source", pretrained_weights.RANDOM)
    return "a random start" if source == pretrained_weights.RANDOM else str(source)


def _notes(same, kept, why_not, facts):
    if same and not kept:
        yield "the new backbone is the checkpoint's, but starts from its own weights, as keep_backbone: false says"
    if not same:
        yield f"another backbone: {why_not}"
    if not kept and facts.mean:
        yield (f"pixels are normalised for the new backbone, as the new config says; the checkpoint's were with mean "
               f"{numbers(facts.mean)}, std {numbers(facts.std)}")


def _classes(own_names, found, new):
    """The class names in the new detector's order; () where they are not known."""
    if own_names:
        return tuple(own_names)
    theirs = found.meta.get("classes") or ()
    return tuple(theirs) if len(theirs) == new[name_maps.SCORE_BIAS][0] else ()

