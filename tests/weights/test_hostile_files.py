# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Small weight files that would cost endless time or memory, or write on the terminal: refused in one line."""
import collections
import contextlib
import io
import json
import pickle
import pickletools
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.paths import REPO

from ppdet_ext import limits
from ppdet_ext.errors import UserError, printable
from ppdet_ext.limits import TooMuch
from ppdet_ext.weights import metadata, pickle_cost, readers, safe_pickle, source
from ppdet_ext.weights.load_report import LoadReport, Mismatch
from ppdet_ext.weights.unwrap import groups

BASE = np.arange(24, dtype=np.float32)


def shared_lists(make=lambda inner: [inner, inner]):
    """What unfolds to 2**40 values."""
    value = make("x")
    for _ in range(40):
        value = make(value)
    return value


def nested(make, depth=150):
    value = make("x")
    for _ in range(depth):
        value = make(value)
    return value


def chain():
    """Lists side by side, each of which holds the one before it: seen in this order none lies deep."""
    links = [[]]
    for _ in range(150):
        links.append([links[-1]])
    return links


def opcodes(*parts):
    """A pickle by hand: names of opcodes, and bytes as they are."""
    codes = {code.name: code.code.encode("latin1") for code in pickletools.opcodes}
    return b"\x80\x02" + b"".join(codes[part] if isinstance(part, str) else part for part in parts) + b"."


def calls(name, argument, count):
    """A list of ``count`` results of a global called with one and the same argument."""
    module, _, attribute = name.rpartition(".")
    start = [f"c{module}\n{attribute}\n".encode(), "BINPUT", b"\0", "POP", *argument, "TUPLE1", "BINPUT", b"\1", "POP"]
    return opcodes(*start, "EMPTY_LIST", "MARK", *["BINGET", b"\0", "BINGET", b"\1", "REDUCE"] * count, "APPENDS")


LONG_LIST = ["EMPTY_LIST", "MARK", *["NONE"] * 3000, "APPENDS"]
TUPLES_40 = ["EMPTY_TUPLE", *["DUP", "TUPLE2"] * 40]


class Reduced:
    """Pickled as a call of what is allowed."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def shared_bytes():
    """A thousand arrays, all of the same megabyte."""
    data = bytes(1 << 20)
    one = (np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"))
    return {f"w{number}": Reduced(*one, (1, (1 << 18,), np.dtype("f4"), False, data)) for number in range(1000)}


PICKLES = {
    "shared lists": (pickle.dumps(shared_lists()), "unfold to more than 1000000 values"),
    "shared dictionaries": (pickle.dumps(shared_lists(lambda inner: {"a": inner, "b": inner})), "unfold to more"),
    "shared tuples as a key": (opcodes("EMPTY_DICT", *TUPLES_40, "NONE", "SETITEM"), "unfold to more"),
    "shared tuples in a set": (b"\x80\x04\x8f(" + opcodes(*TUPLES_40)[2:-1] + b"\x90.", "unfold to more"),
    "a deep tuple": (opcodes("NONE", *["TUPLE1"] * 200), "tuples lie more than 100 deep"),
    "a deep tuple by calls": (calls("builtins.tuple", ["EMPTY_LIST", "EMPTY_TUPLE", "APPEND"], 1), "tuples of tuples"),
    "deep lists": (pickle.dumps(nested(lambda inner: [inner])), "more than 100 deep"),
    "deep dictionaries": (pickle.dumps(nested(lambda inner: {"model": inner})), "more than 100 deep"),
    "a chain of lists, its end first": (pickle.dumps(chain()), "more than 100 deep"),
    "a list in itself": (opcodes("EMPTY_LIST", "DUP", "APPEND"), "deep in each other"),
    "a million lists": (opcodes(*["EMPTY_LIST"] * 1_000_001), "made of more than 1000000 values"),
    "an entry of the memo": (opcodes("NONE", "LONG_BINPUT", b"\xff\xff\xff\x7f"), "number 2147483647"),
    "a list copied": (calls("builtins.tuple", LONG_LIST, 500), "copies the same values"),
    "a dictionary copied": (calls("collections.OrderedDict", ["EMPTY_DICT", "MARK", *(
        part for number in range(3000) for part in ("BININT2", struct.pack("<H", number), "NONE")), "SETITEMS"], 500),
        "copies the same values"),
    "arrays of the same bytes": (pickle.dumps(shared_bytes()), "tensors would take 68157440 bytes"),
    "a number of many digits": (opcodes("LONG", b"9" * 5000 + b"L\n"), "number of 5002 digits"),
    "an extension": (opcodes("EXT1", b"\1"), "unregistered extension code 1"),
}


@contextlib.contextmanager
def tracing():
    """What Python allocates inside stays below 150 MB."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_cost_too_much(tmp_path, name):
    content, words = PICKLES[name]
    path = tmp_path / "x.pdparams"
    path.write_bytes(content)
    with tracing(), pytest.raises(UserError, match=f"x.pdparams.*{words}") as error:
        source.read(path)
    assert str(error.value).isprintable()


