# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Config keys that nobody reads: a misspelt one would otherwise be ignored, or end in a TypeError far away.

What is allowed comes from the classes themselves: ppdet's registered schemas, and signatures of what it builds by name.
Each key's value is held to its rule on the way, see ``values``.
"""
from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ppdet.core.config.schema import SchemaDict

from ..errors import UserError, nearest
from ..registry import check_settings
from . import allowed, config_file, reader_keys, rules, schedule_keys, swap_keys, values
from .calls import unknown
from .reader_keys import DATASETS, READERS

logger = logging.getLogger("ppdet.engine")

# top-level keys that this package reads, or that PaddleDetection's files use as YAML anchors
TOP_LEVEL = frozenset([
    *values.TOP_LEVEL, config_file.BASE_KEY, "accumulate_steps", "amp_dtype", "amp_level", "command", "cut_height",
    "dataset_dir", "eval_height", "eval_width", "filename", "input_height", "input_size", "input_width", "master_grad",
    "save_proposals", "slim", "unstructured_prune"])
# keys that nothing reads -> what to do; PaddleDetection has most of them, for tasks that are not here
UNREAD = {
    **dict.fromkeys(("early_stop", "patience"), "write 'early_stopping: {patience: 10, metric: AP}'"),
    **dict.fromkeys(("max_iter", "max_iters", "max_steps"), "training is counted in epochs: write 'epoch: 12'"),
    **dict.fromkeys(("eval_interval", "save_interval", "save_epoch", "eval_epoch"),
                    "evaluation and checkpoints follow 'snapshot_epoch: 1'"),
    **dict.fromkeys(("target_metrics", "keep_best_weight", "save_best"),
                    "best_model is the one with the highest AP, of a training with --eval; another metric is named by "
                    "'early_stopping: {metric: AP50}'"),
    **dict.fromkeys(("max_keep_ckpts", "save_total_limit", "keep_checkpoint_max"), "write 'keep_checkpoints: 2'"),
    **dict.fromkeys(("ema_skip_names", "use_simple_ema", "ema_start_iters"), "the average of weights has 'use_ema', "
                    "'ema_decay', 'ema_decay_type', 'cycle_epoch', 'ema_black_list' and 'ema_filter_no_grad'"),
    **dict.fromkeys(("infer_dir", "infer_img", "output_dir", "visualize", "proposals_path"),
                    "it is a flag of the tools: --infer_dir and the like"),
    **dict.fromkeys(("sync_bn", "reset_norm_param_attr"), "write 'norm_type: sync_bn'"),
    **dict.fromkeys(("ssod_method", "semi_start_iters", "inference_on"), "semi-supervised training is not supported"),
    **dict.fromkeys(("slim_method", "slim_type", "pruner", "distill_loss", "distill_loss_name",
                     "pretrain_student_weights", "pretrain_teacher_weights"), "PaddleSlim's ways are not supported"),
    **dict.fromkeys(("det_weights", "reid_weights"), "tracking is not supported"),
    **dict.fromkeys(("num_joints", "num_points"), "key points are not supported"),
    "multi_scale_eval": "pictures are evaluated at the size of EvalReader's Resize",
}
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
FROM_BACKBONE = ("in_channels", "feat_strides", "backbone_feat_channels")  # from_config of our parts sets them
PLAIN = (dict, list, str, int, float, type(None))


def check_keys(cfg: Mapping[str, Any]) -> None:
    """Check names, keys and values of a loaded config.

    Raises:
        UserError: an unknown key, module, transform, data set class or scheduler, with the nearest names; a required
            setting that is missing; a value that its rule does not allow, with an example of one that it does.
    """
    modules = {name: value for name, value in cfg.items() if isinstance(value, SchemaDict)}
    _check_top_level(cfg)
    for name, section in modules.items():
        if name not in READERS + DATASETS:
            _check_section(name, section, section, modules)
            if "name" in section and "name" not in section.schema:
                raise unknown(name, "name", section.schema)
    _check_reference("architecture", cfg.get("architecture"), modules, optional=True)
    for name in DATASETS:
        reader_keys.check_dataset(name, cfg.get(name))
    for name in READERS:
        reader_keys.check_reader(name, cfg.get(name))
    schedule_keys.check(cfg)
    swap_keys.check(cfg)
    allowed.check_wandb(cfg)
    if cfg.get("architecture"):
        check_settings(cfg["architecture"])
        _check_parts(cfg["architecture"], modules[cfg["architecture"]])


def check_needed(cfg: Mapping[str, Any], mode: str) -> None:
    """Keys that ppdet's Trainer reads without asking whether they are there.

    Raises:
        UserError: one is missing.
    """
    for key, (modes, advice) in NEEDED.items():
        if mode in modes and cfg.get(key) is None:
            raise UserError(f"the config names no {key}; {advice}")


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
    if key in UNREAD:
        return f"; {UNREAD[key]}"
    return f"; did you mean {MEANT[key]}?" if key in MEANT else nearest(key, known)


def _check_top_level(cfg):
    """Values of known keys; a key nobody knows is let through with a warning (configs hold anchors and notes), unless
    it looks like a known one or is one that people expect to work. An object that a YAML tag has built may stand where
    a registered name stood."""
    known = _known(cfg)
    shared = {key: section.schema[key].default.default_value for section in cfg.values()
              if isinstance(section, SchemaDict) for key in section.shared}
    groups = config_file.registered_groups().difference(DATASETS)
    for key, value in cfg.items():
        if key in values.TOP_LEVEL or key in shared:
            values.check(key, value, values.top_level_rule(key, shared.get(key)))
        elif key in groups and isinstance(value, PLAIN):
            values.check(key, value, rules.GROUP)
        elif key not in known and key not in DATASETS and isinstance(value, PLAIN):
            _check_unknown(key, value, known)


def _check_unknown(key, value, known):
    if key in UNREAD:
        if value not in (None, False):
            raise UserError(f"config key '{key}' is read by nothing here{_meant(key, known)}; take it out")
    elif difflib.get_close_matches(str(key), known, n=1, cutoff=0.8):
        raise UserError(f"config key {rules.name(key)} is unknown{_meant(key, known)}")
    elif key in MEANT:
        logger.warning("config key '%s' has no effect at the top level%s", key, _meant(key, known))
    else:
        logger.warning("config key %s is read by nothing here; fine for a note or an anchor", rules.name(key))


def _check_section(where, given, schema, modules):
    """What a config gives a module: no unknown setting, values that are allowed, references that lead somewhere
    (defaults are not ours)."""
    extra = [key for key in given if key not in schema.schema and key != "name"]
    if extra and schema.strict:
        raise unknown(where, extra[0], schema.schema)
    for key, value in given.items():
        entry = schema.schema.get(key)
        if key in FROM_BACKBONE and schema.pymodule.__name__.startswith("ppdet_ext."):
            logger.warning("%s.%s has NO effect: it comes from the backbone", where, key)
        if entry is not None and key in {*schema.inject, *PARTS}:
            _check_reference(f"{where}.{key}", value, modules, optional=getattr(entry, "default", "") is None)
        elif entry is not None:
            default = getattr(entry, "default", None)
            values.check(f"{where}.{key}", value, values.rule_for(
                schema.name, key, schema.pymodule.__name__, entry.type, getattr(default, "default_value", default)))


def _check_parts(name, section):
    """Parts that a detector makes itself (``from_config``), without which it is none."""
    for key in PARTS:
        if key in section.schema and not section.has_default(key) and section.get(key) is None:
            raise UserError(f"{name} has no {key}; write '{key}: NAME' into the config's {name} section")


def _check_reference(where, value, modules, optional=False):
    """A reference to a module: its name, or {'name': ..., settings}; other values are objects already built."""
    name = value.get("name") if isinstance(value, dict) else value
    if isinstance(name, str):
        if name not in modules:
            raise UserError(f"{where}: {rules.name(name)} is not registered{nearest(name, modules)}")
        if isinstance(value, dict):
            _check_section(f"{where} ({name})", value, modules[name], modules)
    elif isinstance(value, PLAIN) and not (value is None and optional):
        raise UserError(f"{where} is {rules.shown(value)}, not a registered name; write a name, or a group with its "
                        "settings: {name: NAME, ...}")
