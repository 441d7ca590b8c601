# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One call or more of every operation in the bridge's table: CASES = {name: [Case, ...]}. Needs neither framework.

numpy arrays stand for tensors, strings such as "float32" for dtypes, ``dyn`` for sizes read from a tensor.
"""
from __future__ import annotations

import itertools
from collections import namedtuple

import numpy as np

CASES = {}
Pair = namedtuple("Pair", "values indices")  # what torch's max, sort and topk give
_seeds = itertools.count()


class Dyn:
    """An argument computed from the shape of the case's first tensor; a 0-D tensor in a static graph."""

    def __init__(self, function):
        self.function = function


dyn = Dyn


class Case:
    """Arguments of one call.

    Args:
        open: dimensions of the first tensor that a static graph leaves open; None: all dimensions of all tensors.
        like: an array whose shape ``dyn`` reads; default the first tensor among the arguments.
        limit: of max|d| / max|ref|.
        grad: compare gradients, where torch has any.
        static: run it in a static graph too.
        random: compare shape and dtype only.
        constant: which tensors torch wants no gradient of.
    """

    def __init__(self, *args, open=None, like=None, limit=1e-5, grad=True, static=True, random=False,
                 constant=(), **kwargs):
        self.args, self.kwargs = args, kwargs
        self.open, self.like, self.limit = open, like, limit
        self.grad, self.static, self.random, self.constant = grad, static, random, constant


C = Case


def cases(names, *items):
    """The same cases for all names of one function, separated by blanks."""
    for name in names.split():
        assert name not in CASES, f"{name} twice"
        CASES[name] = list(items)


def _random():
    return np.random.default_rng(next(_seeds))


def f(*shape):
    """Normal."""
    return _random().standard_normal(shape).astype(np.float32)


def p(*shape):
    """0.1 to 2."""
    return _random().uniform(0.1, 2.0, shape).astype(np.float32)


def i(*shape, low=0, high=10, dtype=np.int64):
    """Whole numbers from low to high - 1."""
    return _random().integers(low, high, shape).astype(dtype)


def b(*shape):
    """True or False; three of five are True."""
    return _random().random(shape) > 0.4


def spread(*shape):
    """Distinct, so that no extreme is a tie."""
    return _random().permutation(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape) / 7 - 1


def _pairs(*more):
    """Pairs that torch promotes: by kind, by width, numbers never."""
    i32 = dict(dtype=np.int32)
    return [C(f(2, 3, 4), f(3, 1)), C(f(2, 3), 2), C(f(2, 3), 0.5), C(i(2, 3, low=1), i(2, 3, low=1, **i32)),
            C(f(2, 3), i(2, 3, low=1)), C(i(2, 3), 2), C(i(2, 3, **i32), 3), C(i(2, 3), 0.5), C(7, p(2, 3)),
            C(7, i(2, 3, low=1)), C(7, 3), *more]


def _size_pairs():
    return [C(f(2, 3, 4), dyn(lambda s: s[2]), grad=False), C(dyn(lambda s: s[0]), dyn(lambda s: s[2]),
          like=f(9, 3, 4))]


# -- arithmetic

booleans = C(b(2, 3), b(2, 3))
mixed = [C(b(2, 3), f(2, 3)), C(b(2, 3), 2), C(b(2, 3), i(2, 3))]
cases("_operator.add", *_pairs(booleans, *mixed), *_size_pairs(), C((2, 3), (4,)),
      C(dyn(lambda s: s[:2]), (4,), like=f(2, 3, 4)))
cases("torch.add .add", *_pairs(booleans, C(f(2, 3), f(2, 3), alpha=2))[:6])
cases(".add_ .sub_", C(f(2, 3), f(3)), C(f(2, 3), 2), C(f(2, 3), f(2, 3), alpha=0.5))
cases("_operator.sub", *_pairs(), *_size_pairs())
cases("torch.sub .sub", C(f(2, 3), f(3)), C(i(2, 3), 2), C(f(2, 3), f(2, 3), alpha=2))
cases("torch.rsub", C(f(2, 3), f(3)), C(f(2, 3), 2))
cases("_operator.mul", *_pairs(booleans, *mixed), *_size_pairs(), C((1,), 3))
cases("torch.mul .mul torch.multiply .multiply", *_pairs(booleans)[:5], *mixed)
cases(".mul_ .div_ .clamp_min_", C(f(2, 3), 2.0))
cases("_operator.truediv", *_pairs(), *_size_pairs(), C(i(2, 3), i(2, 3, low=1)))
cases("torch.true_divide", C(f(2, 3), p(3)))
signed = [C(i(2, 5, low=-9), 4), C(i(2, 5, low=-9), -4), C(f(2, 5), 0.3, grad=False), C(f(2, 5), p(5), grad=False),
      C(-7, 2),
          C(i(2, 5, low=-9, dtype=np.int32), i(5, low=1)), C(7, i(5, low=1))]
cases("_operator.floordiv", *signed, *_size_pairs())
cases("torch.floor_divide .floor_divide", *signed[:4])
cases("_operator.mod", *signed, *_size_pairs())
cases("torch.remainder .remainder", *signed[:4])
cases(".remainder_", C(f(2, 5), 0.3))
cases("torch.fmod .fmod", C(f(2, 5), 0.3), C(i(2, 5, low=-9), 4))
cases("torch.div .div torch.divide .divide", C(f(2, 3), p(3)), C(i(2, 3, low=-9), 4), C(f(2, 3), 2),
      C(i(2, 3, low=-9), 4, rounding_mode="floor"), C(i(2, 3, low=-9), 4, rounding_mode="trunc"),
      C(f(2, 3), 0.3, rounding_mode="trunc"))
cases("_operator.pow", C(p(2, 3), 2), C(p(2, 3), 0.5), C(p(2, 3), -1), C(p(2, 3), p(3)), C(2, f(3)),
      C(i(2, 3), 2), C(i(2, 3), 3), C(10000.0, p(3)), C(3, 2), C(p(2, 3), i(3)))
cases("torch.pow .pow", C(p(2, 3), 2), C(p(2, 3), 1.5), C(p(2, 3), p(3)))
cases(".pow_", C(p(2, 3), 3))
cases("torch.square .square torch.negative .neg .neg_ .negative torch.positive", C(f(2, 3)))
cases("_operator.neg torch.neg", C(f(2, 3)), C(i(2, 3)))
cases("_operator.pos", C(f(2, 3)), C(3))
in_place = [C(p(2, 3), p(3)), C(p(2, 3), 2), C(i(2, 3, low=2), i(3, low=1, dtype=np.int32)),
      C(p(2, 3).astype(np.float16), p(2, 3), limit=2e-3, grad=False),
            C(7, 3)]
cases("_operator.iadd _operator.isub _operator.imul _operator.imod _operator.ipow", *in_place)
cases("_operator.itruediv", *in_place[:2], *in_place[3:])
cases("_operator.ifloordiv", C(p(2, 3), p(3), grad=False), *in_place[2:3], C(-7, 3))
cases("torch.lerp .lerp", C(f(2, 3), f(2, 3), 0.3), C(f(2, 3), f(3), p(2, 3)))
cases("torch.addcmul .addcmul .addcmul_", C(f(2, 3), f(2, 3), f(3)), C(f(2, 3), f(2, 3), f(3), value=0.5))
cases("torch.addcdiv .addcdiv", C(f(2, 3), f(2, 3), p(3), value=0.5))
cases("torch.atan2 .atan2", C(f(2, 3), p(3)))

# -- comparison, logic

