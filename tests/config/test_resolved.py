# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The resolved config as text: what files and options name, as it is now, without passwords and data."""
import types

import yaml
from support import data_sets

from ppdet_ext.config import resolved


def test_files_and_options_are_there_and_nothing_else(tmp_path):
    base = data_sets.coco_values(tmp_path, epoch=3, save_dir="https://me:secret@host/x")
    (tmp_path / "base.yml").write_text(yaml.safe_dump(base))
    options = ["epoch=5", "LearningRate.schedulers=[!LinearWarmup {steps: 2}]"]
    cfg = data_sets.load(tmp_path, {"_BASE_": "base.yml", "worker_num": 2}, options)
    cfg["command"] = {"config": "config.yml"}
    text = resolved.as_yaml(cfg)
    values = yaml.safe_load(text)
    assert values["epoch"] == 5 and values["worker_num"] == 2 and values["num_classes"] == 2
    assert values["LearningRate"]["schedulers"][0]["!LinearWarmup"]["steps"] == 2
    assert values["EvalReader"]["sample_transforms"][0] == {"Decode": {}}
    assert "secret" not in text and "https://***@host" in text
    assert set(values) == {*base, "worker_num", "LearningRate", "filename"}


def test_objects_are_their_settings_and_long_lists_are_cut():
    class Data:
        def __init__(self, folder="x", sizes=()):
            self.folder, self.sizes, self.roidbs = folder, list(range(3000)), [object()]

    given = Data()
    values = yaml.safe_load(resolved.as_yaml({"a": given, "b": types.SimpleNamespace(c=1), "d": [[[[{"e": 1}]]]]}))
    assert values["a"]["!Data"]["folder"] == "x" and set(values["a"]["!Data"]) == {"folder", "sizes"}
    assert len(values["a"]["!Data"]["sizes"]) == resolved.LONGEST + 1 and values["d"] == [[[[{"e": 1}]]]]
    deep = []
    deep.append(deep)
    assert "..." in resolved.as_yaml({"a": deep})
