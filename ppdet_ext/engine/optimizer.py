# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""OptimizerBuilder: one rule for groups of parameters.

Paddle's own parameter groups undo the rates of layers (lr_mult_list), and clip the gradient's norm group by group
(Paddle 3.3.1). Here all parameters stay one list, so the norm is that of the whole gradient.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from numbers import Real
from typing import Any

import paddle
from paddle import nn
from ppdet.optimizer.optimizer import OptimizerBuilder as InstalledBuilder

from ..errors import UserError
from ..registry import register_over

log = logging.getLogger("ppdet.engine")

GROUP_KEYS = {"params", "learning_rate", "weight_decay"}
# PaddleDetection's RT-DETRv2 configs write the absolute rate 1e-5 where Paddle multiplies: 1e-9 is what trains there
LEAST_FACTOR = 1e-3
OWN_RATE = "own_learning_rate"  # what the layer itself asks for, kept so that a second optimizer begins from it


@register_over
class OptimizerBuilder(InstalledBuilder):
    """ppdet's, with another way to ``param_groups`` of the optimizer.

    ``param_groups: [{params: [...], learning_rate: 0.1, weight_decay: 0.}]``: ``params`` are regular expressions that
    are searched for in names. A parameter's rate is base_lr (as scheduled), times its layer's factor (lr_mult_list),
    times its group's ``learning_rate`` (a factor, as in Paddle; 1 where it is left out). Its weight decay is the
    optimizer's, or none in groups with ``weight_decay: 0``.

    Args:
        clip_grad_by_norm, clip_grad_by_value: limit of the whole gradient's norm, or of each of its elements.
        regularizer: L1 or L2, for optimizers other than AdamW.
        optimizer: type and arguments of a paddle.optimizer.

    Raises (when called): UserError, where a group is not written as above, has another weight_decay, shares a
    parameter with another group, or is not AdamW's.
    """

    __category__ = 'optim'

    def __init__(self,
                 clip_grad_by_norm: float | None = None,
                 clip_grad_by_value: float | None = None,
                 regularizer: dict | bool = {'type': 'L2',
                                             'factor': .0001},
                 optimizer: dict = {'type': 'Momentum',
                                    'momentum': .9}) -> None:
        super().__init__(clip_grad_by_norm, clip_grad_by_value, regularizer, optimizer)

    def __call__(self, learning_rate: Any, model: nn.Layer | None = None) -> paddle.optimizer.Optimizer:
        settings = dict(self.optimizer)
        groups = settings.pop('param_groups', None) or []
        if groups:
            if settings.get('type') != 'AdamW':
                raise UserError(f"param_groups are understood for AdamW, not for {settings.get('type')}")
            undecayed = apply_groups(model, groups,  # type: ignore[arg-type]  # the Trainer gives a model
                                     settings.get('weight_decay', 0.01))
            settings['apply_decay_param_fun'] = lambda name: name not in undecayed
        builder = InstalledBuilder(self.clip_grad_by_norm, self.clip_grad_by_value, self.regularizer, settings)
        return builder(learning_rate, model)


def apply_groups(model: nn.Layer, groups: Sequence[dict], weight_decay: float) -> set[str]:
    """Set the rate of every parameter that learns.

    Args:
        groups: see OptimizerBuilder.
        weight_decay: the optimizer's.

    Returns:
        Paddle's names (``parameter.name``) of the parameters without weight decay.

    Raises:
        UserError: see OptimizerBuilder.
    """
    learning = {name: parameter for name, parameter in model.named_parameters() if not parameter.stop_gradient}
    owner: dict[str, list[str]] = {}
    undecayed: set[str] = set()
    for group in groups:
        _check_group(group, weight_decay)
        members = {name: parameter for name, parameter in learning.items()
                   if any(re.search(pattern, name) for pattern in group['params'])}
        for name, parameter in members.items():
            if name in owner:
                raise UserError(f"param_groups: '{name}' is in the group {owner[name]} and in {group['params']}")
            owner[name] = group['params']
            _set_rate(parameter, group.get('learning_rate', 1.0))
        if 'weight_decay' in group and not group['weight_decay']:
            undecayed.update(parameter.name for parameter in members.values())
        _report(group, len(members), len(learning), weight_decay)
    return undecayed


def empty_groups(model: nn.Layer, builder: Any) -> list[str]:
    """Patterns of those ``param_groups`` that match no parameter that learns.

    Args:
        builder: OptimizerBuilder's section of a config.
    """
    names = [name for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    groups = (builder.get("optimizer") or {}).get("param_groups") or []
    return [", ".join(group["params"]) for group in groups
            if not any(re.search(pattern, name) for pattern in group["params"] for name in names)]


def _check_group(group: Any, weight_decay: float) -> None:
    if not isinstance(group, dict) or not isinstance(group.get('params'), list) or not set(group) <= GROUP_KEYS:
        raise UserError(f"param_groups: {group} is no group; write {{params: [PATTERN], learning_rate: FACTOR, "
                        "weight_decay: 0.}")
    if not isinstance(group.get('learning_rate', 1.0), Real):
        raise UserError(f"param_groups: learning_rate is {group['learning_rate']!r}; give a factor on base_lr")
    if group.get('weight_decay', weight_decay) not in (0, weight_decay):
        raise UserError(f"param_groups: weight_decay is {group['weight_decay']}; a group has the optimizer's "
                        f"({weight_decay}) or none (0.)")


def _report(group: dict, members: int, parameters: int, weight_decay: float) -> None:
    factor, patterns = group.get('learning_rate', 1.0), ', '.join(group['params'])
    log.info(f"param_groups: {members} of {parameters} parameters match {patterns}: learning rate x{factor}, "
             f"weight decay {group.get('weight_decay', weight_decay)}")
    if not members:
        log.warning(f"param_groups: {patterns} matches NO parameter that learns, so this group changes nothing")
    if 0 < factor < LEAST_FACTOR:
        log.warning(f"param_groups: learning_rate {factor} of {patterns} is a FACTOR on base_lr, and these parameters "
                    "will hardly move; for a rate of a tenth of base_lr write 0.1")


def _set_rate(parameter: paddle.Tensor, factor: float) -> None:
    own = parameter.optimize_attr.get(OWN_RATE, parameter.optimize_attr['learning_rate'])
    parameter.optimize_attr = {**parameter.optimize_attr, OWN_RATE: own, 'learning_rate': own * factor}