compared = [C(i(3, 4, high=3), i(4, high=3)), C(f(3, 4), 0), C(i(3, 4), 4.5), C(i(3, 4, high=3), i(4, dtype=np.int32)),
            C(f(3, 4), i(4, high=1)), C(dyn(lambda s: s[0]), 3, like=f(3, 4)), C(2, 3)]
for _name in ("eq", "ne", "gt", "ge", "lt", "le"):
    cases(f"_operator.{_name}", *compared, *([C([2, 3], [2, 3]),
          C(dyn(lambda s: s), [3, 5], like=f(3, 4), static=False)]
                                              if _name in ("eq", "ne") else []))
    cases(f"torch.{_name} .{_name}", *compared[:5])
for _name, _symbol in (("and", "and_"), ("or", "or_"), ("xor", "xor")):
    cases(f"_operator.{_symbol} _operator.i{_name}", C(b(3, 4), b(4)), C(i(3, 4), i(4)), C(i(3, 4), 3), C(6, 3))
    cases(f"torch.bitwise_{_name} .bitwise_{_name}", C(b(3, 4), b(4)), C(i(3, 4), 3))
    cases(f"torch.logical_{_name} .logical_{_name}", C(b(3, 4), b(4)), C(i(3, 4, high=2), f(4)))
cases("_operator.invert", C(b(3, 4)), C(i(3, 4)), C(5))
cases("torch.bitwise_not .bitwise_not", C(b(3, 4)), C(i(3, 4)))
cases("_operator.not_", C(5))
cases("torch.logical_not .logical_not", C(b(3, 4)), C(i(3, 4, high=2)))
cases("torch.maximum .maximum torch.minimum .minimum", C(f(3, 4), f(4)), C(f(3, 4), i(4)))
cases("torch.clamp .clamp .clamp_ torch.clip .clip", C(f(3, 4), -0.5, 0.5), C(f(3, 4), min=0), C(f(3, 4), max=0.3),
      C(i(3, 4), 2, 6), C(f(3, 4), f(4), None), C(f(3, 4), -p(4), p(3, 1)))
cases("torch.clamp_min .clamp_min", C(f(3, 4), 0.1))
cases("torch.clamp_max .clamp_max .clamp_max_", C(f(3, 4), 0.1))
cases("torch.where", C(b(3, 4), f(3, 4), f(4)), C(b(3, 4), f(3, 4), 0.0), C(b(4), 1.0, f(3, 4)),
      C(b(3, 4), f(4), i(3, 4)))
cases(".where", C(f(3, 4), b(3, 4), f(4)), C(f(3, 4), b(4), 0.0))
cases(".masked_fill .masked_fill_ torch.masked_fill", C(f(3, 4), b(4), -1.5),
      C(f(3, 4), b(3, 4), float("-inf"), grad=False),
      C(i(3, 4), b(4), 2))

# -- element by element

for _name in ("exp", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "tanh", "expm1", "erf"):
    cases(f"torch.{_name} .{_name}", C(f(3, 4)), C(i(3, 4, high=3)))
    cases(f".{_name}_", C(f(3, 4), grad=_name != "asinh"))
for _name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal"):
    cases(f"torch.{_name} .{_name}", C(p(3, 4)), C(i(3, 4, low=1)))
    cases(f".{_name}_", C(p(3, 4)))
for _name in ("asin", "acos", "atanh"):
    cases(f"torch.{_name} .{_name}", C(p(3, 4) * 0.45))
    cases(f".{_name}_", C(p(3, 4) * 0.45, grad=_name != "atanh"))
cases("torch.acosh .acosh", C(p(3, 4) + 1.1))
cases(".acosh_", C(p(3, 4) + 1.1, grad=False))
for _name in ("floor", "ceil", "trunc", "sign"):
    cases(f"torch.{_name} .{_name}", C(3 * f(3, 4)), C(i(3, 4)))
    cases(f".{_name}_", C(3 * f(3, 4)))
cases("torch.abs .abs", C(f(3, 4)), C(i(3, 4, low=-9)))
cases(".abs_", C(f(3, 4)))
cases("_operator.abs builtins.abs", C(f(3, 4)), C(-3))
_special = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
cases("torch.isfinite .isfinite torch.isnan .isnan torch.isinf .isinf", C(_special))
_halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, -2.6, 0.49999997, 8388609.0], np.float32)
cases("torch.round .round", C(_halves), C(f(3, 4)), C(i(3, 4)), C(f(3, 4), decimals=2))
cases("builtins.round", C(2.5), C(7.26, 1), C(3.6))

# -- numbers

half = dyn(lambda s: s[0] / 2)
cases("math.ceil math.floor math.trunc builtins.int", C(2.5), C(half, like=f(7, 2)), C(half, like=f(8, 2)))
cases("torch.sym_int", C(2.5))
cases("torch.sym_float", C(2))
cases("math.sqrt", C(2.0), C(dyn(lambda s: s[0]), like=f(7, 2)))
cases("math.exp math.log math.log2", C(2.0), C(dyn(lambda s: s[0]), like=f(3, 2)))
cases("builtins.float", C(2), C(dyn(lambda s: s[0]), like=f(7, 2)))
cases("builtins.max builtins.min", C(2, 3), C([2, 3, 1]), C(dyn(lambda s: s[0]), 3, like=f(7, 2)))
cases("torch.sym_max torch.sym_min", C(2, 3))

# -- shapes

cases("getattr.shape getattr.ndim .dim .ndimension .numel .nelement torch.numel", C(f(2, 3, 4)))
cases(".size", C(f(2, 3, 4)), C(f(2, 3, 4), 1), C(f(2, 3, 4), dim=-1))
cases("builtins.len", C(f(2, 3, 4), static=False), C([2, 3]))
cases("getattr.T", C(f(2, 3)))
cases(".t torch.t", C(f(2, 3)), C(f(3)))
cases("getattr.mT", C(f(2, 3, 4)))
cases("torch.transpose .transpose torch.swapaxes .swapaxes torch.swapdims .swapdims", C(f(2, 3, 4), 1, -1),
      C(f(2, 3, 4), -2, 0))
cases("torch.permute", C(f(2, 3, 4), (2, 0, 1)), C(f(2, 3, 4), dims=(0, -1, 1)))
cases(".permute", C(f(2, 3, 4), 2, 0, 1), C(f(2, 3, 4), (0, -1, 1)), C(b(2, 3), 1, 0),
      C(f(1, 2, 3, 2, 2, 3), 0, 5, 1, 3, 2, 4))
cases("torch.movedim .movedim torch.moveaxis .moveaxis", C(f(2, 3, 4), 0, -1), C(f(2, 3, 4), (0, 1), (-1, 0)))
cases(".reshape .view", C(f(2, 6, 4), 2, -1), C(f(2, 6, 4), (4, 3, 4)), C(f(2, 6, 4), [2, 3, 2, 4]), C(f(2, 6, 4), -1),
      C(f(2, 6, 4), dyn(lambda s: s[0]), 2, 3, 4), C(f(2, 6, 4), dyn(lambda s: s[0]), dyn(lambda s: s[1] * s[2])),
      C(f(2, 6, 4), dyn(lambda s: s[0]), -1, 3, dyn(lambda s: s[2])), C(f(2, 6, 4), dyn(lambda s: [s[0] * s[1], 4])),
      C(f(0, 4), 0, 2, 2, static=False, grad=False), C(f(1), ()))
cases("torch.reshape", C(f(2, 6, 4), (2, -1)), C(f(2, 6, 4), shape=(-1, 3)))
cases(".reshape_as .view_as", C(f(2, 6), f(3, 4)))
cases("torch.flatten .flatten", C(f(2, 3, 4, 5)), C(f(2, 3, 4, 5), 1), C(f(2, 3, 4, 5), start_dim=2),
      C(f(2, 3, 4, 5), 1, -2),
      C(f(2, 3), 1))
