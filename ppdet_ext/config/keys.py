# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Config keys that nobody reads: a misspelt one would otherwise be ignored, or end in a TypeError far away.

What is allowed comes from the classes themselves: ppdet's registered schemas, and signatures of what it builds by name.
"""
from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ppdet.core.config.schema import SchemaDict

from ..errors import UserError, nearest
from ..registry import check_settings
from . import allowed

logger = logging.getLogger("ppdet.engine")

# top-level keys that ppdet's tools, Trainer and configs, and ours, look up by name
TOP_LEVEL = frozenset([
    "_BASE_", "accumulate_steps", "allow_missing", "amp", "amp_dtype", "amp_level", "architecture", "bias",
    "class_map", "classwise", "command", "custom_black_list", "custom_white_list", "cut_height", "cycle_epoch",
    "dataset_dir", "det_weights", "distill_loss", "distill_loss_name", "ema_black_list", "ema_decay", "ema_decay_type",
    "ema_filter_no_grad", "ema_skip_names", "ema_start_iters", "enable_ce", "epoch", "eval_height", "eval_interval",
    "eval_size", "eval_width", "export", "export_eb", "export_onnx", "filename", "find_unused_parameters", "fleet",
    "fuse_normalize", "infer_dir", "infer_img", "inference_on", "init_loss_scaling", "input_height", "input_size",
    "input_width", "IouType", "keep_best_weight", "log_iter", "map_type", "mask", "master_grad", "max_iter", "metric",
    "min_subgraph_size", "multi_scale_eval", "norm_type", "normalization", "normalization_mismatch", "num_classes",
    "num_joints", "num_points", "output_dir", "output_eval", "pretrain_student_weights", "pretrain_teacher_weights",
    "pretrain_weights", "print_flops", "print_params", "profiler_options", "proposals_path", "pruner", "reid_weights",
    "reset_norm_param_attr", "save_dir", "save_interval", "save_prediction_only", "save_proposals", "seed",
    "semi_start_iters", "slim", "slim_method", "slim_type", "snapshot_epoch", "ssod_method", "sync_bn",
    "target_metrics", "to_static", "unstructured_prune", "use_ema", "use_fused_allreduce_gradients", "use_gpu",
    "use_mlu", "use_npu", "use_simple_ema", "use_vdl", "use_wandb", "use_xpu", "validate", "vdl_log_dir", "visualize",
    "wandb", "weights", "worker_num"])
# names that people try, and what is meant
MEANT = {"batch_size": "TrainReader.batch_size", "base_lr": "LearningRate.base_lr", "lr": "LearningRate.base_lr",
         "learning_rate": "LearningRate.base_lr", "epochs": "epoch", "max_epoch": "epoch", "num_epochs": "epoch",
         "arch": "TimmBackbone.arch", "pretrained": "TimmBackbone.pretrained", "num_workers": "worker_num"}
ALL_MODES = ("train", "eval", "test")
# key -> (modes that cannot do without it, what to do)
NEEDED = {"architecture": (ALL_MODES, "start from a file in configs/ such as configs/rtdetr_cspresnet.yml"),
          "metric": (ALL_MODES, "write 'metric: COCO' or 'metric: VOC'"),
          "epoch": (("train",), "write 'epoch: 10', or -o epoch=10"),
          "snapshot_epoch": (("train",), "write 'snapshot_epoch: 1', or take configs/_base_/runtime.yml as a _BASE_"),
          "worker_num": (("train", "eval"), "write 'worker_num: 2'")}
# what a part builds by name itself, beside its __inject__
PARTS = ("backbone", "neck", "transformer", "detr_head", "box_head", "score_head")
PLAIN = (dict, list, str, int, float, type(None))
DATASETS = ("TrainDataset", "EvalDataset", "TestDataset")
READERS = ("TrainReader", "EvalReader", "TestReader")
# readers take any keyword; these are the ones somebody looks up
READER_KEYS = ("inputs_def", "use_shared_memory", "mixup_epoch", "cutmix_epoch", "mosaic_epoch", "pre_img_epoch",
               "collate_batch", "fuse_normalize", "use_process", "bufsize", "transform_schedulers")
TRANSFORM_LISTS = ("sample_transforms", "batch_transforms")
EPOCH_LIMITS = {"start_epoch", "stop_epoch"}  # of a transform, in transform_schedulers


def check_keys(cfg: Mapping[str, Any]) -> None:
    """Check names and keys of a loaded config.

    Raises:
        UserError: an unknown key, module, transform, data set class or scheduler, with the nearest names; a required
            setting that is missing.
    """
    modules = {name: value for name, value in cfg.items() if isinstance(value, SchemaDict)}
    _check_top_level(cfg)
    for name, section in modules.items():
        if name not in READERS + DATASETS:
            _check_section(name, section, section, modules)
    _check_reference("architecture", cfg.get("architecture"), modules)
    for name in DATASETS:
        _check_dataset(name, cfg.get(name))
    for name in READERS:
        _check_reader(name, cfg.get(name))
    _check_optimisation(cfg)
    allowed.check_wandb(cfg)
    if cfg.get("architecture"):
        check_settings(cfg["architecture"])


def check_needed(cfg: Mapping[str, Any], mode: str) -> None:
    """Keys that ppdet's Trainer reads without asking whether they are there.

    Raises:
        UserError: one is missing, or a number is none.
    """
    for key, (modes, advice) in NEEDED.items():
        if mode in modes and cfg.get(key) is None:
            raise UserError(f"the config names no {key}; {advice}")
    for key in ("epoch", "snapshot_epoch"):
        if mode == "train" and not (isinstance(cfg[key], int) and cfg[key] > 0):
            raise UserError(f"{key} is {cfg[key]!r}, not a whole number above 0")


def check_options(cfg: Mapping[str, Any], options: Iterable[str], own: Iterable[str]) -> None:
    """Every ``-o`` names something that is there: unlike a config file, a command line holds no notes.

    Args:
        cfg: ppdet's global config.
        options: ``config.parse_options``'s dict.
        own: the config file's own keys, which may be overridden whatever they are.

    Raises:
        UserError: an unknown first key, with what may be meant.
    """
    known = _known(cfg) | set(own)
    for key in options:
        if key not in known:
            raise UserError(f"-o {key}: the config has no such key{_meant(key, known)}")


def _known(cfg):
    modules = {name: value for name, value in cfg.items() if isinstance(value, SchemaDict)}
    return TOP_LEVEL | set(modules) | {key for section in modules.values() for key in section.shared}


def _meant(key, known):
    return f"; did you mean {MEANT[key]}?" if key in MEANT else nearest(key, known)


def _unknown(where, key, choices):
    return UserError(f"{where} has no setting '{key}'{nearest(key, choices)}")


def _check_top_level(cfg):
    """A key nobody knows is let through (configs hold anchors and notes) unless it looks like a known one; so is an
    object that a YAML tag has built, which stands where a registered name stood."""
    known = _known(cfg)
    for key, value in cfg.items():
        unknown = key not in known and isinstance(value, PLAIN)
        if unknown and difflib.get_close_matches(str(key), known, n=1, cutoff=0.8):
            raise UserError(f"config key '{key}' is unknown{_meant(key, known)}")
        if unknown and key in MEANT:
            logger.warning("config key '%s' has no effect at the top level%s", key, _meant(key, known))


def _check_section(where, given, schema, modules):
    """What a config gives a module: no unknown setting, and references that lead somewhere (defaults are not ours)."""
    extra = [key for key in given if key not in schema.schema and key != "name"]
    if extra and schema.strict:
        raise _unknown(where, extra[0], schema.schema)
    for key in {*schema.inject, *PARTS}:
        if key in given and key in schema.schema:
            _check_reference(f"{where}.{key}", given[key], modules)


def _check_reference(where, value, modules):
    """A reference to a module: its name, or {'name': ..., settings}; other values are objects already built."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str):
        return
    if name not in modules:
        raise UserError(f"{where}: '{name}' is not registered{nearest(name, modules)}")
    if isinstance(value, dict):
        _check_section(f"{where} ({name})", value, modules[name], modules)


