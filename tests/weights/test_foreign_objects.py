# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Whole networks and what lies beside weights in torch files: tensors are taken, nothing of the file's is run."""
import argparse
import functools
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.limits import TooMuch
from ppdet_ext.weights import foreign_objects, readers, source, unwrap


class Traps:
    """What a network's class does when it is unpickled, counted."""
    sprung = 0


def small_network(torch):
    """Two levels, a buffer that is saved and one that is not, a shared weight, things beside the tensors."""
    class Block(torch.nn.Module):
        def __new__(cls, *args, **kwargs):
            Traps.sprung += 1
            return super().__new__(cls)

        def __setstate__(self, state):
            Traps.sprung += 1
            super().__setstate__(state)

        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 1)
            self.norm = torch.nn.BatchNorm2d(4)
            self.tied = torch.nn.ModuleList([self.conv])
            self.register_buffer("table", torch.arange(5.))
            self.register_buffer("mask", torch.zeros(3), persistent=False)
            self.scale = torch.nn.Parameter(torch.rand(4))
            self.register_parameter("none", None)
            self.make = functools.partial(torch.nn.Linear, 3)
            self.act, self.path, self.kind = torch.nn.functional.relu, Path("x"), torch.float32

    Block.__qualname__ = "Block"
    globals()["Block"] = Block
    torch.manual_seed(0)
    net = torch.nn.Sequential(Block(), torch.nn.Sequential(torch.nn.Linear(4, 2)))
    Traps.sprung = 0
    return net


@pytest.mark.torch
@pytest.mark.parametrize("saved_as", [
    lambda net: net, lambda net: {"epoch": 3, "model": net, "ema": None}, lambda net: {"state_dict": {"module": net}}])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_network_gives_its_state_dict(tmp_path, monkeypatch, saved_as, legacy):
    torch = pytest.importorskip("torch", reason="pickles the network")
    net = small_network(torch)
    torch.save(saved_as(net), tmp_path / "whole.pth", _use_new_zipfile_serialization=not legacy)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    found = source.read(tmp_path / "whole.pth").state
    wanted = net.state_dict()
    assert list(found) == list(wanted) and "0.mask" not in found
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value.numpy())
    assert Traps.sprung == 0
    monkeypatch.undo()
    torch.load(tmp_path / "whole.pth", weights_only=False)
    assert Traps.sprung >= 2  # the traps are some


@pytest.mark.torch
def test_what_lies_beside_weights(tmp_path, monkeypatch):
    """Lightning's names, paths in settings, numpy's numbers and random states, optimizers' defaultdicts."""
    torch = pytest.importorskip("torch", reason="saves the files")
    from collections import defaultdict

    class AttributeDict(dict):
        """As Lightning keeps hyper-parameters."""
    AttributeDict.__qualname__ = "AttributeDict"
    globals()["AttributeDict"] = AttributeDict
    state = {"backbone.w": torch.arange(6.)}
    torch.save({"state_dict": state, "hyper_parameters": AttributeDict(lr=1, layers=[1, 2]),
                "args": argparse.Namespace(lr=1, output=Path("runs/1")), "best": np.float64(0.5),
                "rng": np.random.get_state(), "optimizer": {"state": defaultdict(dict, {0: {"step": 1}})},
                "classes": {1, 2}}, tmp_path / "last.ckpt")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    found = source.read(tmp_path / "last.ckpt", names={"w"}).state
    np.testing.assert_array_equal(found["w"], np.arange(6, dtype="float32"))


