# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""oneDNN's float32 operations and their gradients, through the C API of the library in Paddle's own wheel.

Paddle's operations use that library in inference only. Facts about its API: oneDNN 3's headers (dnnl.h, dnnl_types.h).
Works on addresses of plain tensors (NCHW, OIHW); the layouts that oneDNN computes in are its own choice.
"""
from __future__ import annotations

import ctypes
import functools
import math
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import paddle

LIBRARY, MAJOR, OPENMP = "libdnnl.so.3", 3, 2
CPU, IN_ORDER, FLOAT32, FORWARD, DIRECT, OWN_SCRATCHPAD, IMPLEMENTATION, SCRATCHPAD_SIZE, SCRATCHPAD = \
    1, 1, 3, 64, 1, 1, 8, 136, 80
#: memory format tags: oneDNN's choice, and plain (rows last) by number of dimensions
ANY, PLAIN = 1, {1: 2, 2: 3, 4: 5, 5: 6}
#: operand -> (its number when a primitive runs, what to ask a descriptor for its layout, index of that); without the
#: latter two its layout is plain
OPERANDS = {"x": (1, 129, 0), "weight": (33, 131, 0), "bias": (41, 131, 1), "y": (17, 133, 0),
            "x gradient": (129, 130, 0), "weight gradient": (161, 132, 0), "bias gradient": (169, 132, 1),
            "y gradient": (145, 134, 0), "mean": (49,), "variance": (50,), "scale": (51,), "shift": (52,),
            "scale gradient": (255,), "shift gradient": (256,)}
BACKWARD, SCALE_AND_SHIFT, SOFTMAX = 128, 6, 0x30000
#: activation -> (its number, its number for the gradient, what the gradient is made of, alpha)
ACTIVATIONS = {"relu": (0x20, 0x100, "y", 0), "silu": (0x2c, 0x2c, "x", 1), "gelu": (0x31, 0x31, "x", 0)}
ALIGNMENT = 64


class Unavailable(Exception):
    """Why there is no oneDNN here, or none for a convolution."""


class _Version(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int) for name in ("major", "minor", "patch")), ("hash", ctypes.c_char_p),
                ("cpu_runtime", ctypes.c_uint), ("gpu_runtime", ctypes.c_uint)]


class _Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


def _checked(status, function, arguments):
    if status:
        raise Unavailable(f"{function.__name__} answered status {status}")
    return status


_it, _made, _number, _size = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_size_t
_sizes, _status, _float = ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_float
#: function without dnnl_ -> (result, arguments); a ``_status`` other than 0 raises
SIGNATURES = {
    "engine_create": (_status, [_made, _number, _size]),
    "stream_create": (_status, [_made, _it, ctypes.c_uint]),
    "stream_wait": (_status, [_it]),
    "primitive_attr_create": (_status, [_made]),
    "primitive_attr_set_scratchpad_mode": (_status, [_it, _number]),
    "memory_desc_create_with_tag": (_status, [_made, _number, _sizes, _number, _number]),
    "memory_desc_destroy": (_status, [_it]),
    "memory_create": (_status, [_made, _it, _it, _it]),
    "memory_set_data_handle": (_status, [_it, _it]),
    "memory_destroy": (_status, [_it]),
    "convolution_forward_primitive_desc_create":
        (_status, [_made, _it, _number, _number, *[_it] * 4, *[_sizes] * 4, _it]),
    "convolution_backward_data_primitive_desc_create":
        (_status, [_made, _it, _number, *[_it] * 3, *[_sizes] * 4, _it, _it]),
    "convolution_backward_weights_primitive_desc_create":
        (_status, [_made, _it, _number, *[_it] * 4, *[_sizes] * 4, _it, _it]),
    "eltwise_forward_primitive_desc_create":
        (_status, [_made, _it, _number, _number, _it, _it, _float, _float, _it]),
    "eltwise_backward_primitive_desc_create":
        (_status, [_made, _it, _number, *[_it] * 3, _float, _float, _it, _it]),
    "softmax_forward_primitive_desc_create": (_status, [_made, _it, _number, _number, _it, _it, _number, _it]),
    "softmax_backward_primitive_desc_create": (_status, [_made, _it, _number, *[_it] * 3, _number, _it, _it]),
    "layer_normalization_forward_primitive_desc_create":
        (_status, [_made, _it, _number, *[_it] * 3, _float, ctypes.c_uint, _it]),
    "layer_normalization_backward_primitive_desc_create":
        (_status, [_made, _it, _number, *[_it] * 4, _float, ctypes.c_uint, _it, _it]),
    "reorder_primitive_desc_create": (_status, [_made, *[_it] * 5]),
    "primitive_desc_query": (_status, [_it, _number, _number, ctypes.POINTER(ctypes.c_char_p)]),
    "primitive_desc_destroy": (_status, [_it]),
    "primitive_create": (_status, [_made, _it]),
    "primitive_execute": (_status, [_it, _it, _number, ctypes.POINTER(_Argument)]),
    "primitive_destroy": (_status, [_it]),
    "primitive_desc_query_md": (_it, [_it, _number, _number]),
    "memory_desc_get_size": (_size, [_it]),
    "memory_desc_equal": (ctypes.c_int, [_it, _it]),
}
NO_STATUS = ("primitive_desc_query_md", "memory_desc_get_size", "memory_desc_equal")


def load(path: str | Path | None = None) -> types.SimpleNamespace:
    """oneDNN's functions by their names without dnnl_, and ``engine``, ``stream`` and ``attributes``.

    Raises:
        Unavailable: no such library, another major version, another threading, or a function that it lacks.
    """
    path = path or Path(paddle.__file__).parent / "libs" / LIBRARY
    if not Path(path).is_file():
        raise Unavailable(f"{path} does not exist")
    try:
        library = ctypes.CDLL(str(path))
        library.dnnl_version.restype = ctypes.POINTER(_Version)
        version = library.dnnl_version().contents
        if (version.major, version.cpu_runtime) != (MAJOR, OPENMP):
            raise Unavailable(f"{path} is of version {version.major}.{version.minor}, CPU runtime "
                              f"{version.cpu_runtime}; {MAJOR} with OpenMP ({OPENMP}) is needed")
        functions = types.SimpleNamespace(**{name: _function(library, name) for name in SIGNATURES})
    except (OSError, AttributeError) as error:
        raise Unavailable(str(error)) from None
    functions.engine = _new(functions.engine_create, CPU, 0)
    functions.stream = _new(functions.stream_create, functions.engine, IN_ORDER)
    functions.attributes = _new(functions.primitive_attr_create)
    functions.primitive_attr_set_scratchpad_mode(functions.attributes, OWN_SCRATCHPAD)
    return functions


def _function(library, name):
    function = getattr(library, f"dnnl_{name}")
    function.restype, function.argtypes = SIGNATURES[name]
    if name not in NO_STATUS:
        function.errcheck = _checked
    return function


def _new(create, *arguments):
    made = ctypes.c_void_p()
    create(ctypes.byref(made), *arguments)
    return made


@functools.cache
def library() -> types.SimpleNamespace:
    """``load()``, once in a process."""
    return load()


class Case(NamedTuple):
    """All that oneDNN needs to know of a convolution. Pairs are (rows, columns); paddings before and after."""

    x: tuple
    weight: tuple
    stride: tuple
    before: tuple
    after: tuple
    dilation: tuple
    groups: int
    bias: bool

    @property
    def y(self) -> tuple:
        """Shape of the result; sizes below 1 mean that the kernel does not fit."""
        sides = ((size + before + after - dilation * (kernel - 1) - 1) // stride + 1
                 for size, kernel, before, after, dilation, stride
                 in zip(self.x[2:], self.weight[2:], self.before, self.after, self.dilation, self.stride))
        return (self.x[0], self.weight[0], *sides)


class _Handles:
    """Makes oneDNN's objects, and destroys them with itself; at the process's end the system does."""

    def __init__(self):
        self._made = []
        weakref.finalize(self, _destroy, self._made).atexit = False

    def make(self, kind, create, *arguments):
        made = _new(getattr(library(), create), *arguments)
        self._made.append((kind, made))
        return made

    def descriptor(self, shape, tag):
        return self.make("memory_desc", "memory_desc_create_with_tag", len(shape), _whole(shape), FLOAT32, tag)

    def memory(self, descriptor):
        return self.make("memory", "memory_create", descriptor, library().engine, None)

    def primitive(self, descriptor):
        return self.make("primitive", "primitive_create", descriptor)

    def reorder(self, source, target):
        engine = library().engine
        return self.primitive(self.make("primitive_desc", "reorder_primitive_desc_create", source, engine, target,
                                        engine, None))


def _destroy(made):
    for kind, handle in reversed(made):
        getattr(library(), f"{kind}_destroy")(handle)


def _whole(values):
    return (ctypes.c_int64 * len(values))(*values)


#: a primitive's memory objects are told addresses before it runs, and ctypes lets other threads run meanwhile
_one_at_a_time = threading.Lock()


class _Computation:
    """A primitive with the reorders from and to plain layouts: a function of its operands' addresses.

    What lies between is kept in one block of memory that exists while it runs: the allocator has it ready, and at a
    training step's peak (end of the forward pass) the largest convolutions are not running.
    """

    def __init__(self, handles, primitive, inputs, outputs):
        """``inputs``, ``outputs``: {operand: descriptor of its plain layout}."""
        self._given, self._inner, self._bytes, self._handles = [], [], 0, handles
        before, arguments, after = [], [], []
        for operand, plain in {**inputs, **outputs}.items():
            number, *query = OPERANDS[operand]
            wanted = library().primitive_desc_query_md(primitive, *query) if query else plain
            outside = inside = handles.memory(plain)
            self._given.append(outside)
            if not library().memory_desc_equal(plain, wanted):
                inside = self._kept(wanted)
                if operand in inputs:
                    before.append(_step(handles.reorder(plain, wanted), {1: outside, 17: inside}))
                else:
                    after.append(_step(handles.reorder(wanted, plain), {1: inside, 17: outside}))
            arguments.append((number, inside))
        scratchpad = library().primitive_desc_query_md(primitive, SCRATCHPAD_SIZE, 0)
        if library().memory_desc_get_size(scratchpad):
            arguments.append((SCRATCHPAD, self._kept(scratchpad)))
        self._steps = [*before, _step(handles.primitive(primitive), dict(arguments)), *after]

    def _kept(self, descriptor):
        memory = self._handles.memory(descriptor)
        self._inner.append((memory, self._bytes))
        self._bytes += math.ceil(library().memory_desc_get_size(descriptor) / ALIGNMENT) * ALIGNMENT
        return memory

    def __call__(self, *addresses):
        functions = library()
        block = paddle.empty([self._bytes + ALIGNMENT], "uint8")
        start = math.ceil(block.data_ptr() / ALIGNMENT) * ALIGNMENT
        with _one_at_a_time:
            for memory, address in zip(self._given, addresses):
                functions.memory_set_data_handle(memory, address)
            for memory, offset in self._inner:
                functions.memory_set_data_handle(memory, start + offset)
            for primitive, arguments in self._steps:
                functions.primitive_execute(primitive, functions.stream, len(arguments), arguments)
            functions.stream_wait(functions.stream)


def _step(primitive, memories):
    arguments = [_Argument(number, memory.value) for number, memory in memories.items()]
    return primitive, (_Argument * len(arguments))(*arguments)


class _Operation:
    """What the primitives of an operation share; they are made (compiled) when first used.

    Raises:
        Unavailable: oneDNN has only its slow reference code for ``primitives``.
    """

    def _keep(self, handles, plain, case, *primitives):
        self._handles, self._plain = handles, plain
        for primitive in primitives:
            name = ctypes.c_char_p()
            library().primitive_desc_query(primitive, IMPLEMENTATION, 0, ctypes.byref(name))
            if name.value.startswith(b"ref"):
                raise Unavailable(f"oneDNN has reference code only for {case}")

    def _computation(self, primitive, inputs, outputs):
        def plain(names):
            return {name: self._plain[name.split()[0]] for name in names}
        return _Computation(self._handles, primitive, plain(inputs), plain(outputs))


class Convolution(_Operation):
    """Forward and both backward computations of a ``Case``.

    Raises:
        Unavailable: oneDNN has none for it, or only its slow reference code.
    """

    def __init__(self, case: Case) -> None:
        handles, weight = _Handles(), case.weight
        if case.groups > 1:
            weight = (case.groups, weight[0] // case.groups, *weight[1:])
        shapes = {"x": case.x, "weight": weight, "bias": case.weight[:1], "y": case.y}
        plain = {name: handles.descriptor(shape, PLAIN[len(shape)]) for name, shape in shapes.items()}
        x, kernel, y = (handles.descriptor(shapes[name], ANY) for name in ("x", "weight", "y"))
        bias = plain["bias"] if case.bias else None
        rules = [_whole(pair) for pair in (case.stride, [step - 1 for step in case.dilation], case.before, case.after)]
        engine, attributes, self._bias = library().engine, library().attributes, case.bias

        def described(what, *arguments):
            return handles.make("primitive_desc", f"convolution_{what}_primitive_desc_create", engine, *arguments,
                                attributes)

        self._forward = described("forward", FORWARD, DIRECT, x, kernel, bias, y, *rules)
        self._for_x = described("backward_data", DIRECT, x, kernel, y, *rules, self._forward)
        self._for_weight = described("backward_weights", DIRECT, x, kernel, bias, y, *rules, self._forward)
        self._keep(handles, plain, case, self._forward, self._for_x, self._for_weight)

    @functools.cached_property
    def forward(self) -> _Computation:
        """Takes addresses of x, weight, bias if the case has one, and y."""
        return self._computation(self._forward, ["x", "weight", *["bias"] * self._bias], ["y"])

    @functools.cached_property
    def backward_x(self) -> _Computation:
        """Takes addresses of y's gradient, the weight, and x's gradient."""
        return self._computation(self._for_x, ["y gradient", "weight"], ["x gradient"])

    @functools.cached_property
    def backward_weight(self) -> _Computation:
        """Takes addresses of y's gradient, x, the weight's gradient, and the bias's if the case has one."""
        return self._computation(self._for_weight, ["y gradient", "x"],
                                 ["weight gradient", *["bias gradient"] * self._bias])