cases("torch.unflatten .unflatten", C(f(2, 6, 4), 1, (3, 2)), C(f(2, 6, 4), -2, (-1, 3)))
cases("torch.squeeze .squeeze", C(f(2, 1, 3, 1), open=(0, 2)), C(f(2, 1, 3, 1), 1, open=(0, 2)),
      C(f(2, 1, 3), -1, open=(0,)),
      C(f(1, 2, 1), (0, -1), open=(1,)))
cases("torch.unsqueeze .unsqueeze", C(f(2, 3), 0), C(f(2, 3), -1), C(f(2, 3), 1))
cases(".contiguous .clone torch.clone .cpu .detach torch.detach", C(f(2, 3)))
cases(".requires_grad_ .detach_", C(f(2, 3), grad=False))
cases(".expand", C(f(2, 1, 3), 2, 4, 3), C(f(2, 1, 3), -1, 4, -1), C(f(2, 1), (5, 2, 3)), C(b(2, 1), 2, 3),
      C(f(1, 1, 3), dyn(lambda s: s[2]), -1, -1), C(f(3), dyn(lambda s: [s[0], s[0]])), C(i(1, 3), 2, -1))
cases("torch.broadcast_to .broadcast_to", C(f(2, 1, 3), (2, 4, 3)))
cases(".expand_as", C(f(2, 1), f(2, 3)), C(f(3), f(2, 3)), C(b(2, 1), f(2, 3)))
cases("torch.broadcast_tensors torch.functional.broadcast_tensors", C(f(2, 1), f(1, 3)))
cases(".repeat", C(f(2, 3), 2, 1), C(f(2, 3), 2, 1, 3), C(f(2, 3), (1, 2)), C(f(2, 3), dyn(lambda s: s[0]), 1),
      C(f(1, 1, 2, 2), 1, 3, 1, 2))
