# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a graph file may say: the type, the form and the size of every field, checked before anything is made of it."""
from __future__ import annotations

import builtins
import functools
import keyword
import math
import re
import reprlib
import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, NoReturn

import numpy as np

from ..limits import limit
from .graph import Graph, Node, Ref
from .ops import LEAVES, OPS
from .ops._leaf_args import DROP_PATH_ARGS

FORMAT = 1


def _row(name: str) -> Any:
    return field(default_factory=functools.partial(limit, name))


@dataclass(frozen=True)
class Limits:
    """The most that a graph file may hold, more than any network of timm or torchvision does; see ``limits.LIMITS``."""
    text: int = _row("GRAPH_BYTES")
    values: int = _row("GRAPH_VALUES")
    nodes: int = _row("GRAPH_NODES")
    depth: int = _row("GRAPH_DEPTH")
    elements: int = _row("GRAPH_PARAMETERS")
    constants: int = _row("GRAPH_CONSTANTS")


KINDS = ("input", "param", "const", "leaf", "call", "training", "guard")
DTYPES = {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64",
          "complex128"}
INITIALIZERS = {"constant": 1, "normal": 2, "uniform": 2}  # kind -> how many numbers it has
PLAIN = (int, float, bool, type(None))
LARGEST = 1 << 63  # Python's and torch's "to the end" in a slice
# of a leaf, what makes parameters: their product is no more than what its part of the state dict has
PARAMETER_SIZES = {"in_features", "out_features", "in_channels", "out_channels", "in1_features", "in2_features",
                   "num_embeddings", "embedding_dim", "embed_dim", "input_size", "hidden_size", "num_features",
                   "num_channels", "normalized_shape", "gamma_shape", "weight_shape", "num_experts", "num_parameters"}
SMALL = 1 << 16  # a size that costs nothing, with or without parameters

_PATH = re.compile(r"(?!__)[\w-]+(\.(?!__)[\w-]+)*", re.ASCII)
_VARIABLE = re.compile(r"(?!__)[A-Za-z_]\w*", re.ASCII)
_WORD = re.compile(r"[\w.+-]*", re.ASCII)
_HUB = re.compile(r"[\w-][\w.-]*/([\w-][\w.-]*)?", re.ASCII)
_URL = re.compile(r"https?://[\w.-]+/[\w./%~+-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{8,64}")
_TAKEN = {"self", "check", "remember", "ops", "inf", "nan", *keyword.kwlist, *vars(builtins)}  # in generated source


class Refused(Exception):
    """What is wrong with a file, in words."""


def is_variable(name: Any) -> bool:
    """Whether ``name`` can be a variable of generated source."""
    return isinstance(name, str) and _VARIABLE.fullmatch(name) is not None and name not in _TAKEN


def read_graph(content: dict[str, Any], limits: Limits | None = None) -> Graph:
    """The Graph of a file's JSON.

    Raises:
        Refused: a field is missing, or not as it must be.
    """
    known = {"format", *_FIELDS}
    _ensure(set(content) == known, "fields", sorted(set(content) ^ known), "missing or unknown")
    graph, reader = Graph("", [], {}), _Arguments(limits or Limits())
    for name, read in _FIELDS.items():
        setattr(graph, name, read(content[name], graph, reader))
    return graph


# --- what all share --------------------------------------------------------------------------------------------------

def _refuse(where: str | int, value: Any, what: str) -> NoReturn:
    where = where if isinstance(where, str) else f"node {where}"
    shown = " ".join(reprlib.repr(value).split())[:80]
    raise Refused(f"{where}: {shown.encode('ascii', 'backslashreplace').decode()} {what}")


def _ensure(good: Any, where: str, value: Any, what: str) -> None:
    if not good:
        _refuse(where, value, what)


def _object(value: Any, where: str) -> dict[str, Any]:
    _ensure(type(value) is dict, where, value, "is no object")
    return value


def _list(value: Any, where: str) -> list:
    _ensure(type(value) is list, where, value, "is no list")
    return value


def _elements(shape: Any, where: str) -> int:
    """The number of elements of a shape."""
    if type(shape) is not list or len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
        _refuse(where, shape, "is no shape")
    return math.prod(shape)


