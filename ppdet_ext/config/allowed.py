# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a config may name of ppdet: allow-lists of tags, modules, data sets, transforms, schedulers and optimizers.

ppdet looks names up with getattr in whole modules, and evaluates some settings as Python. Here only classes that were
read for it can be reached. The guards are put where ppdet looks (rows ``safe_names`` and ``safe_eval`` of the ledger),
so they hold whichever way a name comes. A user's own classes, which only ``--import`` brings in, are always allowed.
"""
from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import yaml
from ppdet.core.config import yaml_helpers
from ppdet.core.config.schema import SchemaDict

from ..errors import UserError, nearest

OWN = ("ppdet", "ppdet_ext")  # whose classes need to be listed; others are the user's
# where the classes lie that a section or another module may name; trackers, re-identification and slim are not
MODULES = ("ppdet.data.reader",
           *(f"ppdet.data.source.{part}" for part in (
               "coco", "dataset", "keypoint_coco", "sniper_coco", "voc", "widerface")),
           *(f"ppdet.modeling.{part}" for part in (
               "architectures", "assigners", "backbones", "heads", "layers", "losses", "necks", "post_process",
               "proposal_generator", "ssod", "transformers")),
           "ppdet.optimizer.optimizer", "ppdet_ext")
# pictures and annotations; those of tracking hand a video's name to a shell
DATA_SETS = ("COCODataSet", "SlicedCOCODataSet", "SemiCOCODataSet", "SniperCOCODataSet", "VOCDataSet",
             "WIDERFaceDataSet", "ImageFolder", "KeypointBottomUpCocoDataset", "KeypointBottomUpCrowdPoseDataset",
             "KeypointTopDownCocoDataset", "KeypointTopDownMPIIDataset")
SCHEDULERS = ("CosineDecay", "PiecewiseDecay", "LinearWarmup", "ExpWarmup")
# a tagged object is made while the text is read, so of the network only parts that do no more than keep their settings
TAGGED = ("ppdet.modeling.layers", "ppdet.modeling.losses", "ppdet.modeling.proposal_generator",
          "ppdet.modeling.transformers", "ppdet_ext.detector")
# modules whose code evaluates a setting -> (the settings, what may stand there)
EVALUATED = {
    "ppdet.modeling.backbones.vision_transformer": ("norm_layer", ("nn.LayerNorm", "paddle.nn.LayerNorm")),
    "ppdet.modeling.backbones.trans_encoder": ("act_fn", ("ReLU", "Swish", "GELU")),
    "ppdet.modeling.necks.custom_pan": ("stage_fn or block_fn", ("CSPStage", "BasicBlock")),
    "ppdet.modeling.reid.pyramidal_embedding": ("model_name", ("ResNet50", "ResNet101")),
    "ppdet.modeling.reid.resnet_embedding": ("model_name", ("ResNet50", "ResNet101")),
    "ppdet.optimizer.adamw": ("set_param_lr_func", ("layerwise_lr_decay",)),
}
# what wandb.init may be given: its other arguments name programs and servers
WANDB = ("project", "entity", "name", "group", "job_type", "tags", "notes", "id", "resume", "mode", "dir", "config")


def is_users(thing: Any) -> bool:
    """Whether a class or function is neither ppdet's nor ours."""
    return thing.__module__.partition(".")[0] not in OWN


def _lies_in(cls, packages):
    return any(f"{cls.__module__}.".startswith(f"{package}.") for package in packages)


def is_module(schema: SchemaDict) -> bool:
    """Whether a config may name this registered class."""
    cls = getattr(schema.pymodule, schema.name)
    return is_users(cls) or _lies_in(cls, MODULES)


def is_data_set(value: Any) -> bool:
    """A data set that a config may name."""
    return inspect.isclass(value) and hasattr(value, "parse_dataset") and (
        value.__name__ in DATA_SETS or is_users(value))


def is_transform(value: Any) -> bool:
    """A class whose objects can be called with a sample: ppdet's transforms, and a user's."""
    return inspect.isclass(value) and any("__call__" in vars(base) for base in value.__mro__) and (
        is_users(value) or _lies_in(value, ["ppdet.data.transform", "ppdet_ext.data"]))


def is_scheduler(value: Any) -> bool:
    """A learning-rate scheduler that a config may name."""
    return inspect.isclass(value) and "__call__" in vars(value) and (value.__name__ in SCHEDULERS or is_users(value))