def test_text_copied_again_and_again(tmp_path):
    text = "x" * 200_000
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps([Reduced(__import__("_codecs").encode, (text, "latin1")) for _ in range(20)]))
    with pytest.raises(TooMuch, match="copies the same values again and again"):
        source.read(path)


def torch_zip(path, pickled, records=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in records:
            archive.writestr(f"archive/data/{key}", data)


def tensor_opcodes(shape, strides, name=b"FloatStorage", function=b"_rebuild_tensor_v2", numel=24):
    """torch's own form of one tensor over the storage '0'."""
    def numbers(values):
        return ["MARK", *(part for value in values for part in ("LONG1", b"\x06" + value.to_bytes(6, "little"))),
                "TUPLE"]

    def text(value):
        return ["BINUNICODE", struct.pack("<I", len(value)) + value]
    return [b"ctorch._utils\n" + function + b"\n", "MARK", "MARK", *text(b"storage"), b"ctorch\n" + name + b"\n",
            *text(b"0"), *text(b"cpu"), "BININT", struct.pack("<i", numel), "TUPLE", "BINPERSID", "BININT1", b"\0",
            *numbers(shape), *numbers(strides), "NEWFALSE", "EMPTY_DICT", "TUPLE", "REDUCE"]


def state_of(tensor, count=1):
    parts = ["EMPTY_DICT", *tensor, "BINPUT", b"\7", "POP", "MARK"]
    for number in range(count):
        name = f"w{number}".encode()
        parts += ["BINUNICODE", struct.pack("<I", len(name)) + name, "BINGET", b"\7"]
    return opcodes(*parts, "SETITEMS")


@pytest.mark.parametrize("pickled, bytes_told", [
    (state_of(tensor_opcodes((1 << 20, 1 << 20), (0, 0))), 1 << 42),
    (state_of(tensor_opcodes((1 << 20, 1 << 10), (0, 0), b"BFloat16Storage")), 1 << 32),
    (state_of(tensor_opcodes((1 << 12, 1 << 10), (0, 1), numel=1 << 10), 100), 100 << 24),
], ids=["stride 0", "bfloat16", "one tensor under many names"])
def test_tensors_far_larger_than_their_file(tmp_path, pickled, bytes_told):
    path = tmp_path / "x.pth"
    torch_zip(path, pickled, [("0", bytes(4096))])
    with pytest.raises(TooMuch, match=f"x.pth.*tensors would take {bytes_told} bytes or more, over {8 * 8 << 20}"):
        source.read(path)


def test_expanded_tensors_of_a_usual_size_are_read(tmp_path):
    path = tmp_path / "x.pth"
    torch_zip(path, state_of(tensor_opcodes((1000, 24), (0, 1)), 3), [("0", BASE.tobytes())])
    state = source.read(path).state
    assert set(state) == {"w0", "w1", "w2"} and (state["w1"] == BASE).all() and state["w1"].shape == (1000, 24)


def test_the_limit_of_bytes_grows_with_the_file_and_can_be_set(monkeypatch):
    assert limits.tensor_bytes(1 << 30) == 8 << 30 and limits.tensor_bytes(1) == 64 << 20
    monkeypatch.setenv("PPDET_EXT_MAX_EXPANSION", "100")
    assert limits.tensor_bytes(1 << 30) == 100 << 30


@pytest.mark.parametrize("name", ["limits.md", "limits_cn.md"])
def test_the_documents_have_every_limit(name):
    text = (REPO / "docs" / name).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(PPDET_EXT_MAX_\w+)` \| (\d+) \|", text, re.MULTILINE)
    assert rows == [(limits.variable(key), str(row.default)) for key, row in limits.LIMITS.items()]


@pytest.mark.parametrize("text", ["many", "-1", "0", "1.5", "9" * 30, "\u0663"])
def test_a_limit_that_is_no_number(monkeypatch, text):
    monkeypatch.setenv("PPDET_EXT_MAX_DEPTH", text)
    with pytest.raises(UserError, match="PPDET_EXT_MAX_DEPTH is .*whole number above 0"):
        limits.limit("DEPTH")


def test_what_is_refused_can_be_allowed_by_its_variable(tmp_path, monkeypatch):
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"w": BASE, "deep": nested(lambda inner: [inner])}))
    with pytest.raises(TooMuch, match="set PPDET_EXT_MAX_DEPTH above 100"):
        source.read(path)
    monkeypatch.setenv("PPDET_EXT_MAX_DEPTH", "200")
    np.testing.assert_array_equal(source.read(path).state["w"], BASE)


def test_a_compressed_file_that_unpacks_to_gigabytes(tmp_path, monkeypatch):
    """Neither we nor torch, which is asked for what we do not know, unpack any of it."""
    path, zeros = tmp_path / "x.pth", bytes(70 << 20)
    for pickled in (state_of(tensor_opcodes((24,), (1,))), pickle.dumps(Reduced(collections.deque, ()))):
        torch_zip(path, pickled, [("0", zeros)], zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 1 << 20
        monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it is unpacked"))
        with pytest.raises(TooMuch, match="unpacks to 734.* bytes, more than 67108864 for a file of its size"):
            source.read(path)
        monkeypatch.undo()


def test_a_compressed_file_of_a_usual_size_is_read(tmp_path):
    path = tmp_path / "x.pth"
    torch_zip(path, state_of(tensor_opcodes((24,), (1,))), [("0", BASE.tobytes())], zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(source.read(path).state["w0"], BASE)


@pytest.mark.torch
def test_what_torch_had_to_read_is_counted_too(tmp_path):
    torch = pytest.importorskip("torch", reason="writes and reads the file")
    path = tmp_path / "x.pth"
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 20), "odd": torch.device("cpu")}, path)
    with pytest.raises(TooMuch, match="x.pth.*tensors would take"):
        source.read(path)
    torch.save({"w": torch.ones(3), "list": shared_lists(), "odd": torch.device("cpu")}, path)
    with pytest.raises(TooMuch, match="x.pth.*unfold to more"):
        source.read(path)


@pytest.mark.parametrize("header, words", [
    ({f"w{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(2)}, "no tensors|more"),
    ({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, "x.safetensors"),
    ({"w": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}, "x.safetensors"),
    ({"w": {"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]}}, "x.safetensors"),
    ({"w": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, "x.safetensors"),
    ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [1 << 50, (1 << 50) + 4]}}, "x.safetensors"),
], ids=["many", "shape", "overflow", "empty", "dimensions", "offsets"])
def test_safetensors_tables_that_lie(tmp_path, monkeypatch, header, words):
    monkeypatch.setenv("PPDET_EXT_MAX_VALUES", "8" if len(header) > 1 else "1000")
    path, text = tmp_path / "x.safetensors", json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4 * (len(header) == 1)))
    with pytest.raises(UserError, match=words) as error:
        source.read(path)
    assert str(error.value).isprintable()


def pickles_of_others():
    """Whatever pickle writes is gone through to its last byte."""
    values = {"none": None, "numbers": [1, -1, 1 << 70, 1.5, True], "text": "\u00e9" * 300, "bytes": b"x" * 300,
              "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "set": {1, 2}, "frozen": frozenset((1, 2)),
              "ordered": collections.OrderedDict(a=1), "array": BASE, "scalar": np.float32(1),
              "long": list(range(1500))}
    return [pickle.dumps(values, protocol) for protocol in range(6)]


def test_pickles_of_every_protocol_are_gone_through():
    for content in pickles_of_others():
        file = io.BytesIO(content + b"what follows")
        assert pickle_cost.ensure_cheap(file) == len(content) and file.tell() == 0
        for end in range(0, len(content), 197):
            with pytest.raises((EOFError, ValueError, IndexError, KeyError)):
                pickle_cost.ensure_cheap(io.BytesIO(content[:end]))


def test_what_is_shared_is_made_once():
    array = safe_pickle.Array()
    array.view = BASE
    inner = {"w": array}
    content = safe_pickle.with_arrays({"a": inner, "b": inner, "c": [array]}, 1000)
    assert content["a"] is content["b"] and content["a"]["w"] is content["c"][0]
    with pytest.raises(TooMuch, match="288 bytes or more, over 287"):  # three times 96
        safe_pickle.with_arrays({"a": inner, "b": inner, "c": [array]}, 287)


ESCAPES = "conv\x1b[2J\nerror: all is lost\u202e.weight"


def test_names_are_shown_without_what_moves_a_cursor():
    assert printable("conv1.weight") == "conv1.weight" and printable("\u72d7 a'b") == "\u72d7 a'b"
    assert printable("a\x1b[2J\n\u202e") == r"a\x1b[2J\n\u202e"
    assert len(printable("x" * 1000)) == 200
    assert str(UserError(f"it has {ESCAPES}")).isprintable()
    assert str(UserError("\u6b63\u5e38 text")) == "\u6b63\u5e38 text"


def test_names_out_of_files_are_shown_so(tmp_path, caplog):
    caplog.set_level("INFO")
    report = LoadReport((), (), (ESCAPES,), (Mismatch(ESCAPES, (1,), (2,)),), (ESCAPES,), "net", "file")
    assert all(line.isprintable() for line in str(report).splitlines()) and len(str(report).splitlines()) == 4
    assert groups([ESCAPES]).isprintable()
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({ESCAPES: BASE, "w.zero_point": BASE}))
    with pytest.raises(UserError) as error:
        source.read(path)
    assert str(error.value).isprintable()
    about = {"mean": [0], "std": [1], "license": ESCAPES, "classes": [ESCAPES]}
    metadata.sidecar(path).write_text(metadata.dump(about))
    known = metadata.read(path)
    assert known["license"].isprintable() and known["classes"][0].isprintable() and known["mean"] == [0]


@pytest.mark.parametrize("text", [
    "mean: [0]\nstd: [1]\na0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{9 * f'*a{n - 1},'}]\n" for n in range(1, 9)),
    "mean: [0]\nstd: [1]\n" + "#" * (1 << 20),
    "mean: [0]\nstd: [1]\nx: " + "[" * 5000,
    "mean: [x]\nstd: [1]\n",
], ids=["aliases", "large", "deep", "no number"])
def test_metadata_that_costs_too_much_is_not_read(tmp_path, text, caplog):
    path = tmp_path / "x.pdparams"
    metadata.sidecar(path).write_text(text)
    assert metadata.read(path) == {} and "is not used" in caplog.text


def test_a_reader_is_not_asked_twice(tmp_path, monkeypatch):
    """A refusal never reaches torch."""
    path = tmp_path / "x.pth"
    torch_zip(path, pickle.dumps(shared_lists(), 2))
    monkeypatch.setattr(readers, "need", lambda *_: pytest.fail("torch is asked"))
    with pytest.raises(TooMuch, match="unfold to more"):
        source.read(path)