def _signature(owner):
    """({parameter name: whether it must be given}, takes any keyword) of a class; ``**kwargs`` go on to its base."""
    names = {}
    for cls in inspect.getmro(owner):
        if "__init__" in vars(cls):
            parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
            names = {**{item.name: item.default is item.empty for item in parameters
                        if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)}, **names}
            if not any(item.kind is item.VAR_KEYWORD for item in parameters):
                return names, False
    return names, True


def _check_call(where, owner, given):
    names, any_keyword = _signature(owner)
    extra = [key for key in given if key not in names]
    if extra and not any_keyword:
        raise _unknown(where, extra[0], names)
    missing = [key for key, needed in names.items() if needed and key not in given]
    if missing:
        raise UserError(f"{where} needs the setting '{missing[0]}'")


def _check_dataset(section, value):
    """``name: COCODataSet`` and its arguments; a tagged object (``!COCODataSet``) has been built by YAML already."""
    from ppdet.data import source
    if not isinstance(value, dict) or not value.get("name"):
        return
    kinds = allowed.names(source, allowed.is_data_set)
    if value["name"] not in kinds:
        raise UserError(f"{section}: unknown data set class '{value['name']}'{nearest(value['name'], kinds)}")
    given = {key: item for key, item in value.items() if key != "name"}
    owner = getattr(source, value["name"])
    _check_call(f"{section} ({value['name']})", owner, given)
    # ImageFolder swallows any keyword: hold it to what some data set has
    known = set().union(*(_signature(getattr(source, name))[0] for name in kinds))
    extra = [key for key in given if key not in known]
    if extra:
        raise _unknown(f"{section} ({value['name']})", extra[0], known)


