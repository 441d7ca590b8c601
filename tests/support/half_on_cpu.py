# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Half precision on a CPU, for tests: Paddle's own automatic mixed precision without its kernels.

Paddle 3.3.1's CPU build has no bfloat16 or float16 convolution, product or sum, and its amp.auto_cast, amp.decorate and
GradScaler do nothing there. Inside ``half_on_cpu()`` they work as on a GPU: tensors really are of half precision, every
operation gets its inputs in the type that Paddle's lists and promotion give it (paddle/fluid/eager/amp_utils.h), is
computed in float32, and its result is rounded. So overflow, lost digits and types that do not fit show here; speed,
memory and the rounding inside a kernel do not.
"""
import contextlib
import functools
import sys

import paddle
from paddle import _C_ops
from paddle.base import core
from paddle.base.framework import _dygraph_tracer

HALF = (paddle.float16, paddle.bfloat16)
FLOATS = (*HALF, paddle.float32)
NORMS = ("batch_norm", "layer_norm", "sync_batch_norm_", "group_norm", "instance_norm")
# what moves values without looking at them runs in any type on a CPU too
ANY_TYPE = ("cast", "full_like", "assign", "zeros_like", "ones_like", "memcpy_d2h", "is_empty", "shape", "numel",
            "copy_to", "uniform", "gaussian", "sync_calc_stream")
# what F.linear calls on a GPU
ON_A_GPU = {"linear": "linear_v2"}
IN_PLACE = ("add_", "subtract_", "multiply_", "divide_", "scale_", "clip_")
# Python's operators are C functions of their own; the right-hand ones swap
OPERATORS = {"__add__": "add", "__radd__": "add", "__sub__": "subtract", "__rsub__": "subtract", "__mul__": "multiply",
             "__rmul__": "multiply", "__truediv__": "divide", "__rtruediv__": "divide", "__pow__": "elementwise_pow",
             "__matmul__": "matmul", "__neg__": "scale", "__gt__": None, "__ge__": None, "__lt__": None, "__le__": None,
             "__eq__": None, "__ne__": None, "__abs__": "abs"}


CAST = _C_ops.cast


class OnAGpu:
    """The tracer, saying that it runs where half precision does."""

    def __init__(self, tracer):
        object.__setattr__(self, "tracer", tracer)

    def __getattr__(self, name):
        return self if name == "_expected_place" else getattr(self.tracer, name)

    def __setattr__(self, name, value):
        setattr(self.tracer, name, value)

    def is_gpu_place(self):
        return True

    def is_xpu_place(self):
        return False

    is_custom_place = is_xpu_place


def _mapped(function, value):
    """``function`` on every tensor of nested lists and tuples."""
    if isinstance(value, paddle.Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(function, item) for item in value)
    return value


def _floats(values):
    found = []
    _mapped(lambda tensor: found.append(tensor) if tensor.dtype in FLOATS else None, list(values))
    return found


def _to(dtype, *kinds):
    return lambda tensor: CAST(tensor, dtype) if tensor.dtype in kinds and tensor.dtype != dtype else tensor


def _destination(name, tensors):
    """The type that automatic mixed precision gives an operation; None where it leaves it alone."""
    tracer = _dygraph_tracer()
    if tracer._amp_level == core.AmpLevel.O0 or name is None or not tensors:
        return None
    half = getattr(paddle, tracer._amp_dtype)
    allowed, blocked = tracer._get_amp_op_list()
    name = ON_A_GPU.get(name, name)
    if name in allowed:
        return half
    if name in blocked:
        return paddle.float32
    looked_at = tensors[:1] if name in NORMS else tensors
    return paddle.float32 if any(tensor.dtype == paddle.float32 for tensor in looked_at) else half


def _half_of(name, tensors, is_operator):
    """The half type in which an operation with these inputs answers; None if it answers in float32."""
    types = {tensor.dtype for tensor in (tensors[:1] if name in NORMS else tensors)}
    if len(types) > 1 and not is_operator:
        raise TypeError(f"{name}: inputs of the types {sorted(map(str, types))}: a GPU kernel takes one")
    return next(iter(types)) if len(types) == 1 and types <= set(HALF) else None


def _wrapped(name, function, is_operator=False):
    @functools.wraps(function)
    def call(*args, **kwargs):
        if not paddle.in_dynamic_mode():
            return function(*args, **kwargs)
        tensors = _floats([*args, *kwargs.values()])
        wanted = _destination(name, tensors)
        if wanted is not None:
            first = slice(0, 1) if name in NORMS else slice(None)
            changed = [_mapped(_to(wanted, *FLOATS), value) for value in args[first]]
            args = [*changed, *args[len(changed):]]
            kwargs = kwargs if name in NORMS else {k: _mapped(_to(wanted, *FLOATS), v) for k, v in kwargs.items()}
            tensors = _floats([*args, *kwargs.values()])
        half = _half_of(name, tensors, is_operator)
        if not any(tensor.dtype in HALF for tensor in tensors):
            return function(*args, **kwargs)
        out = function(*_mapped(_to(paddle.float32, *HALF), list(args)),
                       **{k: _mapped(_to(paddle.float32, *HALF), v) for k, v in kwargs.items()})
        if half is None:
            return out
        if name in NORMS and isinstance(out, (list, tuple)):
            return type(out)([_mapped(_to(half, paddle.float32), out[0]), *out[1:]])
        return _mapped(_to(half, paddle.float32), out)
    return call


def _adamw(function):
    """AdamW on the float32 copy of a half-precision weight, which then takes the rounded value."""
    def call(weight, gradient, *args):
        master = args[6]
        if master is None:
            return function(weight, gradient, *args)
        out = function(master, gradient.astype("float32"), *args[:6], None, *args[7:16], False, *args[17:])
        weight.set_value(master.astype(weight.dtype))
        return out
    return call


def _in_place(function):
    """An operation that writes its result into its first argument, which no gradient flows through."""
    def call(x, *args, **kwargs):
        if x.dtype not in HALF:
            return function(x, *args, **kwargs)
        wide = x.astype("float32")
        function(wide, *_mapped(_to(paddle.float32, *HALF), args), **kwargs)
        x.set_value(wide.astype(x.dtype))
        return x
    return call


def _unscale(gradients, scale, _, found):
    """Gradients divided by the loss scale, in place; ``found`` becomes True where one is not finite."""
    finite = True
    for gradient in gradients:
        value = gradient.astype("float32") / scale
        finite = finite and bool(paddle.isfinite(value).all())
        gradient.set_value(value.astype(gradient.dtype))
    found.set_value(paddle.to_tensor([not finite]))


def _replacements():
    """(owner, name, new value) for every place where an operation is reached."""
    new = {}
    for name in _C_ops.__all__:
        function = getattr(_C_ops, name)
        if name == "adamw_":
            new[id(function)] = _adamw(function)
        elif name in IN_PLACE:
            new[id(function)] = _in_place(function)
        elif callable(function) and not name.startswith("__") and not name.endswith("_") and name not in ANY_TYPE:
            new[id(function)] = _wrapped(name, function)
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("paddle") and module]
    for owner in [*modules, paddle.Tensor]:
        for name, value in list(vars(owner).items()):
            if id(value) in new:
                yield owner, name, new[id(value)]
    for method, name in OPERATORS.items():
        yield paddle.Tensor, method, _wrapped(name, getattr(paddle.Tensor, method), is_operator=True)
    yield paddle._legacy_C_ops, "check_finite_and_unscale", _unscale
    tracer = _dygraph_tracer()
    for module in ("paddle.amp.auto_cast", "paddle.amp.grad_scaler"):
        yield sys.modules[module], "_dygraph_tracer", lambda: OnAGpu(tracer)
    for kind in ("float16", "bfloat16"):
        yield sys.modules["paddle.amp.auto_cast"], f"_is_gpu_{kind}_supported", lambda: True


@contextlib.contextmanager
def half_on_cpu():
    """Context in which half precision works on a CPU as on a GPU, see above."""
    replaced = []
    try:
        for owner, name, value in _replacements():
            replaced.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(replaced):
            setattr(owner, name, value)
