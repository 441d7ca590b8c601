# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Data sets and readers of a config: classes and transforms by name, their arguments, and epochs of transforms."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppdet.core.config.schema import SchemaDict

from ..errors import UserError, nearest
from . import allowed, rules, values
from .calls import check_call, check_values, signature, unknown

DATASETS = ("TrainDataset", "EvalDataset", "TestDataset")
READERS = ("TrainReader", "EvalReader", "TestReader")
# readers take any keyword; these are the ones somebody looks up
READER_KEYS = ("inputs_def", "use_shared_memory", "mixup_epoch", "cutmix_epoch", "mosaic_epoch", "pre_img_epoch",
               "collate_batch", "fuse_normalize", "use_process", "bufsize", "transform_schedulers", "memory_cache",
               "mixing")
TRANSFORM_LISTS = ("sample_transforms", "batch_transforms")
EPOCH_LIMITS = {"start_epoch", "stop_epoch"}  # of a transform, in transform_schedulers
# key of a reader -> the transform that it gives more than one picture
MIXING = {"mixup_epoch": "Mixup", "cutmix_epoch": "Cutmix", "mosaic_epoch": "Mosaic"}
DECODERS = ("Decode", "DecodeCache", "SniperDecodeCrop")
# transforms that hold transforms -> their arguments that do
NESTED = {"RandomSelect": ("transforms1", "transforms2"), "StrongAugImage": ("transforms",)}


def check_dataset(section: str, value: Any) -> None:
    """``name: COCODataSet`` and its arguments; a tagged object (``!COCODataSet``) has been built by YAML already.

    Raises:
        UserError: an unknown class or argument, or a value that is not allowed.
    """
    from ppdet.data import source
    if value is None or value == {}:
        return
    if not isinstance(value, dict):
        if not hasattr(value, "__dict__"):
            values.check(section, value, rules.GROUP)
        check_values(f"{section} ({type(value).__name__})", type(value), vars(value))
        return
    kinds = allowed.names(source, allowed.is_data_set)
    name = name_of_dataset(section, value)
    if name not in kinds:
        raise UserError(f"{section}: unknown data set class {rules.name(name)}{nearest(name, kinds)}")
    given = {key: item for key, item in value.items() if key != "name"}
    owner = getattr(source, name)
    check_call(f"{section} ({name})", owner, given)
    # ImageFolder swallows any keyword: hold it to what some data set has
    known = set().union(*(signature(getattr(source, name))[0] for name in kinds))
    extra = [key for key in given if key not in known]
    if extra:
        raise unknown(f"{section} ({name})", extra[0], known)


def name_of_dataset(section: str, value: Mapping[str, Any]) -> str:
    """The class that a data set's group names.

    Raises:
        UserError: it names none.
    """
    if not value.get("name"):
        raise UserError(f"{section} has no 'name' (COCODataSet, VOCDataSet, ImageFolder, ...); add it to the config")
    return value["name"]


def check_reader(section: str, value: Any) -> None:
    """Keys, values and transforms of a reader.

    Raises:
        UserError: an unknown key, transform or argument, or a value that is not allowed.
    """
    if not isinstance(value, SchemaDict):
        return
    known = set(value.schema) | set(READER_KEYS)
    for key, item in value.items():
        if key not in known:
            raise unknown(section, key, known)
        entry = value.schema.get(key)
        default = getattr(entry, "default", None)
        values.check(f"{section}.{key}", item, values.rule_for(section, key, "ppdet", None, default))
    for key in TRANSFORM_LISTS:
        _check_transforms(f"{section}.{key}", value.get(key))
    for key, item in (value.get("inputs_def") or {}).items():
        if key not in values.INPUTS:
            raise unknown(f"{section}.inputs_def", key, values.INPUTS)
        values.check(f"{section}.inputs_def.{key}", item, values.INPUTS[key])
    _check_transform_schedulers(f"{section}.transform_schedulers", value)
    _check_mixing(section, value)


def _check_mixing(section, reader):
    """Transforms of several pictures, and the keys that give them several: one is nothing without the other."""
    names = {name for entry in reader.get("sample_transforms") or () for name in entry}
    shares = reader.get("mixing") or ()
    for key, name in MIXING.items():
        asked = reader.get(key, -1) >= 0
        if asked and name not in names:
            raise UserError(f"{section}.{key} is {reader[key]}, but sample_transforms has no {name}; add '- {name}: "
                            f"{{}}' or take {key} out")
        if name in names and not asked and name not in shares:
            raise UserError(f"{section}.sample_transforms has {name}, which does nothing without {key}; write "
                            f"'{key}: 0' (in every epoch) or the number of epochs")


def check_pictures(cfg: Mapping[str, Any], mode: str, validate: bool) -> None:
    """Readers that a mode uses decode their pictures; the network's mean and std are those of TestReader.

    Raises:
        UserError: one does not, or NormalizeImage of TestReader leaves its numbers out.
    """
    from ppdet.data import transform
    used = {"train": ["TrainReader", *["EvalReader"] * validate], "eval": ["EvalReader"], "test": ["TestReader"]}[mode]
    for section in used:
        names = {name for entry in cfg[section].get("sample_transforms") or () for name in entry}
        if not any(name in DECODERS or allowed.is_users(getattr(transform, name)) for name in names):
            raise UserError(f"{section}.sample_transforms has no Decode; write '- Decode: {{}}' as its first entry")
    for entry in cfg["TestReader"].get("sample_transforms") or ():
        missing = [key for key in ("mean", "std") if key not in entry.get("NormalizeImage", {"mean": 0, "std": 1})]
        if missing:
            raise UserError(f"TestReader.sample_transforms: NormalizeImage needs the setting '{missing[0]}'; write "
                            f"'{missing[0]}: {values.FROM_WEIGHTS}'")


def _check_transforms(where, entries):
    """A list of {transform: {its arguments}}."""
    from ppdet.data import transform
    operators = allowed.names(transform, allowed.is_transform)
    for entry in entries or ():
        if not isinstance(entry, dict) or not entry:
            raise UserError(f"{where}: {rules.name(entry)} is no transform with its arguments; write '"
                            f"{entry if isinstance(entry, str) and entry.isidentifier() else 'Decode'}: {{}}'")
        for name, arguments in entry.items():
            if name not in operators:
                raise UserError(f"{where}: unknown transform {rules.name(name)}{nearest(name, operators)}")
            if not isinstance(arguments, dict):
                raise UserError(f"{where}: {name} needs its arguments in braces, such as '{name}: {{}}'")
            check_call(f"{where}: {name}", getattr(transform, name), arguments)
            for key in NESTED.get(name, ()):
                values.check(f"{where}: {name}.{key}", arguments.get(key, []), rules.LIST)
                _check_transforms(f"{where}: {name}.{key}", arguments.get(key))


def _check_transform_schedulers(where: str, reader: Mapping[str, Any]) -> None:
    """A list of {name of one of the reader's transforms: epochs in which it runs}."""
    known = [name for key in TRANSFORM_LISTS for entry in reader.get(key) or () for name in entry]
    for name, limits in (item for entry in reader.get("transform_schedulers") or () for item in entry.items()):
        if name not in known:
            raise UserError(f"{where}: {rules.name(name)} is not among the reader's transforms{nearest(name, known)}")
        if not isinstance(limits, dict) or not limits or not set(limits) <= EPOCH_LIMITS:
            raise UserError(f"{where}: write '{name}: {{start_epoch: 0, stop_epoch: 10}}' or one of the two")
        for key, limit in limits.items():
            values.check(f"{where}: {name}.{key}", limit, values.EPOCH_LIMIT)
