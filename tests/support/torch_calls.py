# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The cases of operations, called in torch: arguments filled in, torch's function found by its name in the table."""
import importlib
from functools import reduce

import numpy as np
import torch

from .op_cases import Dyn, Pair

DTYPES = {"bool", "float16", "float32", "float64", "int64", "int32"}


def convert(value, visit):
    """``visit`` on everything inside lists, tuples and slices."""
    if isinstance(value, Pair):
        return Pair(*(convert(item, visit) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(convert(item, visit) for item in value)
    if isinstance(value, slice):
        return slice(*(convert(item, visit) for item in (value.start, value.stop, value.step)))
    return visit(value)


def arrays(case):
    """The tensors of a case, in the order of its arguments, the one that only gives sizes last."""
    found = []
    convert([list(case.args), list(case.kwargs.values())],
            lambda value: found.append(value) if isinstance(value, np.ndarray) else None)
    return found if case.like is None else [*found, case.like]


def arguments(case, tensors, shape, dtype=lambda name: name):
    """Arguments with ``tensors`` in the places of the arrays and the sizes filled in."""
    rest = iter(tensors)

    def visit(value):
        if isinstance(value, np.ndarray):
            return next(rest)
        if isinstance(value, Dyn):
            return value.function(shape)
        return dtype(value) if isinstance(value, str) and value in DTYPES else value
    return convert(case.args, visit), {key: convert(value, visit) for key, value in case.kwargs.items()}


def flat(value):
    """Tensors and numbers of a result in order."""
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in flat(part)]
    return [value]


def torch_function(name):
    """The torch function or method that the tracer writes down as ``name``."""
    if name.startswith("."):
        return lambda x, *args, **kwargs: getattr(x, name[1:])(*args, **kwargs)
    if name.startswith("getattr."):
        return lambda x: getattr(x, name[8:])
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        return reduce(getattr, parts[count:], module)
    raise ImportError(name)


def torch_call(name, case, change=lambda array: array, grad=False):
    """(result, arguments, input tensors) of a case in torch.

    Args:
        change: what is done to each array first.
        grad: tensors of floats get gradients, and are copied, as functions may work in place.
    """
    tensors = [torch.from_numpy(np.array(change(array))) for array in arrays(case)]
    shape = (tensors if case.like is None else tensors[-1:])[0].shape if tensors else None
    given = tensors
    if grad:
        for place, tensor in enumerate(tensors):
            tensor.requires_grad_(tensor.is_floating_point() and place not in case.constant)
        given = [tensor * 1 if tensor.is_floating_point() else tensor.clone() for tensor in tensors]
    args, kwargs = arguments(case, given, shape, lambda dtype: getattr(torch, dtype))
    result = torch_function(name)(*args, **kwargs)
    return result, [*args, *kwargs.values()], tensors