@functools.lru_cache(maxsize=1024)  # shapes of a detector at all sizes of its training
def convolution(case: Case) -> Convolution | None:
    """The ``Convolution`` of a case, made once; None where oneDNN has nothing good for it."""
    try:
        return Convolution(case)
    except Unavailable:
        return None


class _Function(_Operation):
    """y = f(x)."""

    _forward: Any

    @functools.cached_property
    def forward(self) -> _Computation:
        """Takes addresses of x and y."""
        return self._computation(self._forward, ["x"], ["y"])


class Activation(_Function):
    """y = f(x), a name of ``ACTIVATIONS``, of ``count`` numbers."""

    def __init__(self, name: str, count: int) -> None:
        handles, engine, attributes = _Handles(), library().engine, library().attributes
        number, backward_number, self._source, alpha = ACTIVATIONS[name]
        plain = handles.descriptor([count], PLAIN[1])
        create = functools.partial(handles.make, "primitive_desc")
        hint = create("eltwise_forward_primitive_desc_create", engine, FORWARD, backward_number, plain, plain, alpha,
                      0, attributes)
        self._forward = create("eltwise_forward_primitive_desc_create", engine, FORWARD, number, plain, plain, alpha, 0,
                               attributes)
        self._backward = create("eltwise_backward_primitive_desc_create", engine, backward_number, plain, plain, plain,
                                alpha, 0, hint, attributes)
        self._keep(handles, {"x": plain, "y": plain}, name, self._forward, self._backward)

    @functools.cached_property
    def backward(self) -> _Computation:
        """Takes addresses of x or y, as ACTIVATIONS says, of y's gradient, and of x's gradient."""
        return self._computation(self._backward, [self._source, "y gradient"], ["x gradient"])