def _check_reader(section, value):
    from ppdet.data import transform
    if not isinstance(value, SchemaDict):
        return
    known = set(value.schema) | set(READER_KEYS)
    for key in value:
        if key not in known:
            raise _unknown(section, key, known)
    operators = allowed.names(transform, allowed.is_transform)
    for key in TRANSFORM_LISTS:
        for entry in value.get(key) or ():
            if not isinstance(entry, dict):
                raise UserError(f"{section}.{key}: write '{entry}' as '{entry}: {{}}'")
            for name, arguments in entry.items():
                where = f"{section}.{key}: {name}"
                if name not in operators:
                    raise UserError(f"{section}.{key}: unknown transform '{name}'{nearest(name, operators)}")
                if not isinstance(arguments, dict):
                    raise UserError(f"{where} needs its arguments in braces, such as '{name}: {{}}'")
                _check_call(where, getattr(transform, name), arguments)
    _check_transform_schedulers(f"{section}.transform_schedulers", value)


def _check_transform_schedulers(where, reader):
    """A list of {name of one of the reader's transforms: epochs in which it runs}."""
    known = [name for key in TRANSFORM_LISTS for entry in reader.get(key) or () for name in entry]
    for name, limits in (item for entry in reader.get("transform_schedulers") or () for item in entry.items()):
        if name not in known:
            raise UserError(f"{where}: '{name}' is not among the reader's transforms{nearest(name, known)}")
        if not isinstance(limits, dict) or not set(limits) <= EPOCH_LIMITS:
            raise UserError(f"{where}: write '{name}: {{start_epoch: 0, stop_epoch: 10}}' or one of the two")


def _check_optimisation(cfg):
    """Schedulers given by name, and the optimizer's arguments."""
    import paddle
    from ppdet.optimizer import optimizer as schedulers
    for entry in _get(cfg, "LearningRate", "schedulers") or ():
        if isinstance(entry, dict):
            name, arguments = entry.get("name"), {key: value for key, value in entry.items() if key != "name"}
            known = allowed.names(schedulers, allowed.is_scheduler)
            if name not in known:
                raise UserError(f"LearningRate.schedulers: unknown scheduler '{name}'{nearest(name, known)}")
            _check_call(f"LearningRate.schedulers: {name}", getattr(schedulers, name), arguments)
    settings = _get(cfg, "OptimizerBuilder", "optimizer")
    if isinstance(settings, dict) and settings.get("type") != "AdamWDL":  # the latter is ppdet's own function
        kinds = allowed.names(paddle.optimizer, allowed.is_optimizer)
        name = settings.get("type")
        if name not in kinds:
            raise UserError(f"OptimizerBuilder.optimizer: unknown type '{name}'{nearest(name, kinds)}")
        arguments = {*settings, "learning_rate", "parameters"} - {"type", "param_groups"}
        _check_call(f"OptimizerBuilder.optimizer: {name}", getattr(paddle.optimizer, name), arguments)


def _get(cfg, section, key):
    """What the config itself sets, without defaults."""
    value = cfg.get(section)
    return dict.get(value, key) if isinstance(value, dict) else None
