# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A data set in Pascal VOC layout through the tools: train with evaluation, evaluate, export, evaluate the export."""
import json
import re

import pytest
from support import data_sets
from support.paths import REPO

VOC = """\
_BASE_: [tiny.yml, {configs}/datasets/voc.yml]
num_classes: 2
validate: true
report: true
epoch: 1
TrainDataset: {{dataset_dir: {root}, anno_path: train.txt}}
EvalDataset: {{dataset_dir: {root}, anno_path: train.txt}}
TestDataset: {{dataset_dir: {root}}}
TrainReader: {{batch_size: 2}}
"""


def pictures_of_evaluation(log):
    return int(re.findall("Total sample number: ([0-9]+)", log.text)[-1])


@pytest.mark.slow
def test_a_voc_set_through_the_tools(tiny_config, tmp_path, tool, monkeypatch, capsys, log):
    log.set_level("INFO", "ppdet.engine")
    monkeypatch.chdir(tmp_path)
    root = data_sets.write_voc(tmp_path / "set", boxes=((5, 6, 15, 18), (20, 9, 38, 28)))
    (root / "xml/2.xml").write_text(re.sub("<object>.*</object>", "", (root / "xml/2.xml").read_text()))
    (root / "train.txt").write_text((root / "train.txt").read_text(), encoding="utf-8-sig")
    (tmp_path / "own.yml").write_text(VOC.format(configs=REPO / "configs", root=root))
    tool("train").main(["-c", "own.yml"])
    assert pictures_of_evaluation(log) == 3  # the last has no object, and is not trained on
    facts = json.loads((tmp_path / "output/own/report.json").read_text())
    assert facts["checkpoint"].endswith("output/own/best_model.pdparams") and list(facts["ap"]) == ["AP50"]
    assert (tmp_path / "output/own/predictions.png").is_file() and list(facts["classes"]) == data_sets.NAMES
    assert "4 objects in 3 images" in (tmp_path / "output/own/report.html").read_text(encoding="utf-8")
    log.clear()
    found = tool("eval").main(["-c", "own.yml"])  # takes best_model by itself
    assert pictures_of_evaluation(log) == 3
    assert "4 objects in 3 images" in (tmp_path / "eval_report/report.html").read_text(encoding="utf-8")
    folder = tool("export_model").main(["-c", "own.yml"])
    exported = tool("eval").main(["-c", "own.yml", "--model_dir", str(folder)])
    assert list(found) == ["AP50"] and 0 <= found["AP50"] <= 1
    assert found["AP50"] == pytest.approx(facts["ap"]["AP50"], abs=1e-6)
    assert exported["AP50"] == pytest.approx(found["AP50"], abs=1e-4)
    assert "next: python tools/deploy_infer.py" in capsys.readouterr().out