def is_optimizer(value: Any) -> bool:
    """One of Paddle's optimizers."""
    import paddle
    return inspect.isclass(value) and issubclass(value, paddle.optimizer.Optimizer)


def names(module: ModuleType, fits: Callable[[Any], bool]) -> list[str]:
    """Names of what ``fits`` in a module."""
    return [name for name in dir(module) if fits(getattr(module, name))]


def tags() -> dict[str, type | None]:
    """{'!Name': its class, or None where a config may not use it} for all that ppdet's ``serializable`` has tagged."""
    classes = {cls.__name__: cls for cls in yaml.Dumper.yaml_representers if inspect.isclass(cls)}
    found = {tag: classes.get(tag[1:]) for tag, make in _single_tags() if _is_ppdets(make)}
    return {tag: cls if cls and _may_be_tagged(cls) else None for tag, cls in found.items()}


def users_tags() -> dict[str, Callable[..., Any]]:
    """{'!name': constructor} that a user's own code has given to PyYAML."""
    return {tag: make for tag, make in _single_tags() if not _is_ppdets(make)}


def _single_tags():
    """ppdet, like ``yaml.add_constructor``, hangs its constructors on PyYAML's own loaders."""
    return [(tag, make) for tag, make in yaml.FullLoader.yaml_constructors.items()
            if isinstance(tag, str) and tag.startswith("!")]


def _is_ppdets(make):
    return make.__module__ == yaml_helpers.__name__


def _may_be_tagged(cls):
    return is_users(cls) or _lies_in(cls, TAGGED) or is_data_set(cls) or (
        cls.__module__ == "ppdet.optimizer.optimizer" and cls.__name__ in SCHEDULERS)


class Allowed:
    """Stands for a module in which ppdet looks up what a config names; other names raise UserError.

    What cannot be called, such as a module within it, is given as it is: ppdet's own code uses that.
    """

    def __init__(self, module: ModuleType, what: str, fits: Callable[[Any], bool]) -> None:
        self._module, self._what, self._fits = module, what, fits

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name, None)
        if value is None or (callable(value) and not self._fits(value)):
            raise UserError(f"'{name}' is no {self._what} that a config may name"
                            f"{nearest(name, names(self._module, self._fits))}")
        return value


def only_data_sets(source: ModuleType) -> Allowed:
    """For the module in which ppdet's TrainDataset and its kin look up ``name``."""
    return Allowed(source, "data set", is_data_set)


def only_transforms(transform: ModuleType) -> Allowed:
    """For the module in which ppdet's readers look up transforms."""
    return Allowed(transform, "transform", is_transform)


def only_optimizers(optimizer: ModuleType) -> Allowed:
    """For the module in which ppdet's OptimizerBuilder looks up ``type``."""
    return Allowed(optimizer, "optimizer", is_optimizer)


def only_schedulers(init: Callable[..., None]) -> Callable[..., None]:
    """For ``LearningRate.__init__``, which looks schedulers up among all names of its own module."""
    module = sys.modules[init.__module__]

    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        given = inspect.signature(init).bind(self, *args, **kwargs).arguments.get("schedulers") or ()
        for scheduler in given:
            if isinstance(scheduler, Mapping):
                getattr(Allowed(module, "scheduler", is_scheduler), str(scheduler.get("name")))
        init(self, *args, **kwargs)
    return checked


def by_name(_eval: Callable[..., Any]) -> Callable[..., Any]:
    """For ``eval`` in ppdet's modules: one of the names in EVALUATED, looked up instead of evaluated."""
    def look_up(text: str) -> Any:
        there = sys._getframe(1).f_globals
        setting, known = EVALUATED.get(there["__name__"], ("a setting", ()))
        if text not in known:
            raise UserError(f"{setting} is {text!r:.80}; ppdet evaluates it as Python, so it takes only "
                            f"{' or '.join(known)}")
        first, *rest = text.split(".")
        return functools.reduce(getattr, rest, there[first])
    return look_up


def check_wandb(cfg: Mapping[str, Any]) -> None:
    """Arguments of ``wandb.init``: the section ``wandb``, and keys ``wandb_*``.

    Raises:
        UserError: one that is not in WANDB.
    """
    section = cfg.get("wandb")
    given = [*(section if isinstance(section, Mapping) else ()),
             *(key[len("wandb_"):] for key in cfg if isinstance(key, str) and key.startswith("wandb_"))]
    for key in given:
        if key not in WANDB:
            raise UserError(f"wandb: the setting '{key}' is not for configs; it takes {', '.join(WANDB)}")