cases(".tile", C(f(2, 3), 2, 1), C(f(2, 3), (2,)), C(f(2, 3), 2))
cases("torch.tile", C(f(2, 3), (2, 1, 3)))
cases("torch.repeat_interleave .repeat_interleave", C(f(2, 3), 2), C(f(2, 3), 3, 1), C(f(2, 3), 2, -1),
      C(f(2, 3), np.array([1, 2]), 0, static=False), C(f(2, 3, 4), 2, dim=1),
      C(f(2, 3), dyn(lambda s: s[0] // 1), dim=0))
cases("torch.cat torch.concat torch.concatenate", C([f(2, 3), f(4, 3)]), C([f(2, 3), f(2, 1)], 1),
      C([f(2, 3), f(2, 2)], dim=-1),
      C((f(2, 3), i(2, 3)), 1), C([f(0), f(2, 3)], static=False, grad=False), C([f(2, 3)]))
cases("torch.stack", C([f(2, 3), f(2, 3)]), C([f(2, 3), f(2, 3)], -1), C((f(2, 3), i(2, 3)), dim=1))
cases("torch.hstack torch.vstack", C([f(2, 3), f(2, 3)]), C([f(3), f(3)]))
cases("torch.unbind .unbind", C(f(3, 2, 4), open=(1,)), C(f(3, 2, 4), -1, open=(0,)), C(f(3, 2, 1), dim=2, open=(0,)))
pieces = [C(f(7, 3), 3, open=(1,)), C(f(2, 6), 2, -1, open=(0,)), C(f(2, 3), 5, 1, open=(0,)),
      C(f(2, 6), [1, 2, 3], dim=1),
          C(f(2, 6), (2, 0, 4), 1), C(f(2, 6), [dyn(lambda s: s[0]), 4], 1), C(f(2, 3), 3, 1, open=(0,))]
cases("torch.split torch.functional.split .split", *pieces)
cases("torch.split_with_sizes .split_with_sizes", *pieces[3:5])
cases("torch.chunk .chunk", C(f(7, 3), 3), C(f(2, 6), 2, -1), C(f(5, 3), 4, open=(1,)), C(f(2, 6), 3, dim=1),
      C(f(2, 6), 1, 1), C(f(0, 3), 2, open=(1,), grad=False))
cases("torch.tensor_split .tensor_split", C(f(7, 3), 3, open=(1,)), C(f(7, 3), (2, 5), open=(1,)))
cases("torch.roll .roll", C(f(3, 4), 1), C(f(3, 4), -1, 1), C(f(2, 3, 4), (1, -2), (1, 2)),
      C(f(2, 3, 4), shifts=(-1, -1), dims=(0, -1)),
      C(f(6, 3), dyn(lambda s: s[1] // 2), 0), C(f(6, 3), (dyn(lambda s: s[1] // 2), 1), (0, 1)))
cases("torch.flip .flip", C(f(2, 3, 4), (1, -1)), C(f(2, 3, 4), [0]), C(f(2, 3, 4), dims=(2,)))
cases("torch.rot90 .rot90", C(f(3, 4), 1, (0, 1)), C(f(3, 4, 2), k=3, dims=(1, 2)))
cases(".unfold", C(f(2, 3, 8), 2, 3, 1), C(f(2, 8, 3), 1, 4, 4), C(f(2, 3, 9), -1, 4, 2), C(f(2, 8, 6, 3), 1, 4, 2))

# -- dtypes

cases("getattr.dtype getattr.device", C(f(2)), C(i(2)))
cases(".to", C(i(2, 3), "float32"), C(f(2, 3), dtype="int64"), C(i(2, 3), f(2)), C(f(2, 3), "bool"),
      C(f(2, 3), "float64"))
cases(".type_as", C(i(2, 3), f(2)), C(f(2, 3), f(2)))
cases(".type", C(i(2, 3), "float32"))
cases(".is_floating_point torch.is_floating_point", C(f(2)), C(i(2)))
for _name in ("float", "double", "long", "int", "short", "bool"):
    cases(f".{_name}", C(3 * f(2, 3)), C(i(2, 3, high=2)), C(b(2, 3)))
cases(".half .bfloat16", C(f(2, 3), limit=1e-2), C(i(2, 3)))
cases(".byte", C(3 * p(2, 3)))

# -- index

full = slice(None)
rows = np.array([2, 0, 1, 1])
indices = [0, -1, slice(1, 3), slice(None, None, 2), slice(-2, None), slice(None, -1), (full, 1), (Ellipsis, 0),
      (Ellipsis, None),
           (None, 1), (full, None, slice(0, 2)), (0, Ellipsis, slice(1, None)), (Ellipsis, slice(1, None, 2), full),
                 None,
           (full, -1, slice(None, 2)), (slice(1, 2), Ellipsis, -1), Ellipsis]
cases("_operator.getitem", *[C(f(4, 3, 5), index) for index in indices],
      C(f(4, 3, 5), rows), C(f(4, 3, 5), np.array([[0, -1], [2, 3]])), C(f(4, 3, 5), (full, np.array([2, 0]))),
      C(f(4, 3, 5), (np.array([1, 2]), np.array([0, 2]))), C(f(4, 3, 5), (full, np.array([1, 2]), np.array([0, 2]))),
      C(f(4, 3, 5), (np.array([1, 2]), slice(0, 2))), C(f(4, 3, 5), (full, [2, 0])), C(f(4, 3, 5), [2, 0]),
      C(f(4, 3, 5), (Ellipsis, np.array([4, 1]))), C(f(4, 3, 5), (full, full, [0, 2, 4])),
      C(f(4, 3, 5), b(4), static=False), C(f(4, 3), b(4, 3), static=False),
            C(f(4, 3, 5), (full, np.array([True, False, True])), static=False),
      C(i(4, 3), (full, 0)), C(b(4, 3), (slice(0, 2), full)), C([4, 5, 6], slice(-2, None)), C([4, 5, 6], 1),
      C(f(8, 3), slice(None, dyn(lambda s: s[1]))), C(f(8, 3), (slice(dyn(lambda s: s[1]), None), full)),
      C(f(3, 8), (full, slice(dyn(lambda s: -s[0]), None))), C(f(8, 3), dyn(lambda s: s[1])),
      C(f(3, 8), (full, slice(None, dyn(lambda s: 0 - s[0])))), C(dyn(lambda s: s), slice(0, 2), like=f(2, 3, 4)),
      C(f(4, 3, 5), (full, np.array([[1, 2], [0, 1]]))))
cases("_operator.setitem", C(f(4, 3, 5), (full, 1), f(4, 5)), C(f(4, 3, 5), (full, full, slice(1, None)), f(4, 3, 4)),
      C(f(4, 3), 0, 2.5), C(f(4, 3), (Ellipsis, slice(0, 2)), 0), C(f(4, 3, 5), slice(1, 3), f(1, 5)),
      C(f(4, 3), (full, np.array([2, 0])), f(4, 2), static=False), C(f(4, 3), b(4, 3), 1.5, static=False),
      C(f(4, 3), (full, slice(None, dyn(lambda s: s[1] - 1))), f(4, 2)), C(i(4, 3), (0, 1), 7),
            C(f(4, 3), (0, 1), i(1)))
cases("torch.gather .gather", C(f(3, 4), 1, i(3, 2, high=4)), C(f(3, 4), 0, i(2, 4, high=3)),
      C(f(2, 3, 4), -1, i(2, 3, 1, high=4)))
cases("torch.take_along_dim .take_along_dim", C(f(3, 4), i(3, 2, high=4), 1), C(f(3, 4), i(1, 4, high=3), 0))
cases("torch.index_select .index_select", C(f(3, 4), 1, i(5, high=4)), C(f(3, 4), -2, i(2, high=3)))
cases("torch.select .select", C(f(3, 4), 1, 2), C(f(3, 4), -2, -1))
cases("torch.narrow .narrow", C(f(3, 4), 1, 1, 2), C(f(3, 4), -1, 0, 3))
_once = np.array([[0, 2, 1], [2, 1, 0]])
cases("torch.scatter .scatter .scatter_", C(f(3, 3), 0, _once, f(2, 3)), C(f(3, 3), 0, _once, 1.5))
cases("torch.index_add .index_add .index_add_", C(f(3, 4), 0, np.array([0, 2, 0]), f(3, 4)),
      C(f(3, 4), 1, np.array([1, 1]), f(3, 2), alpha=2))
cases("torch.masked_select .masked_select", C(f(3, 4), b(3, 4), static=False), C(f(3, 4), b(4), static=False))
cases("torch.tril .tril torch.triu .triu", C(f(3, 4)), C(f(3, 4), 1), C(f(2, 4, 4), diagonal=-1), C(b(4, 4)))
cases(".tril_ .triu_", C(f(4, 4), 1))
cases("torch.diagonal .diagonal", C(f(3, 4)), C(f(2, 3, 3), 1, -2, -1))
cases("torch.diag .diag", C(f(3)), C(f(3, 3)), C(f(3, 3), 1))
cases("torch.topk .topk", C(spread(3, 7), 2), C(spread(3, 7), 2, 0), C(spread(3, 7), 3, dim=-1, largest=False))
cases("torch.sort .sort", C(spread(3, 7)), C(spread(3, 7), 0, True), C(spread(3, 7), dim=1, descending=True))
cases("torch.argsort .argsort", C(spread(3, 7)), C(spread(3, 7), 0, True))
cases("torch.nonzero .nonzero", C(b(3, 4), static=False), C(f(3, 4), as_tuple=True, static=False))
cases("torch.bucketize", C(f(3, 4), np.array([-1.0, 0.0, 1.0], np.float32)),
      C(f(3, 4), np.array([0.0, 1.0], np.float32), right=True))
cases("torch.searchsorted", C(np.array([-1.0, 0.0, 1.0], np.float32), f(3, 4)))
cases(".copy_", C(f(3, 4), f(4)), C(f(3, 4), i(3, 4)))
cases(".fill_", C(f(3, 4), 2.0))
cases(".zero_", C(f(3, 4)))
cases("getattr.values getattr.indices", C(Pair(f(3), i(3)), open=()))

# -- new tensors

like = f(3, 4)
cases("torch.full", C((2, 3), 0.5), C((2, 3), 2), C([2], True), C((2, 3), float("-inf"), dtype="float32"),
      C(dyn(lambda s: [s[0], 2]), 1, dtype="float32", like=like))
cases("torch.zeros torch.ones", C(2, 3), C((2, 3)), C([2, 3], dtype="int64"), C(2, dtype="bool"),
      C(dyn(lambda s: s[0]), 2, like=like),
      C((dyn(lambda s: s[0]), dyn(lambda s: s[1])), dtype="bool", like=like), C(size=(2, 3)))
cases("torch.empty", C(2, 3, random=True), C((2, 3), dtype="int64", random=True))
cases("torch.full_like", C(like, 2.0), C(i(2), 3), C(like, 1, dtype="int64"))
cases("torch.zeros_like torch.ones_like", C(like), C(b(2, 3)), C(like, dtype="int64"))
cases("torch.empty_like", C(like, random=True))
cases(".new_full", C(like, (2, 3), 1.5), C(like, (2, 3), 1, dtype="int64"))
cases(".new_zeros .new_ones", C(like, 2, 3), C(like, size=(2, 3)),
      C(like, (2, 3), dtype="bool"), C(like, dyn(lambda s: [s[0], 2])))
cases(".new_empty", C(like, (2, 3), random=True))
cases("torch.tensor torch.as_tensor", C(2), C(0.5), C([1, 2]), C([[1.0, 2.0], [3.0, 4.0]]), C([1, 2], dtype="float32"),
      C(True))
cases("torch.scalar_tensor", C(2.0))
cases("torch.arange", C(5), C(2, 7), C(1, 9, 3), C(5, dtype="float32"), C(0, 1, 0.25), C(0.5, 4, dtype="float32"),
      C(3.0), C(5, 1, -2),
      C(0, 8, 2, dtype="float32"), C(dyn(lambda s: s[0]), like=like),
            C(dyn(lambda s: s[0]), dtype="float32", like=like),
      C(1, dyn(lambda s: s[1]), like=like), C(0, dyn(lambda s: s[1]), 2, dtype="int64", like=like),
            C(0.5, dyn(lambda s: s[1]), dtype="float32", like=like))
cases("torch.linspace", C(-1, 1, 5), C(0.0, 1.0, dyn(lambda s: s[1]), like=like), C(0.5, 6.5, 7, dtype="float32"),
      C(0, 1, 1))
cases("torch.logspace", C(0, 2, 5))
cases("torch.eye", C(3), C(2, 3), C(2, dtype="int64"))
cases("torch.meshgrid torch.functional.meshgrid", C(f(2), f(3)), C([f(2), f(3), f(4)], indexing="ij"),
      C(f(2), f(3), indexing="xy"),
      C(f(2), f(3), f(4), indexing="xy"), C(i(2), i(3), indexing="ij"))
cases("torch._C._nn.one_hot torch.nn.functional.one_hot", C(i(2, 3, high=5), 5), C(i(2, 3, high=5), static=False),
      C(i(4, high=2), num_classes=3))
cases("torch.rand torch.randn", C(2, 3, random=True), C((2, 3), random=True), C([2, 3], dtype="float64", random=True))
cases("torch.rand_like torch.randn_like", C(like, random=True))
cases(".bernoulli_", C(f(2, 3), random=True), C(f(2, 3), 1.0), C(f(2, 3), 0.0))
cases(".uniform_ .normal_", C(f(2, 3), random=True), C(f(2, 3), 0.0, 2.0, random=True))

# -- reductions

reduced = [C(f(2, 3, 4)), C(f(2, 3, 4), 1), C(f(2, 3, 4), (1, 2)), C(f(2, 3, 4), [-1], keepdim=True),
      C(f(2, 3, 4), dim=(-2, -1)),
           C(f(2, 3, 4), -1, True), C(f(2, 3, 4), ())]
cases("torch.mean .mean", *reduced, C(f(2, 3), 1, dtype="float64"), C(i(2, 3), 1, dtype="float32"))
cases("torch.sum .sum", *reduced, C(i(2, 3, dtype=np.int32)), C(b(2, 3), 1), C(b(2, 3), 1, dtype="float32"))
cases("torch.prod .prod", C(f(2, 3)), C(f(2, 3), 1), C(i(2, 3), -1, keepdim=True))
spreads = [C(spread(2, 3, 4)), C(spread(2, 3, 4), 1), C(spread(2, 3, 4), (1, 2)), C(spread(2, 3, 4), (-2, -1), True),
           C(spread(2, 3, 2, 3, 2), (1, 3, 4))]
cases("torch.amax .amax torch.amin .amin", *spreads)
cases("torch.max .max torch.min .min", C(spread(2, 3)), C(spread(2, 3), 1), C(spread(2, 3), -2, True),
      C(spread(2, 3), dim=0, keepdim=True),
      C(f(2, 3), f(3)))
cases("torch.argmax .argmax torch.argmin .argmin", C(spread(2, 3)), C(spread(2, 3), 1),
      C(spread(2, 3), dim=-1, keepdim=True))
cases("torch.all .all torch.any .any", C(b(2, 3)), C(b(2, 3), 1), C(i(2, 3, high=2), -1, True))
cases("torch.var .var torch.std .std", C(f(2, 3, 4)), C(f(2, 3, 4), 1), C(f(2, 3, 4), (1, 2), unbiased=False),
      C(f(2, 3, 4), dim=-1, keepdim=True),
      C(f(2, 3, 4), 1, correction=0), C(f(2, 3, 4), dim=(1, 2), keepdim=True, unbiased=False), C(f(2, 3, 4), False))
cases("torch.var_mean torch.std_mean", C(f(2, 3, 4), dim=-1, keepdim=True, unbiased=False), C(f(2, 3, 4), (1, 2)))
cases("torch.norm .norm torch.functional.norm", C(f(2, 3)), C(f(2, 3), 2, 1), C(f(2, 3), 1, -1, True),
      C(f(2, 3), p=2, dim=(0, 1)), C(f(2, 3), 3, 1))
cases("torch.linalg.vector_norm torch._C._linalg.linalg_vector_norm", C(f(2, 3)), C(f(2, 3), 2, -1),
      C(f(2, 3), float("inf"), 1),
      C(f(2, 3), ord=1, dim=1, keepdim=True))
cases("torch._C._linalg.linalg_norm", C(f(2, 3)), C(f(2, 3), 2, -1))
cases("torch.logsumexp .logsumexp", C(f(2, 3), 1), C(f(2, 3), (0, 1), True))
cases("torch.cumsum .cumsum", C(f(2, 3), 1), C(f(2, 3), -2), C(b(2, 3), 1), C(b(2, 3), 1, dtype="float32"),
      C(i(2, 3), dim=0))
cases("torch.cumprod .cumprod", C(f(2, 3), 1))
cases("torch.diff .diff", C(f(2, 5)), C(f(2, 5), 2, -1), C(f(5, 2), dim=0))

# -- activations, dropout

_softmax = [C(f(2, 3, 4), -1), C(f(2, 3, 4), 1), C(f(2, 3, 4), dim=-2)]
cases("torch.softmax .softmax torch.log_softmax .log_softmax", *_softmax, C(f(2, 3), 1, dtype="float64"))
cases("torch.nn.functional.softmax torch.nn.functional.log_softmax", *_softmax)
cases("torch.sigmoid .sigmoid .sigmoid_ torch.nn.functional.sigmoid torch._C._special.special_expit "
      "torch.nn.functional.tanh torch.relu torch.relu_ .relu .relu_ torch._C._nn.log_sigmoid "
      "torch.nn.functional.softsign",
      C(3 * f(2, 3)))
cases("torch.nn.functional.relu torch.nn.functional.silu torch.nn.functional.mish torch.nn.functional.selu",
      C(3 * f(2, 3)), C(3 * f(2, 3), inplace=True, grad=False))
cases("torch.nn.functional.relu6 torch.nn.functional.hardsigmoid torch.nn.functional.hardswish", C(4 * f(4, 5)))
cases("torch._C._nn.gelu torch.nn.functional.gelu", C(3 * f(2, 3)), C(3 * f(2, 3), approximate="tanh"),
      C(3 * f(2, 3), approximate="none"))
cases("torch.nn.functional.hardtanh", C(3 * f(2, 3)), C(3 * f(2, 3), 0.0, 2.0))
cases("torch.nn.functional.leaky_relu torch._C._nn.leaky_relu_", C(f(2, 3)), C(f(2, 3), 0.2))
cases("torch.nn.functional.elu torch.nn.functional.celu", C(f(2, 3)), C(f(2, 3), 0.5))
cases("torch.prelu", C(f(2, 3, 4), p(3), open=(0, 2)), C(f(2, 3), p(1), open=(0, 1)))
cases("torch._C._nn.softplus", C(f(2, 3)), C(10 * f(2, 3), 2.0, 5.0))
cases("torch.nn.functional.glu", C(f(2, 4, 6)), C(f(2, 4, 6), 1))
cases("torch.nn.functional.dropout torch.dropout", C(f(2, 3), 0.5, False), C(f(2, 3), 0.0, True),
      C(f(20, 30), 0.3, True, random=True))
cases("torch.nn.functional.dropout1d", C(f(2, 3, 4), 0.5, False), C(f(2, 3, 4), 0.3, True, random=True))
cases("torch.nn.functional.dropout2d torch.feature_dropout", C(f(2, 3, 4, 4), 0.5, False),
      C(f(2, 3, 4, 4), 0.3, True, random=True))
cases("torch.nn.functional.dropout3d", C(f(2, 3, 4, 4, 2), 0.5, False),
      C(f(2, 3, 4, 4, 2), 0.5, True, random=True, grad=False))
cases("timm.layers.drop.drop_path", C(f(2, 3, 4), 0.5, False), C(f(2, 3, 4), 0.0, True),
      C(f(8, 3, 4), 0.3, True, random=True))
cases("torchvision.ops.stochastic_depth.stochastic_depth", C(f(2, 3), 0.5, "row", False),
      C(f(2, 3), 0.3, "batch", True, random=True),
      C(f(2, 3), 0.3, "row", True, random=True))

# -- normalisation

image = (0, 2, 3)
cases("torch.nn.functional.batch_norm", C(f(2, 3, 4, 5), f(3), p(3), p(3), f(3), constant=(1, 2), open=image),
      C(f(2, 3, 4, 5), f(3), p(3), constant=(1, 2), open=image),
      C(f(2, 3, 4), f(3), p(3), p(3), f(3), False, 0.1, 1e-3, constant=(1, 2), open=(0, 2)),
            C(f(1, 3, 40), None, None, training=True, momentum=0.0, eps=1e-6, open=()),
      C(f(2, 3, 4, 5), None, None, p(3), f(3), training=True, open=image),
            C(f(4, 3), f(3), p(3), p(3), f(3), constant=(1, 2), open=(0,)),
      C(f(8, 3, 4, 5), f(3), p(3), p(3), f(3), True, 0.1, 1e-5, constant=(1, 2), open=image))
cases("torch.nn.functional.layer_norm torch.layer_norm", C(f(2, 3, 8), (8,), p(8), f(8), 1e-6, open=(0, 1)),
      C(f(2, 3, 8), [8], open=(0, 1)),
      C(f(2, 3, 8), (3, 8), p(3, 8), f(3, 8), open=(0,)), C(f(2, 3, 8), (8,), p(8), eps=1e-5, open=(0, 1)))
cases("torch.nn.functional.group_norm torch.group_norm", C(f(2, 6, 4, 5), 3, p(6), f(6), 1e-5, open=image),
      C(f(2, 6, 5), 1, p(6), f(6), open=(0, 2)),
      C(f(2, 6, 4, 5), 2, open=image), C(f(2, 6), 2, p(6), f(6), open=(0,)))
CASES["torch.nn.functional.instance_norm"] = [
    C(f(2, 3, 4, 5), open=image), C(f(2, 3, 4, 5), None, None, p(3), f(3), open=image),
    C(f(2, 3, 4, 5), f(3), p(3), p(3), f(3), use_input_stats=False, constant=(1, 2), open=image)]
CASES["torch.instance_norm"] = [C(f(2, 3, 4, 5), p(3), f(3), None, None, True, 0.1, 1e-5, True, open=image)]
cases("torch.nn.functional.rms_norm torch.rms_norm", C(f(2, 3, 8), (8,), p(8), 1e-6, open=(0, 1)),
      C(f(2, 3, 8), (8,), open=(0, 1)), C(f(2, 3, 8), (3, 8), open=(0,)))
cases("torch.nn.functional.normalize", C(f(2, 3, 4)), C(f(2, 3, 4), dim=-1), C(f(2, 3, 4), 2.0, -2),
      C(f(2, 3), p=1.0, dim=1), C(np.zeros((2, 3), np.float32), grad=False))
cases("torch.nn.functional.local_response_norm", C(f(2, 6, 4, 4), 3, open=image),
      C(f(2, 6, 4, 4), 5, 1e-3, 0.7, 2.0, open=image))
cases("torch.cosine_similarity torch.nn.functional.cosine_similarity", C(f(2, 3), f(2, 3)),
      C(f(2, 3, 4), f(2, 3, 4), -1))

# -- products, attention

cases("_operator.matmul torch.matmul .matmul", C(f(2, 3), f(3, 4)), C(f(2, 5, 3), f(3, 4)),
      C(f(2, 1, 5, 3), f(4, 3, 2)), C(f(4, 5, 3), f(2, 1, 3, 2)),
      C(f(3, 2, 4, 5, 3), f(4, 3, 2)), C(f(3), f(3)),
      C(f(2, 3), f(3)), C(f(3), f(2, 3, 4)))
cases("torch.bmm .bmm", C(f(2, 3, 4), f(2, 4, 5)))
cases("torch.mm .mm", C(f(3, 4), f(4, 5)))
cases("torch.mv .mv", C(f(3, 4), f(4)))
cases("torch.dot .dot", C(f(4), f(4)))
cases("torch.outer .outer torch.ger", C(f(3), f(4)))
cases("torch.baddbmm .baddbmm", C(f(2, 3, 5), f(2, 3, 4), f(2, 4, 5)),
      C(f(1, 1, 5), f(2, 3, 4), f(2, 4, 5), beta=0.5, alpha=2),
      C(np.full((2, 3, 5), np.nan, np.float32), f(2, 3, 4), f(2, 4, 5), beta=0, grad=False))
cases("torch.addmm .addmm", C(f(5), f(3, 4), f(4, 5)), C(f(3, 5), f(3, 4), f(4, 5), beta=0.5, alpha=2))
cases("torch._C._nn.linear torch.nn.functional.linear", C(f(2, 5, 4), f(3, 4), f(3), open=(0, 1)),
      C(f(2, 4), f(3, 4), open=(0,)), C(f(4), f(3, 4), bias=f(3), open=()))
cases("torch.einsum torch.functional.einsum", C("bhwc,hkc->bhwk", f(2, 3, 4, 5), f(3, 6, 5)),
      C("b n d, b m d -> b n m".replace(" ", ""), f(2, 3, 4), f(2, 5, 4)),
      C("i,j->ij", f(3), f(4)), C("bij,jk", f(2, 3, 4), f(4, 5)), C("...ij,...jk->...ik", f(2, 3, 4), f(2, 4, 5)),
            C("nchw->nhwc", f(2, 3, 4, 5)),
      C("bij,bij->b", f(2, 3, 4), f(2, 3, 4)), C("ij,ij->", f(3, 4), f(3, 4)))
cases("torch.tensordot torch.functional.tensordot", C(f(2, 3, 4), f(3, 4, 5)), C(f(2, 3, 4), f(4, 5), dims=1),
      C(f(2, 3), f(4, 3), ([-1], [1])))
cases("torch.kron .kron", C(f(2, 3), f(3, 2)))
cases("torch.functional.cdist torch.cdist", C(f(2, 3, 4), f(2, 5, 4)))
attention = [f(2, 3, 5, 4), f(2, 3, 7, 4), f(2, 3, 7, 4)]
channels = dict(open=(0, 1, 2))
cases("torch._C._nn.scaled_dot_product_attention torch.nn.functional.scaled_dot_product_attention",
      C(*attention, **channels),
      C(f(2, 5, 4), f(2, 7, 4), f(2, 7, 6), open=(0, 1)), C(*(x[None] for x in attention), open=(0, 1, 2, 3)),
      C(*attention, f(5, 7), **channels), C(*attention, np.tril(np.ones((5, 7))) > 0, **channels),
            C(*attention, attn_mask=f(2, 1, 1, 7), scale=0.3, **channels),
      C(f(2, 3, 5, 4), f(2, 3, 5, 4), f(2, 3, 5, 4), is_causal=True, open=(0, 2)),
            C(*attention, is_causal=True, **channels),
      C(f(2, 4, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 4), enable_gqa=True, open=(0, 2)),
            C(*attention, dropout_p=0.2, random=True, **channels))

# -- convolution, fold

cases("torch.conv1d torch.nn.functional.conv1d", C(f(2, 4, 9), f(6, 4, 3), f(6), open=(0, 2)),
      C(f(2, 4, 9), f(4, 1, 3), None, 2, 1, 1, 4, open=(0, 2)),
      C(f(2, 4, 9), f(6, 4, 4), padding="same", open=(0, 2)))
cases("torch.conv2d torch.nn.functional.conv2d", C(f(2, 4, 9, 8), f(6, 4, 3, 3), f(6), open=image),
      C(f(2, 4, 9, 8), f(4, 1, 3, 3), None, 2, 1, 1, 4, open=image),
      C(f(2, 4, 9, 8), f(6, 2, 3, 5), None, (2, 1), (1, 2), groups=2, open=image),
            C(f(2, 4, 9, 8), f(6, 4, 3, 3), dilation=2, padding="same", open=image),
      C(f(2, 4, 9, 8), f(6, 4, 2, 4), padding="same", open=image),
            C(f(2, 4, 9, 8), f(6, 4, 3, 3), padding="valid", open=image))
cases("torch.conv3d torch.nn.functional.conv3d", C(f(2, 2, 5, 6, 4), f(3, 2, 3, 3, 3), f(3), 1, 1, open=(0, 2, 3, 4)))
cases("torch.conv_transpose1d torch.nn.functional.conv_transpose1d",
      C(f(2, 4, 5), f(4, 3, 3), f(3), 2, 1, 1, open=(0, 2)))
cases("torch.conv_transpose2d torch.nn.functional.conv_transpose2d",
      C(f(2, 4, 5, 6), f(4, 3, 2, 2), f(3), 2, open=image),
      C(f(2, 4, 5, 6), f(4, 1, 3, 3), None, 2, 1, 1, 4, open=image),
            C(f(2, 4, 5, 6), f(4, 3, 3, 3), stride=2, padding=1, output_padding=(1, 0), dilation=2, open=image))
cases("torch.conv_transpose3d torch.nn.functional.conv_transpose3d",
      C(f(1, 2, 3, 4, 3), f(2, 3, 2, 2, 2), f(3), 2, open=(0, 2, 3, 4)))
cases("torch.nn.functional.unfold", C(f(2, 3, 8, 9), 3, open=image),
      C(f(2, 3, 8, 9), (3, 2), 1, (1, 0), 2, open=image), C(f(2, 3, 8, 9), 2, 2, 1, 1, open=image))
cases("torch._C._nn.im2col", C(f(2, 3, 8, 9), [3, 2], [1, 1], [1, 0], [2, 2], open=image))
cases("torch.nn.functional.fold", C(f(2, 3 * 9, 30), (7, 8), 3, open=()),
      C(f(2, 3 * 9, 20), (8, 9), 3, 1, 1, 2, open=()), C(f(2, 3 * 4, 12), (6, 8), 2, stride=2, open=()),
      C(f(2, 3 * 9, 20), (dyn(lambda s: s[0] * 4), dyn(lambda s: s[0] + 7)), 3, 1, 1, 2, open=(0, 2)),
            C(f(2, 3 * 9, 30), (7, 8), 3, open=(0, 2)),
      C(f(2, 3 * 6, 9), (dyn(lambda s: s[0] * 4), 9), (3, 2), (2, 1), (1, 0), (2, 3), open=(0, 2)))
cases("torch._C._nn.col2im", C(f(2, 3 * 9, 30), [7, 8], [3, 3], [1, 1], [0, 0], [1, 1], open=()))
cases("torch.pixel_shuffle torch.nn.functional.pixel_shuffle", C(f(2, 8, 3, 4), 2, open=image))
cases("torch.pixel_unshuffle torch.nn.functional.pixel_unshuffle", C(f(2, 2, 6, 4), 2, open=image),
      C(f(2, 6, 4), 2, open=(1, 2)))
cases("torch.channel_shuffle torch.nn.functional.channel_shuffle", C(f(2, 6, 3, 4), 3, open=image))
cases("torch.nn.functional.embedding", C(i(2, 3, high=5), f(5, 4), open=(0, 1)))
CASES["torch.embedding"] = [C(f(5, 4), i(2, 3, high=5), open=())]
cases("torch.nn.functional.bilinear torch.bilinear", C(f(2, 3), f(2, 4), f(5, 3, 4), f(5), open=(0,)))

# -- padding

picture = f(2, 3, 6, 7)
pads = [C(picture, (1, 2, 3, 0)), C(picture, (1, 2), value=-1.5), C(picture, (0, 0, 0, 2, 0, 1)),
      C(picture, (1, 0, 0, 0, 2, 1, 0, 1)), C(picture, (0, 0, 0, 0)),
        C(picture, (-1, -2, 1, 1)), C(picture, (-1, 0)), C(f(2, 3), (1, 2, 0, 1)), C(f(4), (1, 2)),
              C(f(2, 3, 4), (0, 1, 2, 0)), C(f(2, 3, 4, 5, 6), (1, 0, 0, 2)),
        C(f(2, 3, 4, 5, 6), (1, 0, 0, 0, 0, 0, 2, 1)), C(i(2, 3), (1, 1), value=7), C(b(2, 3), (1, 1), value=True),
              C(picture, (0, dyn(lambda s: s[0]), 0, dyn(lambda s: s[0] - 2))),
        C(picture, (0, 0, 0, dyn(lambda s: s[0]), 0, dyn(lambda s: 3 - s[0]))),
              C(f(2, 3, 4), (0, 0, dyn(lambda s: s[0]), 0)), C(picture, (1, 2), "constant", 0.5),
        C(picture, (1, 2, 2, 1), "reflect"), C(picture, (1, 2, 2, 1), "replicate"),
              C(picture, (1, 2, 2, 1), "circular"), C(f(2, 3, 6), (1, 2), mode="reflect"),
        C(f(2, 3, 6), (2, 1), mode="replicate"), C(f(2, 3, 6), (2, 1), mode="circular"),
              C(f(2, 2, 3, 4, 5), (1, 1, 0, 1, 1, 0), mode="replicate"),
        C(f(3, 6, 7), (1, 0, 2, 1), mode="reflect")]
cases("torch.nn.functional.pad", *pads[:-8], *pads[-8:])
CASES["torch._C._nn.pad"] = [C(picture, [1, 2, 3, 0]), C(picture, [1, 2, 2, 1], "reflect"),
      C(picture, [1, 2], value=2.0)]
cases("timm.layers.padding.pad_same", C(f(2, 3, 7, 8), (3, 3), (2, 2)), C(f(2, 3, 9, 8), (5, 2), (2, 3), (1, 2)),
      C(f(2, 3, 8, 8), [1, 1], [1, 1]))

# -- pooling

pooled = [C(f(2, 3, 7, 8), 2, open=image), C(f(2, 3, 7, 8), 3, 2, 1, open=image),
      C(f(2, 3, 7, 8), (3, 2), (2, 1), (1, 0), open=image), C(f(2, 3, 7, 8), 2, 2, ceil_mode=True, open=image),
          C(f(2, 3, 7, 8), 3, 2, 1, ceil_mode=True, open=image), C(f(2, 3, 7, 7), 3, 3, 1, ceil_mode=True, open=image),
                C(f(2, 3, 6, 9), 1, 2, ceil_mode=True, open=image),
          C(f(2, 3, 7, 7), 2, 3, 1, ceil_mode=True, open=image),
                C(f(2, 3, 11, 10), 3, 5, 1, ceil_mode=True, open=image)]
cases("torch.nn.functional.max_pool2d torch.max_pool2d", *pooled)
cases("torch._C._nn.avg_pool2d torch.nn.functional.avg_pool2d", *pooled,
      C(f(2, 3, 7, 8), 3, 2, 1, False, False, open=image), C(f(2, 3, 7, 8), 3, 2, 1, True, False, open=image),
      C(f(2, 3, 7, 7), 2, 3, 1, True, False, open=image), C(f(2, 3, 8, 8), 2, 2, 0, True, False, open=image),
            C(f(2, 3, 7, 8), 3, 2, 1, divisor_override=5, open=image),
      C(f(2, 3, 7, 8), [2, 1], [2, 1], open=image))
cases("torch.nn.functional.max_pool1d torch.max_pool1d", C(f(2, 3, 8), 3, 2, 1, open=(0, 2)),
      C(f(2, 3, 8), 3, 2, ceil_mode=True, open=(0, 2)))
cases("torch.avg_pool1d torch.nn.functional.avg_pool1d", C(f(2, 3, 8), 3, 2, 1, open=(0, 2)),
      C(f(2, 3, 8), 3, 2, 1, True, open=(0, 2)), C(f(2, 3, 8), 2, count_include_pad=False, open=(0, 2)))
cases("torch.nn.functional.max_pool3d torch.max_pool3d torch._C._nn.avg_pool3d torch.nn.functional.avg_pool3d",
      C(f(2, 3, 4, 6, 5), 2, open=(0, 2, 3, 4)),
      C(f(2, 3, 4, 6, 5), (1, 3, 3), (1, 2, 2), (0, 1, 1), open=(0, 2, 3, 4)))
adapted = [C(f(2, 3, 8, 6), 1), C(f(2, 3, 8, 6), (2, 3)), C(f(2, 3, 7, 5), 3), C(f(2, 3, 7, 5), (None, 2)),
      C(f(2, 3, 7, 5), (5, 1)), C(f(2, 3, 4, 5), 6), C(f(3, 8, 6), 2, static=False)]
cases("torch.nn.functional.adaptive_avg_pool2d torch.nn.functional.adaptive_max_pool2d", *adapted[:-1])
cases("torch.nn.functional.adaptive_avg_pool1d torch.adaptive_avg_pool1d torch.nn.functional.adaptive_max_pool1d",
      C(f(2, 3, 7), 3), C(f(2, 3, 7), 1))
cases("torch.nn.functional.adaptive_avg_pool3d torch.nn.functional.adaptive_max_pool3d",
      C(f(2, 3, 4, 5, 6), (2, 2, 3)), C(f(2, 3, 4, 5, 6), 1))
cases("torch.nn.functional.lp_pool2d", C(p(2, 3, 6, 8), 2, 2, open=image), C(p(2, 3, 6, 8), 3.0, (3, 2), 1, open=image))

# -- resize

small = f(2, 3, 5, 6)
doubled = dyn(lambda s: [s[2] * 2, s[3] + 3])
resized = [C(small, size, mode=mode, **more) for mode in ("bilinear", "bicubic") for size in ((7, 9), (3, 4), (10, 12))
           for more in ({}, {"align_corners": True})]
shrunk = dict(open=(0, 1))
cases("torch.nn.functional.interpolate", *resized, C(small, (7, 9)), C(small, (10, 18)), C(small, 4),
      C(small, scale_factor=2), C(small, scale_factor=2.0, mode="bilinear"),
      C(small, scale_factor=(2, 3)), C(small, scale_factor=0.5, mode="bilinear"),
            C(small, scale_factor=1.5, mode="bicubic", open=(0, 1)), C(small, scale_factor=0.5),
      C(small, scale_factor=0.5, mode="bilinear", recompute_scale_factor=True), C(small, doubled),
            C(small, doubled, mode="bilinear"), C(small, doubled, mode="bicubic"),
      C(small, (7, 9), mode="nearest-exact"), C(small, (3, 4), mode="nearest-exact"),
            C(small, doubled, mode="nearest-exact"), C(small, (3, 2), mode="area"), C(small, (7, 9), mode="area"),
      C(f(2, 3, 5), 8), C(f(2, 3, 5), 8, mode="linear"), C(f(2, 3, 5), 3, mode="linear", align_corners=True),
            C(f(1, 2, 3, 4, 5), (4, 4, 7), mode="trilinear"), C(f(1, 2, 3, 4, 5), scale_factor=2),
      *[C(small, size, mode=mode, antialias=True, **more, **shrunk) for mode in ("bilinear",
            "bicubic") for size in ((3, 4), (9, 11), (5, 6), (2, 13)) for more in ({}, {"align_corners": False})],
      C(f(1, 2, 14, 14), (5, 9), mode="bicubic", antialias=True, align_corners=True, **shrunk),
            C(f(1, 2, 16, 16), (8, 8), mode="bicubic", antialias=True, **shrunk),
      C(f(1, 2, 16, 16), scale_factor=0.5, mode="bicubic", antialias=True, **shrunk))
cases("torch.nn.functional.upsample", C(small, scale_factor=2), C(small, (7, 9), mode="bilinear"))
cases("torch.nn.functional.grid_sample", *[C(small, np.clip(f(2, 4, 3, 2), -1.4, 1.4), mode, padding, corners,
      open=(0, 2, 3)) for mode in ("bilinear", "nearest")
                                           for padding in ("zeros", "border", "reflection") for corners in (None,
                                                 True)])
cases("torch.nn.functional.affine_grid", C(f(2, 2, 3), (2, 3, 4, 5), open=()),
      C(f(2, 2, 3), [2, 3, 4, 5], True, open=()))
tokens = f(1, 1 + 16, 6)
cases("timm.layers.pos_embed.resample_abs_pos_embed", C(tokens, [6, 7], open=()), C(tokens, [4, 4], open=()),
      C(tokens, (3, 5), [4, 4], 1, "bilinear", open=()),
      C(f(1, 12, 6), [5, 5], [3, 4], 0, antialias=False, open=()),
            C(f(1, 12, 6), [3, 4], [3, 4], num_prefix_tokens=0, open=()))
cases("timm.layers.pos_embed.resample_abs_pos_embed_nhwc", C(f(1, 4, 4, 6), [6, 7], open=()),
      C(f(1, 4, 4, 6), [4, 4], open=()), C(f(1, 4, 4, 6), [3, 3], interpolation="bilinear", open=()),
      C(f(4, 4, 6), [6, 5], open=()))
cases("timm.models.qwen3_vit.resample_pos_embed_grid", C(f(1, 16, 6), 4, (5, 7), open=()),
      C(f(1, 16, 6), 4, (4, 4), open=()))
cases("timm.models.crossvit.scale_image", C(f(2, 3, 12, 12), (9, 9), open=(0,)),
      C(f(2, 3, 12, 12), (9, 9), True, open=(0,)), C(f(2, 3, 12, 12), (12, 12), open=(0,)))
cases("timm.models.vision_transformer_sam.get_rel_pos", C(4, 4, f(7, 5), open=()), C(6, 6, f(7, 5), open=()),
      C(4, 2, f(7, 5), open=()))

# -- timm's rotary and attention helpers

grid = "timm.layers.pos_embed_sincos."
open_shape = dyn(lambda s: [s[0], s[1]])
cases(grid + "_build_grid", C([3, 4]), C([3, 4], "index", [6, 6], 0.5, "xy"), C([3, 4], "pixel"),
      C([3, 4], "centered"), C([3, 4], "centered", normalize_coords="max"),
      C([3, 4], "centered", normalize_coords="min", grid_offset=0.1), C(open_shape, "centered", like=like),
            C(open_shape, ref_feat_shape=[7, 7], like=like),
      C(open_shape, "centered", normalize_coords="max", grid_indexing="xy", like=like),
            C(open_shape, "pixel", like=like))
cases(grid + "get_mixed_grid", C([3, 4]), C([3, 4], "xy"), C(open_shape, like=like))
cases(grid + "make_coords_dinov3", C(3, 4), C(3, 4, "max", grid_offset=0.2),
      C(dyn(lambda s: s[0]), dyn(lambda s: s[1]), like=like))
cases(grid + "_apply_coord_augs", C(f(5, 2), open=(0,)), C(f(5, 2), 0.2, 1.5, 2.0, random=True, open=(0,)))
cases(grid + "_freq_buffer_dtype", C("float16"), C(None), C("float64"))
cases("timm.layers.attention.maybe_add_mask", C(f(2, 3, 3)), C(f(2, 3, 3), f(3, 3)))
cases("timm.layers.attention.resolve_self_attn_mask", C(4, f(2, 4, 4), None, True, grad=False),
      C(4, f(2, 4, 4), b(4, 4), grad=False), C(4, f(2, 4, 4), f(4, 4), grad=False), C(4, f(2, 4, 4)))
