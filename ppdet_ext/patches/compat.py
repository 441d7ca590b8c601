# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every patch to an installed ppdet or Paddle, and the check of the environment. Each patch says for which version.

Patches go in only where the installed release lacks what develop has, so a newer ppdet is left alone.
"""
import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import sys

from ..errors import UserError

#: module -> what to do when it is missing
NEEDED = {
    "paddle": 'install it with pip install "ppdet-ext[cpu]" (or [gpu])',
    "sklearn": "paddledet imports it without asking for it; install it with pip install scikit-learn",
    "pkg_resources": 'paddledet imports it, and setuptools 81 and newer lack it; run pip install "setuptools<81"',
    "ppdet": "install it with pip install paddledet==2.6.0",
}
PYTHON = ((3, 9), (3, 11))


def check_environment(version=sys.version_info, find=importlib.util.find_spec, load=importlib.import_module):
    """Look for the mistakes that otherwise end in a long traceback, before anything heavy is imported.

    Args:
        version, find, load: what to look at, for tests.

    Raises:
        UserError: wrong Python, a missing package, or a NumPy that the installed OpenCV was not built for.
    """
    if not PYTHON[0] <= tuple(version[:2]) <= PYTHON[1]:
        raise UserError(f"Python {version[0]}.{version[1]} is not supported: paddledet 2.6.0 needs numpy < 1.24, which "
                        "exists for Python 3.9 to 3.11; make an environment with one of these")
    for module, remedy in NEEDED.items():
        if find(module) is None:
            raise UserError(f"the package '{module}' is missing: {remedy}")
    numpy = load("numpy")
    try:
        # NumPy 2 prints a page of its own before an extension made for NumPy 1 fails
        with contextlib.redirect_stderr(io.StringIO()):
            load("cv2")
    except (ImportError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "cannot open shared object" in reason:
            raise UserError(f"OpenCV needs a system library ({reason}); on Debian or Ubuntu run apt-get install libgl1 "
                            "libglib2.0-0") from None
        raise UserError(f"OpenCV does not load with numpy {numpy.__version__} ({reason}); run pip install "
                        '"numpy<1.24" "opencv-python<=4.6.0"') from None


def preload():
    """Import lap and pyclipper before Paddle.

    Paddle 2.6.2: importing lap 0.5.13 or pyclipper 1.4.0 after it ends the process with SIGSEGV, and ppdet imports
    both.
    """
    for module in ("lap", "pyclipper"):
        if importlib.util.find_spec(module):
            importlib.import_module(module)


def apply():
    """Put all patches in. Safe to call more than once."""
    from ..data import pixels, quiet, reading, transform_schedule
    from ..kernels import convolution, linear, pointwise

    for patch in (linear.install, convolution.install, pointwise.install, _safe_yaml, pixels.install, _transform_prob,
                  quiet.install, _ema_filter_no_grad, _sync_batch_norm, transform_schedule.install, reading.install):
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