def _printable(value: Any, where: str) -> str:
    _ensure(type(value) is str and value.isprintable(), where, value, "is no text in one line")
    return value


def _known(value: Any, among: Any, where: str, what: str) -> str:
    _ensure(type(value) is str and value in among, where, value, f"is not in {what}")
    return value


# --- fields, each a function of (JSON value, what is read already, reader of arguments) ------------------------------

def _name(value: Any, graph: Graph, reader: _Arguments) -> str:
    return _printable(value, "name")


def _state(value: Any, graph: Graph, reader: _Arguments) -> dict[str, list[int]]:
    total = 0
    for path, shape in _object(value, "state").items():
        if not _PATH.fullmatch(path):
            _refuse("state", path, "is no name of a parameter")
        total += _elements(shape, f"state '{path}'")
    _ensure(total <= reader.limits.elements, "state", total, f"elements are more than {reader.limits.elements}")
    return value


def _buffers(value: Any, graph: Graph, reader: _Arguments) -> list[str]:
    return [_known(name, graph.state, "buffers", "the state") for name in _list(value, "buffers")]


def _dtypes(value: Any, graph: Graph, reader: _Arguments) -> dict[str, str]:
    for name, dtype in _object(value, "dtypes").items():
        _known(name, graph.state, "dtypes", "the state")
        _known(dtype, DTYPES, "dtypes", "the dtypes")
    return value


def _start(value: Any, graph: Graph, reader: _Arguments) -> dict[str, list]:
    for name, start in _object(value, "start").items():
        _known(name, graph.state, "start", "the state")
        good = type(start) is list and start and INITIALIZERS.get(str(start[0])) == len(start) - 1
        if not good or not all(type(number) in (int, float) for number in start[1:]):
            _refuse(f"start '{name}'", start, "is no initializer")
    return value


def _leaves(value: Any, graph: Graph, reader: _Arguments) -> dict[str, dict]:
    elements: dict[str, int] = {}  # of the parameters of each layer
    for name, shape in graph.state.items():
        owner = name.rpartition(".")[0]
        elements[owner] = elements.get(owner, 0) + math.prod(shape)
    for path, spec in _object(value, "leaves").items():
        if not _PATH.fullmatch(path):
            _refuse("leaves", path, "is no name of a layer")
        _leaf(spec, f"leaf '{path}'", max(elements.get(path, 0), SMALL))
    return value


def _consts(value: Any, graph: Graph, reader: _Arguments) -> dict[str, np.ndarray]:
    total, sizes = 0, {}
    for key, packed in _object(value, "consts").items():
        _ensure(_PATH.fullmatch(key), "consts", key, "is no name of a constant")
        _ensure(type(packed) is list and len(packed) == 3, f"constant '{key}'", packed, "is not [dtype, shape, data]")
        dtype, shape, data = packed
        _known(dtype, DTYPES, f"constant '{key}'", "the dtypes")
        sizes[key] = _elements(shape, f"constant '{key}'") * np.dtype(dtype).itemsize
        total += sizes[key]
        _ensure(type(data) is str and len(data) <= 1.3 * sizes[key] + 256, f"constant '{key}'", data,
                "does not fit its shape")
    _ensure(total <= reader.limits.constants, "consts", total, f"bytes are more than {reader.limits.constants}")
    return {key: _unpacked(key, packed, sizes[key]) for key, packed in value.items()}


def _nodes(value: Any, graph: Graph, reader: _Arguments) -> list[Node]:
    _ensure(len(_list(value, "nodes")) <= reader.limits.nodes, "nodes", len(value),
            f"are more than {reader.limits.nodes}")
    nodes = []
    for index, fields in enumerate(value):
        where = index  # as words only where they are shown: most of the time goes here
        if type(fields) is not list or len(fields) != 5:
            _refuse(where, fields, "is not [name, kind, target, args, kwargs]")
        name, kind, target, args, kwargs = fields
        if type(name) is not str or not _VARIABLE.fullmatch(name) or name in _TAKEN or name in reader.refs:
            _refuse(where, name, "is no new name of a variable")
        check = _TARGETS.get(kind) if type(kind) is str else None
        if check is None:
            _refuse(where, kind, f"is no kind; known are {', '.join(KINDS)}")
        if type(target) is not str or type(args) is not list or type(kwargs) is not dict:
            _refuse(where, [target, args, kwargs], "is not a text, a list and an object")
        check(target, args, kwargs, graph, where)
        reader.where = where
        nodes.append(Node(name, kind, target, [reader.read(item) for item in args],
                          reader.named(kwargs) if kwargs else {}))
        reader.refs[name] = Ref(name)
    _ensure(any(node.kind == "input" for node in nodes), "nodes", len(nodes), "have no input among them")
    return nodes


