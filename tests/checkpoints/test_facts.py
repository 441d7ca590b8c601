# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a checkpoint belongs to is read back as written, and nothing else; class names are compared by their numbers."""
import dataclasses
import json
import types

import pytest
from safetensors.numpy import save_file

from ppdet_ext.checkpoints import checkpoint_files, facts, stamp
from ppdet_ext.checkpoints.facts import Facts, differ
from ppdet_ext.errors import UserError

FULL = Facts(("a", "b"), (7, 3), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (64, 32), 12, "train.json 0123", {"epoch": "3"},
             backbone="resnet18", swaps=({"file": "a.pth", "sha256": "ab", "old_backbone": "", "new_backbone": "x"},))


def stamped(tmp_path, known):
    path = tmp_path / "m.pdparams"
    path.write_bytes(b"weights")
    stamp.write(path, stamp.Stamp("aa", 1, 2, (".pdparams",), known))
    return path


def test_facts_come_back(tmp_path):
    path = stamped(tmp_path, FULL)
    assert stamp.read(path).facts == FULL and not Facts()
    assert checkpoint_files.locate(path).meta["classes"] == ["a", "b"]
    assert Facts.of(checkpoint_files.locate(path).meta).swaps == FULL.swaps


@pytest.mark.parametrize("backbone, name", [
    (None, ""), (types.SimpleNamespace(full_arch="torchvision/resnet50", depth=3), "torchvision/resnet50"),
    (types.SimpleNamespace(depth=18), "SimpleNamespace-18"), (types.SimpleNamespace(), "SimpleNamespace")])
def test_backbones_have_names(backbone, name):
    assert facts.backbone_name(backbone) == name


def test_many_classes_fit_and_too_many_cost_only_themselves(tmp_path):
    names = tuple(f"class number {number}" for number in range(20_000))
    assert stamp.read(stamped(tmp_path, Facts(names))).facts.classes == names
    found = stamp.read(stamped(tmp_path, Facts(tuple(name * 5 for name in names))))
    assert found.run == "aa" and not found.facts


@pytest.mark.parametrize("values", [
    None, [], "x", {"classes": "ab"}, {"classes": [], "category_ids": [1]}, {"mean": [1, 2, 3]}, {"size": ["a"]},
    {"mean": [0, 0, 0], "std": [1, 0, 1]}, {"mean": [0, 0, float("nan")], "std": [1, 1, 1]}, {"size": [10 ** 400]},
    {"steps_per_epoch": -1}, {"steps_per_epoch": True}, {"data": 5}, {"settings": [1]}, {"backbone": 3},
    {"swaps": "ab"}, {"swaps": [1]}])
def test_what_is_no_fact_is_not_known(values):
    assert Facts.of(values) == Facts()


def test_texts_of_a_file_can_be_printed_and_are_no_paths(tmp_path):
    path = stamped(tmp_path, Facts(data="\x1b[2J", settings={"a\n": "b\r"}))
    found = stamp.read(path).facts
    assert found.data == "\\x1b[2J" and found.settings == {"a\\n": "b\\r"}
    stamp.write(path, stamp.Stamp("../../x", 1, 2, ("/../../etc/passwd", ".pdopt")))
    assert stamp.read(path).run == "______x" and stamp.read(path).files == (".pdopt",)


def test_numbers_of_classes_decide():
    assert differ(["a", "b"], ["a", "b"]) is None and differ([], ["a"]) is None and differ(["LABEL_0"], ["a"]) is None
    moved = differ(["a", "b", "c"], ["c", "b", "a"])
    assert moved.moved and "'c' is class 0, but class 2 of the checkpoint (its classes: a, b, c)" in moved.text
    assert differ(["a", "b", "c"], ["a", "c"]).moved
    renamed = differ(["a", "b"], ["a", "B"])
    assert not renamed.moved and "called a, B, but a, b in the checkpoint" in renamed.text


def hub_folder(tmp_path, labels):
    save_file({}, str(tmp_path / checkpoint_files.HF_WEIGHTS))
    (tmp_path / checkpoint_files.HF_CONFIG).write_text(json.dumps({"id2label": labels}))
    return tmp_path


def test_labels_of_a_hub_are_in_the_order_of_their_numbers(tmp_path):
    names = {str(number): f"n{number}" for number in range(12)}
    folder = hub_folder(tmp_path, dict(sorted(names.items())))
    assert checkpoint_files.locate(folder).meta["classes"] == list(names.values())


@pytest.mark.parametrize("labels", [["a"], {"0": "a", "2": "b"}, {"a": "a"}, {"0": 1}, {"0": "a", "00": "b"}, 5])
def test_labels_without_their_numbers_are_refused(tmp_path, labels):
    with pytest.raises(UserError, match="id2label is not an object of class names by number, from '0' on"):
        checkpoint_files.locate(hub_folder(tmp_path, labels))


def test_every_fact_has_a_reader():
    assert set(facts._READ) == {one.name for one in dataclasses.fields(Facts)}
