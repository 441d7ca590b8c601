# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Automatic mixed precision as the config asks for it: what runs in half precision, and the weights in full.

An average of half-precision weights would never move: a decay of 0.9999 takes finer steps than bfloat16 has (256
between 1 and 2). So O2's weights have float32 masters (the optimizer's). The average, the checkpoints and the next run
come from these.
"""
from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn
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
    def of(cls, cfg: dict[str, Any]) -> Precision:
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
    def half_weights(self) -> bool:
        """Whether weights are of half precision, with float32 masters in the optimizer."""
        return self.enabled and self.level == "O2"

    def auto_cast(self) -> contextlib.AbstractContextManager:
        """Context for the forward pass, in which operations run in half precision where that is safe."""
        if not self.enabled:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(custom_white_list=set(self.white) or None,
                                    custom_black_list=set(self.black) or None, level=self.level,  # type: ignore[arg-type]  # checked
                                    dtype=self.dtype)  # type: ignore[arg-type]  # checked

    def decorate(self, model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
        """Under O2: weights, but those of norms, in half precision from here on, with masters in ``optimizer``.

        Raises:
            UserError: a weight has a decay of its own (``norm_decay``).
        """
        if not self.half_weights:
            return
        with _buffers_kept(model):
            paddle.amp.decorate(  # type: ignore[call-overload]  # checked
                models=model, optimizers=optimizer, level="O2", dtype=self.dtype)
        for name, parameter in model.named_parameters():
            _drop_idle_regularizer(name, parameter)

    def scaler(self) -> paddle.amp.GradScaler:
        """Paddle's GradScaler; idle but for float16, whose smallest gradients would become zero."""
        return paddle.amp.GradScaler(enable=self.enabled and self.dtype == "float16",
                                     init_loss_scaling=self.first_scale)


@contextlib.contextmanager
def _buffers_kept(model: nn.Layer) -> Iterator[None]:
    """Paddle would round buffers, too: anchors would move by a pixel, and what a checkpoint holds would change."""
    kept = [(layer, name, buffer, buffer.clone()) for layer in model.sublayers(include_self=True)
            for name, buffer in layer._buffers.items() if buffer is not None and paddle.is_floating_point(buffer)]
    yield
    for layer, name, buffer, value in kept:
        if buffer.dtype != value.dtype:
            layer._buffers[name] = value


def _drop_idle_regularizer(name: str, parameter: paddle.Tensor) -> None:
    """Paddle looks for the regularizer of a half-precision weight at its master, which has none, and fails (3.3.1)."""
    own = getattr(parameter, "regularizer", None)
    if own is None or parameter.dtype not in HALF:
        return
    if own._coeff != 0:
        raise UserError(f"amp_level O2: '{name}' has a weight decay of its own ({own._coeff}), which Paddle cannot do "
                        "in half precision; set its norm_decay to 0, or amp_level: O1")
    parameter.regularizer = None


def device_has_half() -> bool:
    """Whether Paddle mixes precisions on the current device; amp.is_bfloat16_supported says yes of a CPU, too."""
    return not paddle.get_device().startswith("cpu")


def widen_gradients(parameters: Iterable[paddle.Tensor]) -> None:
    """Gradients of half-precision weights in float32, before they are clipped.

    Paddle clips by a norm that it computes in the gradients' type: squares of float16 overflow at a norm of 256, after
    which every gradient is multiplied by zero, and the training stands still without a word (3.3.1). This is what
    amp.decorate's ``master_grad`` calls after every backward; once a step is enough, and leaves other models alone.
    """
    core.eager.set_master_grads([parameter for parameter in parameters
                                 if parameter.grad is not None and parameter.grad.dtype in HALF])


def full(state: dict[str, paddle.Tensor], model: nn.Layer,
         optimizer: paddle.optimizer.Optimizer) -> dict[str, paddle.Tensor]:
    """``state``, a state dict of ``model``, in float32: from the optimizer's masters where there are."""
    masters = optimizer.state_dict().get("master_weights", {})
    names = {name: tensor.name for name, tensor in model.state_dict().items()}
    return widened({name: masters.get(names[name], tensor) for name, tensor in state.items()})


def widened(state: dict[str, paddle.Tensor]) -> dict[str, paddle.Tensor]:
    """``state`` with its half-precision tensors in float32."""
    return {name: tensor.astype("float32") if tensor.dtype in HALF else tensor
            for name, tensor in state.items()}


def fitting(state: dict[str, paddle.Tensor], model: nn.Layer) -> dict[str, paddle.Tensor]:
    """``state`` in the types of the model's own parameters, which ``set_state_dict`` insists on."""
    own = model.state_dict()
    return {name: value if value.dtype == own[name].dtype else value.astype(own[name].dtype)
            for name, value in state.items()}
