# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every patch to an installed ppdet or Paddle, and the check of the environment. Each patch says for which version.

Patches go in only where the installed release lacks what develop has, so a newer ppdet is left alone.
"""
import functools
import importlib
import inspect


def apply():
    """Put all patches in. Safe to call more than once."""
    from ..data import pixels, quiet, reading, transform_schedule

    for patch in (_safe_yaml, pixels.install, _transform_prob, quiet.install, _ema_filter_no_grad, _sync_batch_norm,
                  transform_schedule.install, reading.install):
        patch()


def _safe_yaml():
    """ppdet's load_config reads YAML with a loader that can run code from a config file; ours cannot (any version)."""
    from ppdet.core import workspace

    from ..config import config_file

    workspace._load_config_with_base = config_file.read


def _transform_prob():
    """ppdet 2.6.0's RandomDistort and RandomCrop have no ``prob``, the chance to act at all, which RT-DETR sets.

    The classes are changed in place: their own ``super(RandomDistort, self)`` would find a subclass of that name.
    """
    from ppdet.data.transform import operators

    for name in ("RandomDistort", "RandomCrop"):
        _add_prob(getattr(operators, name))


def _add_prob(cls):
    import numpy as np

    init, apply = cls.__init__, cls.apply
    signature = inspect.signature(init)
    if "prob" in signature.parameters:
        return

    def __init__(self, *args, prob=1.0, **kwargs):
        init(self, *args, **kwargs)
        self.prob = prob

    @functools.wraps(apply)
    def apply_sometimes(self, sample, context=None):
        return apply(self, sample, context) if np.random.rand() <= self.prob else sample

    prob = inspect.Parameter("prob", inspect.Parameter.KEYWORD_ONLY, default=1.0)
    __init__.__signature__ = signature.replace(parameters=[*signature.parameters.values(), prob])
    cls.__init__, cls.apply = __init__, apply_sometimes


def _ema_filter_no_grad():
    """ppdet 2.6.0's ModelEMA fails on ``ema_filter_no_grad: True`` (it appends to a set), and would too late: frozen
    parameters are to be kept as they are, not averaged from zero."""
    from ppdet.engine import trainer
    from ppdet.optimizer import ema

    base = ema.ModelEMA
    if getattr(base, "keeps_frozen", False):
        return

    class ModelEMA(base):
        __doc__ = base.__doc__
        keeps_frozen = True

        def __init__(self, model, decay=0.9998, ema_decay_type="threshold", cycle_epoch=-1, ema_black_list=None,
                     ema_filter_no_grad=False):
            super().__init__(model, decay, ema_decay_type, cycle_epoch, ema_black_list)
            if ema_filter_no_grad:
                statistics = ema.get_bn_running_state_names(model)
                frozen = {n for n, p in model.named_parameters() if p.stop_gradient and n not in statistics}
                self.ema_black_list = set(self.ema_black_list) | frozen
                self.state_dict.update({k: v for k, v in model.state_dict().items() if k in frozen})

    for module in (ema, trainer, importlib.import_module("ppdet.optimizer")):
        if hasattr(module, "ModelEMA"):
            module.ModelEMA = ModelEMA


def _sync_batch_norm():
    """Paddle 3.3.1's SyncBatchNorm has no CPU kernel, and its conversion makes a plain one of every subclass, also of
    one that is a SyncBatchNorm already (which costs the activations of timm's norms)."""
    import paddle
    from paddle import nn

    from ..kernels import sync_batch_norm

    base = nn.SyncBatchNorm
    forward, convert = base.forward, base.convert_sync_batchnorm.__func__
    if hasattr(forward, "__wrapped__"):
        return

    @functools.wraps(forward)
    def forward_anywhere(self, x):
        if not paddle.in_dynamic_mode() or not x.place.is_cpu_place():
            return forward(self, x)
        self._check_data_format()
        return sync_batch_norm.forward(self, x)

    @functools.wraps(convert)
    def convert_once(cls, layer):
        return layer if isinstance(layer, base) else convert(cls, layer)

    base.forward, base.convert_sync_batchnorm = forward_anywhere, classmethod(convert_once)