class Call:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def write(path, value):
    """``value``, or a pickle's bytes, as torch.save's archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", value if isinstance(value, bytes) else pickle.dumps(value, 2))
    return path


@pytest.mark.parametrize("with_torch", [True, False])
def test_a_call_beside_a_network_is_refused(tmp_path, monkeypatch, with_torch):
    if with_torch:
        pytest.importorskip("torch", reason="is asked to read it")
    else:
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
    trap = tmp_path / "owned"
    path = write(tmp_path / "evil.pth", {"state_dict": {"w": 1}, "more": Call(os.mkdir, (str(trap),))})
    with pytest.raises(UserError, match=r"evil.pth.*it calls posix.mkdir" if os.name == "posix" else "it calls"):
        source.read(path)
    assert not trap.exists()
    if with_torch:
        with pytest.raises(UserError, match=r"torch.save\(model.state_dict\(\)") as error:
            source.read(path)
        assert str(error.value).isprintable() and "weights_only" not in str(error.value)


MODULE = {"_parameters": {}, "_buffers": {}, "_modules": {}}


def opcodes(*parts):
    codes = {code.name: code.code.encode("latin1") for code in __import__("pickletools").opcodes}
    return b"\x80\x02" + b"".join(codes[part] if isinstance(part, str) else part for part in parts) + b"."


def new_object(name="mine.Net"):
    module, _, attribute = name.rpartition(".")
    return [f"c{module}\n{attribute}\n".encode(), "EMPTY_TUPLE", "NEWOBJ"]


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


HOSTILE = {
    "a network that holds itself": (
        [*new_object(), "BINPUT", b"\0", "EMPTY_DICT", "MARK", text("_parameters"), "EMPTY_DICT", text("_buffers"),
         "EMPTY_DICT", text("_modules"), "EMPTY_DICT", text("again"), "BINGET", b"\0", "SETITEM", "SETITEMS", "BUILD"],
        TooMuch, "deep in each other"),
    "more classes than any network has": (
        ["MARK", *[part for number in range(3000) for part in new_object(f"m.C{number}")], "LIST"],
        TooMuch, "more than 2000 classes"),
    "the state of a class": ([b"cmine\nNet\n", "EMPTY_DICT", "BUILD"], UserError, "missing 1 required"),
    "a class that is called by an old opcode": (
        ["MARK", "NONE", b"iposix\nmkdir\n"], UserError, "it calls posix.mkdir"),
    "a class that is made with arguments by one": (
        ["MARK", b"cposix\nmkdir\n", "NONE", "OBJ"], UserError, "it calls posix.mkdir"),
    "an attribute of a stand-in": ([b"cppdet_ext.weights.foreign_objects\nForeign.__init__\n", "EMPTY_TUPLE", "REDUCE"],
                                   UserError, "it calls"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_objects(tmp_path, monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    parts, kind, words = HOSTILE[name]
    path = write(tmp_path / "x.pth", opcodes(*parts))
    with pytest.raises(kind, match=f"x.pth.*{words}") as error:
        source.read(path)
    assert str(error.value).isprintable()


def test_modules_that_share_one_are_counted_each_time(tmp_path, monkeypatch):
    """Forty levels, each with the next one twice: 2**40 names."""
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    inner = {**MODULE, "_parameters": {"w": 1}}
    for _ in range(40):
        inner = {**MODULE, "_modules": {"a": inner, "b": inner}}
    with pytest.raises(TooMuch, match="unfold to more than"):
        source.read(write(tmp_path / "x.pth", inner))


def test_stand_ins_keep_nothing_that_no_module_has():
    made = foreign_objects.Classes()("mine.Thing")
    thing = made.__new__(made, 1, 2)
    thing["key"] = 1
    thing.append(1)
    thing.__setstate__({"_parameters": 1, "secret": 2})
    assert not thing and not hasattr(thing, "__dict__")
    assert foreign_objects.Classes()("a.B") is not made


@pytest.mark.torch
def test_torchscript_names_the_command(tmp_path):
    torch = pytest.importorskip("torch", reason="writes the program")
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(tmp_path / "net.pt"))
    with pytest.raises(UserError, match=r"net.pt' is a TorchScript program.*convert_weights.py onnx .*net.pt -o"):
        readers.read_file(tmp_path / "net.pt")


@pytest.mark.parametrize("content, words", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4665d\n", "git lfs pull"),
    (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "a web page"),
    (b'{"message": "no"}', "JSON text"), (b"", "empty")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pdparams"])
def test_what_came_in_place_of_a_file(tmp_path, content, words, suffix):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(UserError, match=f"x{suffix}.*{words}.*get it again"):
        readers.read_file(tmp_path / f"x{suffix}")


def test_a_list_of_pairs():
    pairs = [["w", np.ones(2)], ["b", np.zeros(1)]]
    assert list(unwrap.unwrap(pairs)) == list(unwrap.unwrap({"state_dict": pairs})) == ["w", "b"]