def _outputs(value: Any, graph: Graph, reader: _Arguments) -> dict[str, Any]:
    reader.where = "outputs"
    outputs = reader.named(_object(value, "outputs"))
    _ensure(all(isinstance(ref, Ref) for ref in _list(outputs.get("features", []), "features")), "outputs",
            value, "has features that are no nodes")
    return outputs


def _features(value: Any, graph: Graph, reader: _Arguments) -> list[dict[str, Any]]:
    _ensure(len(_list(value, "features")) == len(graph.outputs.get("features", [])), "features", len(value),
            "are not as many as the outputs say")
    for feature in value:
        _ensure(type(feature) is dict and set(feature) == {"num_chs", "reduction", "module"}, "features", feature,
                "has other fields than num_chs, reduction and module")
        _ensure(type(feature["num_chs"]) is int and 0 < feature["num_chs"] <= SMALL, "features", feature, "num_chs")
        _ensure(type(feature["reduction"]) in (int, float) and 0 < feature["reduction"] <= SMALL, "features", feature,
                "has no stride")
        _path(feature["module"], "features")
    return value


def _info(value: Any, graph: Graph, reader: _Arguments) -> dict[str, Any]:
    for key, item in _object(value, "info").items():
        _printable(key, "info")
        (_INFO.get(key) or _plain)(item, f"info '{key}'")
    if "features" in graph.outputs:  # a network that is made by its name
        missing = {"input_size", "library"} - set(value)
        _ensure(not missing, "info", sorted(missing), "is missing")
    return value


# what a later one is checked against comes first
_FIELDS: dict[str, Callable[[Any, Graph, _Arguments], Any]] = {
    "name": _name, "state": _state, "buffers": _buffers, "dtypes": _dtypes, "start": _start, "leaves": _leaves,
    "consts": _consts, "nodes": _nodes, "outputs": _outputs, "features": _features, "info": _info}


# --- nodes -----------------------------------------------------------------------------------------------------------

def _without(target: str, args: list, kwargs: dict, graph: Graph, where: int) -> None:
    if target or args or kwargs:
        _refuse(where, target or args or kwargs, "where there is nothing to say")


def _held_in(field: str) -> Callable:
    def check(target: str, args: list, kwargs: dict, graph: Graph, where: int) -> None:
        if target not in getattr(graph, field):
            _refuse(where, target, f"is not in {field}")
        if field != "leaves" and (args or kwargs):
            _refuse(where, args or kwargs, "where there is nothing to say")

    return check


def _call(target: str, args: list, kwargs: dict, graph: Graph, where: int) -> None:
    if target not in OPS:
        _refuse(where, target, "is not in the table of operations; import the module that registers it first")


def _guard(target: str, args: list, kwargs: dict, graph: Graph, where: int) -> None:
    _printable(target, f"node {where}")
    if len(args) != 3 or kwargs or type(args[1]) not in (bool, int, float) or type(args[2]) is not bool:
        _refuse(where, args, "is not [value, what it must be, whether it is a branch]")


_TARGETS = {"input": _without, "training": _without, "param": _held_in("state"), "const": _held_in("consts"),
            "leaf": _held_in("leaves"), "call": _call, "guard": _guard}


