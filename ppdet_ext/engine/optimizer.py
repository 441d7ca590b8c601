# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""OptimizerBuilder whose ``param_groups`` do what the recipes mean: patterns, learning rates, no weight decay.

ppdet 2.6.0 hands the groups to Paddle, and four things go wrong without a word: it looks for the patterns as plain
substrings (RT-DETRv2's are regular expressions, as in develop, so they match nothing); a backbone's ``lr_mult_list`` is
cancelled, since AdamW writes 1.0 over what a group does not set; ``clip_grad_by_norm`` clips every group by its own norm
instead of all gradients by one; and no weight decay on a norm cannot be asked for otherwise, because AdamW does not read
a parameter's regularizer (``norm_decay: 0``). So nothing is grouped here: every parameter carries its own factor.
"""
import logging
import re

from ppdet.core.workspace import global_config
from ppdet.optimizer import OptimizerBuilder as InstalledBuilder

from ..errors import UserError
from ..registry import register_over

log = logging.getLogger("ppdet.engine")
KEYS = {"params", "learning_rate", "weight_decay"}
#: a factor below this is taken for a learning rate that was meant absolutely, and said
SMALL_FACTOR = 1e-3


@register_over
class OptimizerBuilder(InstalledBuilder):
    """ppdet's builder; with ``param_groups`` in ``optimizer`` these rules hold.

    A group is ``{params: [pattern, ...], learning_rate: factor, weight_decay: 0}``. It takes the parameters in whose
    names (``backbone.conv1.conv1_1.norm.weight``) a pattern is found by ``re.search``; no parameter may be in two.
    ``learning_rate`` is a factor on the scheduled one, as in Paddle; where a group has none, the parameter's own
    (``lr_mult_list``) stays. ``weight_decay`` is 0 or the optimizer's own. Gradients are clipped by the norm of all.

    Raises:
        UserError: unknown keys, a pattern that finds nothing, a parameter in two groups, another weight decay, or
            groups under another optimizer than AdamW.
    """

    __category__ = "optim"

    def __call__(self, learning_rate, model=None):
        settings = dict(self.optimizer)
        groups = settings.pop("param_groups", None)
        if not groups:
            return super().__call__(learning_rate, model)
        if settings.get("type") != "AdamW":
            raise UserError(f"OptimizerBuilder: param_groups need type: AdamW, not {settings.get('type')}")
        spared = self._apply(groups, model, settings.get("weight_decay", 0.01))
        settings["apply_decay_param_fun"] = lambda name: name not in spared
        plain = InstalledBuilder(self.clip_grad_by_norm, self.clip_grad_by_value, self.regularizer, settings)
        return plain(learning_rate, model)

    def _apply(self, groups, model, weight_decay):
        """Write the groups' learning rates to the parameters; the parameters' own names that no decay is for."""
        spared = set()
        for group, parameters in zip(groups, _split(groups, dict(model.named_parameters()))):
            if group.get("weight_decay", weight_decay) not in (0, weight_decay):
                raise UserError(f"OptimizerBuilder.param_groups: weight_decay {group['weight_decay']} of "
                                f"{group['params']} is neither 0 nor the optimizer's {weight_decay}")
            if group.get("weight_decay", weight_decay) == 0:
                spared.update(parameter.name for parameter in parameters)
            if "learning_rate" in group:
                for parameter in parameters:
                    parameter.optimize_attr["learning_rate"] = group["learning_rate"]
        return spared


def _split(groups, named):
    """The parameters of each group, as lists."""
    owner = {}
    for index, group in enumerate(groups):
        _check(group)
        for pattern in group["params"]:
            found = [name for name in named if re.search(pattern, name)]
            if not found:
                raise UserError(f"OptimizerBuilder.param_groups: '{pattern}' is found in no parameter's name, such as "
                                f"'{next(iter(named))}'")
            for name in found:
                if owner.setdefault(name, index) != index:
                    raise UserError(f"OptimizerBuilder.param_groups: '{name}' is in two groups, {group['params']} and "
                                    f"{groups[owner[name]]['params']}; make the patterns exclude each other")
    return [[named[name] for name in named if owner.get(name) == index] for index in range(len(groups))]


def _check(group):
    unknown = sorted(set(group) - KEYS) if isinstance(group, dict) else [group]
    if unknown or not isinstance(group.get("params"), list):
        raise UserError(f"OptimizerBuilder.param_groups: a group has params: [pattern, ...] and may have learning_rate "
                        f"and weight_decay, got {group}")
    factor = group.get("learning_rate", 1.0)
    if 0 < factor < SMALL_FACTOR:
        base = global_config.get("LearningRate", {}).get("base_lr")
        log.warning("param_groups: learning_rate %g of %s is a FACTOR on base_lr (%s), as Paddle reads it; RT-DETRv2's "
                    "official configs write the absolute rate, which all but freezes these: write %s", factor,
                    group["params"], base, f"{factor / base:g}" if base else "their quotient")
