# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Automatic mixed precision as the config asks for it: what runs in half precision, and the weights in full.

ppdet's loop knows float16 only, and an O2 run of it averages and saves half-precision weights: with a decay of 0.9999
bfloat16, which tells 256 steps between 1 and 2, never moves. Here O2's weights have float32 masters (the optimizer's),
and the average, the checkpoints and the next run come from these.
"""
import contextlib
import logging
from dataclasses import dataclass

import paddle
from paddle.base import core

from ..errors import UserError

log = logging.getLogger("ppdet.engine")
HALF = (paddle.float16, paddle.bfloat16)
LEVELS, TYPES = ("O1", "O2"), ("float16", "bfloat16")


@dataclass(frozen=True)
class Precision:
    """``amp``, ``amp_level`` (O1: operations, O2: weights, too), ``amp_dtype`` and PaddleDetection's other keys.

    Attributes:
        enabled: asked for, and the device can do it.
    """

    enabled: bool = False
    level: str = "O1"
    dtype: str = "float16"
    white: tuple = ()
    black: tuple = ()
    first_scale: float = 1024

    @classmethod
    def of(cls, cfg):
        """Read a config; a device without half precision is said loudly.

        Raises:
            UserError: an unknown level or type.
        """
        level, dtype = cfg.get("amp_level", "O1"), cfg.get("amp_dtype", "float16")
        for key, value, known in (("amp_level", level, LEVELS), ("amp_dtype", dtype, TYPES)):
            if value not in known:
                raise UserError(f"{key} is {value!r}; it takes {' or '.join(known)}")
        enabled = bool(cfg.get("amp"))
        if enabled and not device_has_half():
            log.warning("--amp has NO effect on this device: everything runs in float32 (Paddle has no convolution or "
                        "product in half precision for a CPU)")
            enabled = False
        return cls(enabled, level, dtype, tuple(cfg.get("custom_white_list") or ()),
                   tuple(cfg.get("custom_black_list") or ()), cfg.get("init_loss_scaling", 1024))

    @property
    def half_weights(self):
        return self.enabled and self.level == "O2"

    def auto_cast(self):
        """Context in which operations run in half precision where that is safe."""
        return paddle.amp.auto_cast(enable=self.enabled, custom_white_list=set(self.white) or None,
                                    custom_black_list=set(self.black) or None, level=self.level, dtype=self.dtype)

    @contextlib.contextmanager
    def applied(self, model):
        """``model.forward`` runs under ``auto_cast`` meanwhile; its backward and the optimizer do not."""
        if not self.enabled:
            yield
            return
        forward = model.forward

        def cast_forward(*inputs):
            with self.auto_cast():
                return forward(*inputs)

        model.forward = cast_forward
        try:
            yield
        finally:
            del model.forward

    def decorate(self, model, optimizer):
        """Under O2: weights, but those of norms, in half precision from here on, with masters in ``optimizer``.

        Raises:
            UserError: a weight has a decay of its own (``norm_decay``).
        """
        if not self.half_weights:
            return
        optimizer = getattr(optimizer, "target", optimizer)  # Paddle takes no stand-in
        with _buffers_kept(model):
            paddle.amp.decorate(models=model, optimizers=optimizer, level="O2", dtype=self.dtype)
        for name, parameter in model.named_parameters():
            _drop_idle_regularizer(name, parameter)

    def scaler(self):
        """Paddle's GradScaler; idle but for float16, whose smallest gradients would become zero."""
        return paddle.amp.GradScaler(enable=self.enabled and self.dtype == "float16",
                                     init_loss_scaling=self.first_scale)


@contextlib.contextmanager
def _buffers_kept(model):
    """Paddle would round buffers, too: anchors would move by a pixel, and what a checkpoint holds would change."""
    kept = [(layer, name, buffer, buffer.clone()) for layer in model.sublayers(include_self=True)
            for name, buffer in layer._buffers.items() if buffer is not None and paddle.is_floating_point(buffer)]
    yield
    for layer, name, buffer, value in kept:
        if buffer.dtype != value.dtype:
            layer._buffers[name] = value


def _drop_idle_regularizer(name, parameter):
    """Paddle looks for the regularizer of a half-precision weight at its master, which has none, and fails (3.3.1)."""
    own = getattr(parameter, "regularizer", None)
    if own is None or parameter.dtype not in HALF:
        return
    if own._coeff != 0:
        raise UserError(f"amp_level O2: '{name}' has a weight decay of its own ({own._coeff}), which Paddle cannot do "
                        "in half precision; set its norm_decay to 0, or amp_level: O1")
    parameter.regularizer = None


def device_has_half():
    """Whether Paddle mixes precisions on the current device; amp.is_bfloat16_supported says yes of a CPU, too."""
    return not paddle.get_device().startswith("cpu")


def widen_gradients(parameters):
    """Gradients of half-precision weights in float32, before they are clipped.

    Paddle clips by a norm that it computes in the gradients' type: squares of float16 overflow at a norm of 256, after
    which every gradient is multiplied by zero, and the training stands still without a word (3.3.1). This is what
    amp.decorate's ``master_grad`` calls after every backward; once a step is enough, and leaves other models alone.
    """
    core.eager.set_master_grads([parameter for parameter in parameters
                                 if parameter.grad is not None and parameter.grad.dtype in HALF])


def full(state, model, optimizer):
    """``state``, a state dict of ``model``, in float32: from the optimizer's masters where there are."""
    masters = optimizer.state_dict().get("master_weights", {})
    names = {name: tensor.name for name, tensor in model.state_dict().items()}
    return widened({name: masters.get(names[name], tensor) for name, tensor in state.items()})


def widened(state):
    """``state`` with its half-precision tensors in float32."""
    return {name: tensor.astype("float32") if tensor.dtype in HALF else tensor
            for name, tensor in state.items()}


def fitting(state, model):
    """``state`` in the types of the model's own parameters, which ``set_state_dict`` insists on."""
    own = model.state_dict()
    return {name: value if value.dtype == own[name].dtype else value.astype(own[name].dtype)
            for name, value in state.items()}