class _Arguments:
    """Reads arguments; the one-key objects {'$': ...} stand for what JSON does not have."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.where: str | int = ""
        self.refs: dict[str, Ref] = {}  # nodes that are before this place

    def read(self, value: Any, level: int = 0) -> Any:
        kind = type(value)
        if kind is dict:
            if len(value) == 1:
                (sign, inner), = value.items()
                if sign == "$" and type(inner) is str and inner in self.refs:
                    return self.refs[inner]
                if sign[:1] == "$":
                    return self._special(sign, inner, level)
            return self.named(value, level)
        if kind is list:
            if level >= self.limits.depth:
                _refuse(self.where, "...", f"lists lie in lists more than {self.limits.depth} deep")
            return [self.read(item, level + 1) for item in value]
        if kind is int and not -LARGEST <= value <= LARGEST:
            _refuse(self.where, value, "is too large")
        if kind is str and not value.isprintable():
            _refuse(self.where, value, "has signs that cannot be printed")
        return value

    def named(self, values: dict, level: int = 0) -> dict[str, Any]:
        """Keyword arguments, or a dict of outputs."""
        if level >= self.limits.depth:
            _refuse(self.where, "...", f"lists lie in lists more than {self.limits.depth} deep")
        for key in values:
            if not _VARIABLE.fullmatch(key) or keyword.iskeyword(key):
                _refuse(self.where, key, "is no name of an argument")
        return {key: self.read(item, level + 1) for key, item in values.items()}

    def _special(self, sign: str, inner: Any, level: int) -> Any:
        if sign == "$":
            _refuse(self.where, inner, "is no node before this one")
        if sign == "$ellipsis":
            return Ellipsis
        if sign == "$float" and inner in ("inf", "-inf", "nan"):
            return float(inner)
        if sign == "$tuple" and type(inner) is list:
            return tuple(self.read(inner, level))
        if sign == "$slice" and type(inner) is list and len(inner) == 3:
            return slice(*self.read(inner, level))
        return _refuse(self.where, {sign: inner}, "is no argument")


# --- leaves ----------------------------------------------------------------------------------------------------------

def _leaf(spec: Any, where: str, elements: int, level: int = 0) -> None:
    """A layer's settings. ``elements``: of its part of the state dict, so that no size makes more memory than that."""
    if type(spec) is not dict or set(spec) != {"type", "args", "children"} or level > 3:
        _refuse(where, spec, "is not {type, args, children}")
    kind, args, children = spec["type"], spec["args"], spec["children"]
    entry = LEAVES.get(kind) if type(kind) is str else None
    if entry is None:
        _refuse(where, kind, "is not in the table of layers; import the module that registers it first")
    if type(args) is not dict or not args.keys() <= entry.names or type(children) is not dict \
            or not children.keys() <= set(entry.children):
        _refuse(where, spec, f"has settings that {kind} does not have")
    for value in args.values():
        if type(value) is list:
            _numbers(value, where)
        elif type(value) is str:
            _word(value, where)
        elif type(value) not in PLAIN or (type(value) is int and not -LARGEST <= value <= LARGEST):
            _refuse(where, value, "is no setting")
    if _parameters(args, where) > elements:
        _refuse(where, args, "has sizes that its parameters in the state do not have")
    if kind in DROP_PATH_ARGS and type(args.get(DROP_PATH_ARGS[kind])) not in (int, float):
        _refuse(where, args, "has no rate")
    for name, child in children.items():
        _leaf(child, f"{where} {name}", elements, level + 1)


def _parameters(args: dict[str, Any], where: str) -> int:
    """A bound below the number of elements of the parameters that a layer of these settings makes."""
    sizes: list[Any] = []
    for key in PARAMETER_SIZES & args.keys():
        sizes += args[key] if type(args[key]) is list else [args[key]]
    if "in_channels" in args and "kernel_size" in args:
        sizes += args["kernel_size"] if type(args["kernel_size"]) is list else [args["kernel_size"]]
    groups = args.get("groups", 1)
    if not all(type(size) is int and size >= 0 for size in (*sizes, groups)):
        _refuse(where, args, "has a size that is none")
    return math.prod(sizes) // max(groups, 1)


def _numbers(values: list, where: str, level: int = 0) -> None:
    for value in values:
        if type(value) is list and level < 3:
            _numbers(value, where, level + 1)
        elif type(value) not in PLAIN or (type(value) is int and abs(value) > SMALL) or len(values) > SMALL:
            _refuse(where, value, "is no setting")


# --- constants -------------------------------------------------------------------------------------------------------

_DIGITS = np.full(256, 255, np.uint8)
_DIGITS[np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
                      np.uint8)] = np.arange(85)


