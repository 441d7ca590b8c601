# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Normalisation belongs to the weights: readers take mean, std and interpolation from the backbone's PretrainedCfg.

``NormalizeImage: {mean: from_weights, std: from_weights}`` (also ``interp: from_weights`` of a resize and ``fill_value:
from_weights`` of an expansion) get the weights' numbers; other numbers under pretrained weights are reported.
"""
from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np

from ..config.reader_keys import READERS, TRANSFORM_LISTS
from ..config.values import FROM_WEIGHTS as PLACEHOLDER
from ..errors import UserError
from .known_normalization import Normalisation, backbone_settings, numbers, of_weights

logger = logging.getLogger("ppdet.engine")

# timm's names -> OpenCV's numbers, which ppdet's Resize takes
INTERPOLATION = {"nearest": 0, "bilinear": 1, "bicubic": 2, "box": 3, "lanczos": 4, "random": 1}
# the most by which two ways to normalise may differ at any pixel, in the network's units (about 1/4 grey level)
TOLERANCE = 0.01
WRITTEN = "as the config's normalization says"


def resolve(cfg: dict, weights_cfg: Normalisation | None = None,
            find: Callable[[dict, str | None, dict], Normalisation | None] = of_weights) -> Normalisation | None:
    """Fill ``from_weights`` in every reader of ``cfg``, in place, and compare what is written out; logs what is used.

    The config's own ``normalization: {mean, std}`` wins over what is supposed of the weights (a warning names both).

    Args:
        cfg: ppdet's global config.
        weights_cfg: a Normalisation (or any object with its fields) known better than ``find`` can.
        find: (cfg, backbone's name, {'arch', 'pretrained'}) -> Normalisation or None.

    Returns:
        The Normalisation used, or None where nothing is known of the backbone's weights (and nothing was asked for).

    Raises:
        UserError: ``from_weights`` under a backbone without known weights; numbers that differ from the weights' own or
            from the config's ``normalization`` (a warning with ``normalization_mismatch: warn``), or from reader to
            reader. With ``pretrained`` off, the weights' numbers are not looked at.
    """
    name, settings = backbone_settings(cfg)
    written, found = _written(cfg), weights_cfg or find(cfg, name, settings)
    known = _over(cfg, written, found, settings.get("pretrained")) if written else found
    if known is None:
        where = _first_placeholder(cfg)
        if where:
            raise UserError(f"{where} is '{PLACEHOLDER}', but nothing is known of the weights of backbone '{name}'; "
                            "write 'normalization: {mean: [...], std: [...]}' at the top of the config, for ImageNet "
                            "weights mostly mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]")
    else:
        for reader, entries in _transforms(cfg):
            _fill(reader, entries, known)
    if known is not None and (written or weights_cfg is not None or settings.get("pretrained")):
        _compare(cfg, known)
    else:
        _compare_readers(cfg)
    _log(cfg, known)
    return known


def _over(cfg, written, found, pretrained):
    """What the config writes, over what is known of the weights; refused where they say something else themselves."""
    if found is None:
        return written
    if pretrained and _gap(_affine_of(written), _affine_of(found)) > TOLERANCE:
        text = (f"normalization in the config is {written}, but the weights '{found.source}' were trained with {found} "
                f"({found.told_by})")
        if found.certain:
            _differs(cfg, f"{text}; leave it out, or write 'normalization: null' over that of a _BASE_")
        else:
            logger.warning("%s: the config's is used", text)
    return dataclasses.replace(written, interpolation=found.interpolation)


def _log(cfg, known):
    """One line: the numbers that the readers have, and where they are from."""
    used = next(((reader, _given(entries)) for reader, entries in _transforms(cfg)), None)
    if used is None:
        return
    wanted = known is not None and _gap(affine(used[1]), _affine_of(known)) <= TOLERANCE
    logger.info("Normalisation: %s", f"{known}, {known.told_by or known.source}" if known is not None and wanted else
                f"{_describe(used[1])}, as {used[0]} writes")


def _written(cfg):
    """The Normalisation of the config's own ``normalization: {mean, std}``, for backbones whose weights say nothing."""
    given = cfg.get("normalization")
    if not given:
        return None
    if not isinstance(given, dict) or set(given) != {"mean", "std"} or any(len(v) != 3 for v in given.values()):
        raise UserError(f"normalization must be {{mean: [r, g, b], std: [r, g, b]}} in 0..1, got {given}")
    return Normalisation(tuple(given["mean"]), tuple(given["std"]), source=WRITTEN, told_by=WRITTEN)


def _transforms(cfg):
    """(reader name, [(operator, arguments)]) for each reader that has transforms, in the order they run."""
    for reader in READERS:
        section = cfg.get(reader)
        if isinstance(section, dict):
            entries = [(name, arguments or {}) for key in TRANSFORM_LISTS for entry in dict.get(section, key) or ()
                       for name, arguments in entry.items()]
            if entries:
                yield reader, entries


def _first_placeholder(cfg):
    return next((f"{reader}: {name}.{key}" for reader, entries in _transforms(cfg) for name, arguments in entries
                 for key, value in arguments.items() if value == PLACEHOLDER), None)


def _fill(reader, entries, known):
    """Replace the placeholders of one reader."""
    for name, arguments in entries:
        scale = 1.0 if arguments.get("is_scale", True) else 255.0
        if arguments.get("norm_type") == "none" and PLACEHOLDER in (arguments.get("mean"), arguments.get("std")):
            raise UserError(f"{reader}: NormalizeImage has norm_type: none, which leaves mean and std unused; remove "
                            "it to normalise as the weights want")
        values = {"mean": [value * scale for value in known.mean], "std": [value * scale for value in known.std],
                  "fill_value": [value * 255.0 for value in known.mean],
                  "interp": INTERPOLATION.get(known.interpolation, 1)}
        for key, value in list(arguments.items()):
            if isinstance(value, str) and value == PLACEHOLDER:
                if key not in values:
                    raise UserError(f"{reader}: {name}.{key} cannot be '{PLACEHOLDER}' (only {', '.join(values)} can)")
                arguments[key] = values[key]


def affine(arguments: dict | None) -> tuple[np.ndarray, np.ndarray]:
    """What a NormalizeImage does to a pixel 0..255, as (factor [3], offset [3]).

    Args:
        arguments: its settings; None stands for no such operator.
    """
    if arguments is None:
        return np.ones(3), np.zeros(3)
    factor = np.full(3, 1 / 255 if arguments.get("is_scale", True) else 1.0)
    if arguments.get("norm_type", "mean_std") == "none":
        return factor, np.zeros(3)
    mean = np.asarray(arguments.get("mean", [0.485, 0.456, 0.406]), "float64")
    std = np.asarray(arguments.get("std", [0.229, 0.224, 0.225]), "float64")
    return factor / std, -mean / std


def used(cfg: dict, reader: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, std) in 0..1 that pictures of a reader are normalised with; None where it has no transforms."""
    entries = dict(_transforms(cfg)).get(reader)
    if entries is None:
        return None
    factor, offset = affine(_given(entries))
    std = 1 / (255 * factor)
    return tuple(map(float, (-offset * std).round(9))), tuple(map(float, std.round(9)))


def check_against(cfg: dict, reader: str, mean: Sequence[float], std: Sequence[float], words: str) -> None:
    """Hold one reader against what a checkpoint was trained with; ``words`` are those before its numbers.

    Raises:
        UserError: they differ, without ``normalization_mismatch: warn``.
    """
    entries = dict(_transforms(cfg)).get(reader)
    if entries is not None and _gap(affine(_given(entries)), affine({"mean": mean, "std": std})) > TOLERANCE:
        _differs(cfg, f"{reader} normalises with {_describe(_given(entries))}, but {words} mean {numbers(mean)}, std "
                 f"{numbers(std)}; write these as 'normalization: {{mean: [...], std: [...]}}'")


def _affine_of(known):
    return affine({"mean": list(known.mean), "std": list(known.std)})


def _gap(one, other):
    """The most by which two ways differ, at black or white, in the network's units."""
    white = (one[0] - other[0]) * 255 + one[1] - other[1]
    return max(np.abs(one[1] - other[1]).max(), np.abs(white).max())


def _given(entries):
    """Arguments of a reader's NormalizeImage; None where it has none."""
    return next((arguments for name, arguments in entries if name == "NormalizeImage"), None)


def _compare(cfg, known):
    """Report readers whose normalisation differs from the known one by more than TOLERANCE."""
    wanted = _affine_of(known)
    theirs = "the config's normalization is" if known.told_by == WRITTEN else \
        f"the weights '{known.source}' were trained with"
    for reader, entries in _transforms(cfg):
        if _gap(affine(_given(entries)), wanted) > TOLERANCE:
            _differs(cfg, f"{reader} normalises with {_describe(_given(entries))}, but {theirs} mean "
                     f"{numbers(known.mean)}, std {numbers(known.std)}; write 'NormalizeImage: {{mean: {PLACEHOLDER}, "
                     f"std: {PLACEHOLDER}}}'")


def _compare_readers(cfg):
    """Report readers that normalise otherwise than the first one, where no other numbers are known."""
    readers = [(reader, _given(entries)) for reader, entries in _transforms(cfg)]
    for reader, given in readers[1:]:
        first, others = readers[0]
        if _gap(affine(given), affine(others)) > TOLERANCE:
            _differs(cfg, f"{reader} normalises with {_describe(given)}, but {first} with {_describe(others)}; a "
                     "detector is to see pictures as it was trained on them, so write the same in both")


def _differs(cfg, text):
    if cfg.get("normalization_mismatch") != "warn":
        raise UserError(f"{text}, or 'normalization_mismatch: warn' to go on like this")
    logger.warning("NORMALISATION MISMATCH: %s", text)


def _describe(arguments):
    if arguments is None:
        return "nothing (no NormalizeImage)"
    scale = "" if arguments.get("is_scale", True) else ", is_scale: false"
    if arguments.get("norm_type", "mean_std") == "none":
        return f"norm_type none{scale}"
    defaults = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return ", ".join(f"{key} {numbers(arguments.get(key, value))}" for key, value in defaults.items()) + scale
