# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``augment: strong``: one key instead of the training reader's augmentations; the presets are a table.

The key is put into the reader as transforms, ``mixing`` and ``transform_schedulers``, so the config of a run says what
was done without it. docs/augment.md says what each preset is for.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..config.reader_keys import DECODERS, MIXING, TRANSFORM_LISTS
from ..config.values import AUGMENT_PRESETS
from ..errors import UserError
from . import box_arrays, class_names, dataset_config, mixing, pixel_transforms

logger = logging.getLogger("ppdet.engine")

KEY = "augment"
FLIP, OPTIONAL = "RandomFlip", "Albumentations"
SIDE = "side"  # stands for the side of the pictures that the network gets, in pixels


class Row(NamedTuple):
    """A transform of a preset.

    Attributes:
        name: ppdet's.
        settings: its arguments.
        share: of transforms that mix pictures: of how many pictures.
        to_the_end: it runs in the last epochs as well.
    """

    name: str
    settings: Mapping[str, Any]
    share: float | None = None
    to_the_end: bool = False


# boxes of a turned picture are larger than their objects, so Mosaic turns none; its own Mixup would flip
_MOSAIC = {"input_dim": [SIDE, SIDE], "degrees": [0, 0], "shear": [0, 0], "translate": [-0.1, 0.1],
           "enable_mixup": False}
_HALF = {"alpha": 32.0, "beta": 32.0}  # about half of each picture, as all boxes count in full
_FLIPPED = Row(FLIP, {"prob": 0.5}, to_the_end=True)
PRESETS: Mapping[str, Sequence[Row]] = {
    "none": (),
    "light": (
        _FLIPPED,
        Row("RandomDistort", {"prob": 0.5}),
        Row("RandomExpand", {"ratio": 2.0, "prob": 0.5, "fill_value": [114, 114, 114]}),
        Row("RandomCrop", {"prob": 0.5})),
    "medium": (
        _FLIPPED,
        Row("Mosaic", {**_MOSAIC, "scale": [0.6, 1.0]}, share=0.3),
        Row("RandomScaledCrop", {"target_dim": SIDE, "scale_range": [0.6, 1.5]}),
        Row("RandomDistort", {"prob": 0.5})),
    "strong": (
        _FLIPPED,
        Row("Mosaic", {**_MOSAIC, "scale": [0.5, 1.0]}, share=0.4),
        Row("RandomScaledCrop", {"target_dim": SIDE, "scale_range": [0.4, 2.0]}),
        Row("Mixup", _HALF, share=0.15),
        Row("Cutmix", {}, share=0.15),
        Row(OPTIONAL, {"prob": 0.3}),
        Row("RandomDistort", {"prob": 0.8})),
}
# transforms that show another picture each time; what a detector needs (Decode, Resize, Pad, ...) is not among them
AUGMENTATIONS = frozenset({
    OPTIONAL, "AugmentHSV", "AutoAugment", "CenterRandColor", "CropWithDataAchorSampling", "CropWithSampling", "Cutmix",
    "FlipWarpAffine", "GridMask", "Lighting", "Mixup", "Mosaic", "RandomColorJitter", "RandomCrop", "RandomDistort",
    "RandomErasing", "RandomErasingCrop", "RandomErasingImage", "RandomExpand", FLIP, "RandomGaussianBlur",
    "RandomGrayscale", "RandomHSV", "RandomPerspective", "RandomScaledCrop", "RandomShift",
    "RandomSizeCrop", "StrongAugImage"})
#: keys of a reader that say when and how often augmentations run
SCHEDULES = (*MIXING, mixing.KEY, "transform_schedulers")
# transforms that say the size of what the network gets -> in target_size
_SIZED = ("BatchRandomResize", "Resize", "RandomResize", "PadResize")
_STOP_SHARE = 0.1  # of the epochs, at the end
# names of classes that a mirror makes to others, or to none
_MIRRORED = re.compile(r"[0-9A-Za-z]|(.*[^a-z])?(left|right)([^a-z].*)?|.*[左右].*", re.IGNORECASE)


class Asked(NamedTuple):
    """What ``augment`` says: a preset, whether it flips (None: by the classes), epochs at the end without it."""

    preset: str
    flip: bool | None = None
    stop_epochs: int | None = None