class Softmax(_Function):
    """Along the columns of [rows, columns]."""

    def __init__(self, rows: int, columns: int) -> None:
        handles, engine, attributes = _Handles(), library().engine, library().attributes
        plain = handles.descriptor([rows, columns], PLAIN[2])
        create = functools.partial(handles.make, "primitive_desc")
        self._forward = create("softmax_forward_primitive_desc_create", engine, FORWARD, SOFTMAX, plain, plain, 1,
                               attributes)
        self._backward = create("softmax_backward_primitive_desc_create", engine, SOFTMAX, plain, plain, plain, 1,
                                self._forward, attributes)
        self._keep(handles, {"x": plain, "y": plain}, "softmax", self._forward, self._backward)

    @functools.cached_property
    def backward(self) -> _Computation:
        """Takes addresses of y, y's gradient and x's gradient."""
        return self._computation(self._backward, ["y", "y gradient"], ["x gradient"])


class LayerNorm(_Operation):
    """Over the columns of [rows, columns], with scale and shift."""

    def __init__(self, rows: int, columns: int, epsilon: float) -> None:
        handles, engine, attributes = _Handles(), library().engine, library().attributes
        plain, of_rows, of_columns = (handles.descriptor(shape, PLAIN[len(shape)])
                                      for shape in ([rows, columns], [rows], [columns]))
        rules = epsilon, SCALE_AND_SHIFT
        create = functools.partial(handles.make, "primitive_desc")
        self._forward = create("layer_normalization_forward_primitive_desc_create", engine, FORWARD, plain, plain,
                               of_rows, *rules, attributes)
        self._backward = create("layer_normalization_backward_primitive_desc_create", engine, BACKWARD, plain, plain,
                                plain, of_rows, *rules, self._forward, attributes)
        self._keep(handles, {"x": plain, "y": plain, "mean": of_rows, "variance": of_rows, "scale": of_columns,
                             "shift": of_columns}, "layer normalisation", self._forward, self._backward)

    @functools.cached_property
    def forward(self) -> _Computation:
        """Takes addresses of x, scale, shift, y, and the rows' means and variances, which it gives."""
        return self._computation(self._forward, ["x", "scale", "shift"], ["y", "mean", "variance"])

    @functools.cached_property
    def backward(self) -> _Computation:
        """Takes addresses of x, scale, shift, mean, variance, y's gradient, and the gradients of x, scale and shift."""
        return self._computation(self._backward, ["x", "scale", "shift", "mean", "variance", "y gradient"],
                                 ["x gradient", "scale gradient", "shift gradient"])


@functools.lru_cache(maxsize=1024)
def operation(kind: Callable, *case: object) -> Any:
    """The Activation, Softmax or LayerNorm of these sizes, made once; None where oneDNN has nothing good for it."""
    try:
        return kind(*case)
    except Unavailable:
        return None