def _unpacked(key: str, packed: list, size: int) -> np.ndarray:
    dtype, shape, data = packed
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(_b85decode(data.encode("ascii")), size + 1)
    except (ValueError, zlib.error) as error:
        raise Refused(f"constant '{key}' cannot be unpacked ({' '.join(str(error).split())[:100]})") from None
    if len(raw) != size or not unpacker.eof:
        raise Refused(f"constant '{key}' does not fit its shape {shape}")
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _b85decode(text: bytes) -> bytes:
    """As base64.b85decode, which takes seconds for what a file may hold."""
    missing = -len(text) % 5
    digits = _DIGITS[np.frombuffer(text + b"~" * missing, np.uint8)]
    if digits.max(initial=0) > 84:
        raise ValueError("a sign that base 85 does not have")
    words = digits.reshape(-1, 5).astype(np.uint64) @ np.array([85**4, 85**3, 85**2, 85, 1], np.uint64)
    if words.max(initial=0) >= 1 << 32:
        raise ValueError("a number that base 85 does not have")
    return words.astype(">u4").tobytes()[:len(words) * 4 - missing]


# --- info ------------------------------------------------------------------------------------------------------------

def _plain(value: Any, where: str, level: int = 0) -> None:
    """What is only shown or compared: texts, numbers, lists and objects of these."""
    if type(value) is str:
        _printable(value, where)
    elif type(value) in (list, dict):
        _ensure(level < 4, where, "...", "is nested too deep")
        for item in value.values() if type(value) is dict else value:
            _plain(item, where, level + 1)
        for key in value if type(value) is dict else ():
            _printable(key, where)
    elif type(value) not in PLAIN:
        _refuse(where, value, "is no value")


def _image(value: Any, where: str) -> None:
    good = type(value) is list and len(value) == 3 and all(type(size) is int and 0 < size <= SMALL for size in value)
    _ensure(good, where, value, "is no [channels, height, width]")


def _path(value: Any, where: str) -> None:
    _ensure(value == "" or (type(value) is str and _PATH.fullmatch(value)), where, value, "is no name of a layer")


def _paths(value: Any, where: str) -> None:
    for path in value if type(value) is list else [value]:
        _path(path, where)


def _word(value: Any, where: str) -> None:
    _ensure(type(value) is str and _WORD.fullmatch(value) and ".." not in value, where, value, "is no word")


def _matching(pattern: re.Pattern, what: str) -> Callable:
    def check(value: Any, where: str) -> None:
        good = type(value) is str and (not value or (pattern.fullmatch(value) and ".." not in value))
        _ensure(good, where, value, f"is no {what}")

    return check


def _three(value: Any, where: str) -> None:
    _ensure(type(value) is list and len(value) == 3 and all(type(one) in (int, float) for one in value), where, value,
            "are not three numbers")


def _number(value: Any, where: str) -> None:
    _ensure(type(value) in (int, float) and 0 <= value <= LARGEST, where, value, "is no number")


def _flag(value: Any, where: str) -> None:
    _ensure(type(value) is bool, where, value, "is not true or false")


def _published(value: Any, where: str) -> None:
    """What is said of weights: where they are, how images are prepared; see backbones.manifest.PretrainedCfg."""
    _ensure(type(value) is dict and set(value) <= {"common", "tags"}, where, value, "is not {common, tags}")
    tags = _object(value.get("tags", {}), where)
    for tag, fields in (*tags.items(), ("", value.get("common", {}))):
        _word(tag, where)
        for key, item in _object(fields or {}, where).items():
            _ensure(key in _PUBLISHED, where, key, "is no field of weights")
            _PUBLISHED[key](item, f"{where} {key}")


_PUBLISHED: dict[str, Callable[[Any, str], object]] = {
    "source": _word, "hf_hub_id": _matching(_HUB, "name on the hub"), "url": _matching(_URL, "address"),
    "sha256": _matching(_SHA256, "sha256 in hexadecimal digits"),
    "license": _printable, "interpolation": _word, "input_size": _image,
    "test_input_size": _image, "mean": _three, "std": _three, "crop_pct": _number, "test_crop_pct": _number,
    "num_classes": _number, "first_conv": _paths, "classifier": _paths}
_INFO: dict[str, Callable[[Any, str], None]] = {
    "input_size": _image, "fixed": _flag, "library": _word, "version": _word, "first_conv": _paths,
    "classifier": _paths, "published": _published}
