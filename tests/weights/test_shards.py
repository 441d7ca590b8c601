# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights in several files: read through their index, whole or not at all."""
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ppdet_ext.checkpoints import checkpoint_files
from ppdet_ext.errors import UserError
from ppdet_ext.weights import readers, source

INDEX = "model.safetensors.index.json"
PARTS = {"model-00001-of-00002.safetensors": {"a": np.arange(4, dtype="float32"), "b": np.ones((2, 3), "float32")},
         "model-00002-of-00002.safetensors": {"c": np.zeros(5, "float32")}}


@pytest.fixture
def folder(tmp_path):
    for name, tensors in PARTS.items():
        save_file(tensors, str(tmp_path / name))
    write_index(tmp_path, {tensor: name for name, tensors in PARTS.items() for tensor in tensors})
    return tmp_path


def write_index(folder, weight_map):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))


@pytest.mark.parametrize("spec", ["{}", "{}/" + INDEX, "local-dir:{}"])
@pytest.mark.parametrize("read", [source.read, checkpoint_files.read])
def test_all_tensors_of_all_files(folder, spec, read):
    found = read(spec.format(folder))
    assert found.framework == "torch"
    wanted = {name: value for tensors in PARTS.values() for name, value in tensors.items()}
    assert set(found.state) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found.state[name], value)


def test_what_is_said_of_them_is_read(folder):
    (folder / "config.json").write_text(json.dumps({"architecture": "net.a1", "mean": [0.1] * 3, "std": [0.2] * 3}))
    assert source.locate_spec(folder).meta["mean"] == [0.1] * 3


def test_one_of_several_names_the_index(folder):
    with pytest.raises(UserError, match=f"one of 2 files.*give '.*{INDEX}'"):
        source.read(folder / "model-00001-of-00002.safetensors")
    (folder / INDEX).unlink()
    with pytest.raises(UserError, match=f"one of 2 files.*give their index, {INDEX}"):
        source.read(folder / "model-00001-of-00002.safetensors")


def test_the_digest_is_of_all_files(folder):
    """The cache of converted weights is named after it."""
    before = readers.digest(folder / INDEX)
    assert before == source.read(folder).sha256 == readers.digest(folder / INDEX)
    save_file({"c": np.ones(5, "float32")}, str(folder / "model-00002-of-00002.safetensors"))
    assert readers.digest(folder / INDEX) != before


LAST = "model-00002-of-00002.safetensors"
WRONG = {
    "a file outside": ({"a": "../model.safetensors"}, "no weight file of its own folder"),
    "a path": ({"a": "/etc/model.safetensors"}, "no weight file of its own folder"),
    "another system's path": ({"a": "..\\model.safetensors"}, "no weight file of its own folder"),
    "another kind of file": ({"a": "x.pdparams"}, "no weight file of its own folder"),
    "itself": ({"a": INDEX}, "no weight file of its own folder"),
    "no names": ({}, "no index of weights"),
    "no text": ({"a": 1}, "no index of weights"),
    "a tensor that is not there": ({"a": LAST}, f"says that a is in '{LAST}', which does not hold it"),
    "a file that is not there": ({"a": "x.safetensors", "c": LAST}, "2 files, of which 1 are not there: get x.safe"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_index(folder, name):
    weight_map, words = WRONG[name]
    write_index(folder, weight_map)
    with pytest.raises(UserError, match=words) as error:
        source.read(folder)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("content", ["[", "[]", "[" * 5000, '"x"'])
def test_an_index_that_is_no_json_object(folder, content):
    (folder / INDEX).write_text(content)
    with pytest.raises(UserError, match=INDEX):
        source.read(folder)


def test_a_folder_with_several_or_none(tmp_path):
    with pytest.raises(UserError, match="holds none of model.safetensors"):
        source.read(tmp_path)
    save_file({"a": np.ones(1, "float32")}, str(tmp_path / "mine.safetensors"))
    assert list(source.read(tmp_path).state) == ["a"]
    (tmp_path / "other.pth").touch()
    with pytest.raises(UserError, match="several weight files .mine.safetensors, other.pth.*name the one"):
        source.read(tmp_path)