def asked(cfg: Mapping[str, Any]) -> Asked | None:
    """The config's ``augment``; None without one.

    Raises:
        UserError: the mapping names no preset.
    """
    value = cfg.get(KEY)
    if value is None:
        return None
    if isinstance(value, str):
        return Asked(value)
    if value.get("preset") is None:
        raise UserError(f"{KEY}: it names no preset; write '{KEY}: {{preset: {AUGMENT_PRESETS[-1]}, ...}}' "
                        f"({', '.join(AUGMENT_PRESETS)})")
    return Asked(**value)


def apply(cfg: dict[str, Any], own: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Put ``augment`` into ``cfg["TrainReader"]``, and take the key out.

    Args:
        cfg: ppdet's global config.
        own: what the config file itself says, without its bases.
        options: what ``-o`` says.

    Returns:
        One line on what runs in which epochs; '' without ``augment``.

    Raises:
        UserError: file or ``-o`` name transforms beside ``augment``, the data set has outlines or points, or the size
            of the pictures is not known.
    """
    want = asked(cfg)
    cfg.pop(KEY, None)
    if want is None:
        return ""
    _refuse_two_sayings(want, own, options)
    _refuse_outlines(want, cfg)
    reader, epochs = cfg["TrainReader"], int(cfg.get("epoch") or 0)
    flip, why = _flips(want, cfg)
    rows, left_out = _rows(want, flip)
    stop = epochs - _stop_epochs(want, epochs)
    replaced = _clear(reader)
    _insert(reader, [{row.name: _filled(row.settings, cfg)} for row in rows])
    shares = {row.name: row.share for row in rows if row.share}
    limits = [{row.name: {"stop_epoch": stop}} for row in rows if not row.to_the_end]
    reader.update({key: value for key, value in ((mixing.KEY, shares), ("transform_schedulers", limits)) if value})
    return "; ".join(_words(want, rows, stop, epochs) + why + left_out + (
        [f"in place of {', '.join(replaced)}"] if replaced else []))


def _refuse_two_sayings(want, own, options):
    """``augment`` beside the reader's own augmentations in one place, or in a file over it."""
    places = [("-o", options)] + ([] if KEY in options else [("the config", own)])
    for where, values in places:
        reader = values.get("TrainReader")
        if not isinstance(reader, Mapping):
            continue
        found = [name for name in _names(reader) if name in AUGMENTATIONS]
        keys = [key for key in SCHEDULES if reader.get(key)]
        if found or keys:
            what = f"{', '.join(found)} in TrainReader's transforms" if found else f"TrainReader.{keys[0]}"
            raise UserError(f"{where} has {what}, and {KEY}: {want.preset} has its own; take out {(found or keys)[0]} "
                            f"and its like, or leave {KEY} out")


def _refuse_outlines(want, cfg):
    section = cfg.get("TrainDataset")
    fields = section.get("data_fields") if isinstance(section, Mapping) else getattr(section, "data_fields", None)
    found = [name for name in fields or () if name in box_arrays.OUTLINES]
    kind = mixing.class_of(section)
    if PRESETS[want.preset] and (found or (kind is not None and not mixing.can_mix(kind))):
        what = f"TrainDataset.data_fields has {found[0]}" if found else f"{kind.__name__} reads its pictures by itself"
        raise UserError(f"{KEY} is for data sets of boxes: {what}; take it out, or name transforms in TrainReader "
                        f"instead of {KEY}")


def _names(reader) -> list[str]:
    return [name for key in TRANSFORM_LISTS for entry in dict.get(reader, key) or () if isinstance(entry, Mapping)
            for name in entry]


def _flips(want, cfg) -> tuple[bool, list[str]]:
    """Whether pictures are mirrored; words, where the classes say that they are not."""
    if want.flip is not None:
        return want.flip, [] if want.flip else ["no flips"]
    data = dataset_config.read(cfg, "TrainDataset")
    names = class_names.of_data_set(cfg) if data is not None and data.kind in class_names.LISTS else []
    found = mirrored(names)
    return not found, [f"no flips, as '{found[0]}' is no longer itself in a mirror (flip: true flips)"] if found else []


def mirrored(names: Iterable[str]) -> list[str]:
    """Names of classes that are others in a mirror: single digits and letters, left and right."""
    return [name for name in names if _MIRRORED.fullmatch(str(name))]


def _rows(want, flip) -> tuple[list[Row], list[str]]:
    """The preset's rows that run here, and words on those that cannot."""
    rows = [row for row in PRESETS[want.preset] if row.name != FLIP or flip]
    if pixel_transforms.is_installed():
        return rows, []
    return ([row for row in rows if row.name != OPTIONAL],
            [f"without {OPTIONAL}, which is not installed"] * any(row.name == OPTIONAL for row in rows))


def _stop_epochs(want, epochs) -> int:
    """How many epochs at the end run without.

    Raises:
        UserError: more than there are.
    """
    if want.stop_epochs is None:
        return min(max(1, round(_STOP_SHARE * epochs)), epochs - 1)
    if want.stop_epochs >= epochs:
        raise UserError(f"{KEY}.stop_epochs is {want.stop_epochs} of {epochs} epochs, so nothing would run; make it "
                        "smaller")
    return want.stop_epochs


def _clear(reader) -> list[str]:
    """Take a reader's augmentations and their epochs out; their names."""
    removed = [name for name in _names(reader) if name in AUGMENTATIONS]
    for key in TRANSFORM_LISTS:
        if dict.get(reader, key):
            kept = [{name: value for name, value in entry.items() if name not in AUGMENTATIONS}
                    for entry in reader[key]]
            reader[key] = [entry for entry in kept if entry]
    left = set(_names(reader))
    schedules = [{name: limits for name, limits in entry.items() if name in left}
                 for entry in dict.get(reader, "transform_schedulers") or ()]
    for key in SCHEDULES:
        reader.pop(key, None)
    if any(schedules):
        reader["transform_schedulers"] = [entry for entry in schedules if entry]
    return list(dict.fromkeys(removed))


def _insert(reader, entries) -> None:
    """After what decodes; what the config has after it comes after the preset."""
    own = list(reader.get("sample_transforms") or ())
    place = next((number + 1 for number, entry in enumerate(own) if set(entry) & set(DECODERS)), 0)
    reader["sample_transforms"] = [*own[:place], *entries, *own[place:]]


def _filled(settings, cfg) -> dict[str, Any]:
    """A row's settings with the pictures' side."""
    def fill(value):
        if isinstance(value, list):
            return [fill(one) for one in value]
        return _side(cfg) if value == SIDE else value
    return {key: fill(value) for key, value in settings.items()}


def _side(cfg) -> int:
    """The side of the pictures that the network is trained on; the middle one where they are several.

    Raises:
        UserError: no reader says it.
    """
    for section in ("TrainReader", "EvalReader"):
        for name, settings in ((name, settings) for key in ("batch_transforms", "sample_transforms")
                               for entry in dict.get(cfg.get(section) or {}, key) or ()
                               for name, settings in entry.items()):
            sizes = settings.get("target_size") if name in _SIZED else None
            if sizes is not None:
                sides = [max(size) if isinstance(size, (list, tuple)) else size for size in (
                    sizes if isinstance(sizes, (list, tuple)) else [sizes])]
                return int(sorted(sides)[len(sides) // 2])
    raise UserError(f"{KEY} needs the size of the pictures: no reader has a {', '.join(_SIZED[:2])} with target_size")


def _words(want, rows, stop, epochs) -> list[str]:
    """What runs in which epochs."""
    if not PRESETS[want.preset]:
        return [f"{KEY}: {want.preset}: no augmentation"]
    until = f"in epochs 0 to {stop - 1} of 0 to {epochs - 1}" if stop < epochs else f"in all {epochs} epochs"
    always = [row for row in rows if row.to_the_end]
    return [f"{KEY}: {want.preset}: {', '.join(_word(row) for row in rows if not row.to_the_end)} {until}",
            *[f"{', '.join(map(_word, always))} in all"] * bool(always)]


def _word(row):
    share = row.share or row.settings.get("prob")
    amount = " to ".join(f"{factor:g}" for factor in row.settings.get("scale_range", ()))
    return row.name + (f" {share:.0%}" if share else "") + (f" x {amount}" if amount else "")
