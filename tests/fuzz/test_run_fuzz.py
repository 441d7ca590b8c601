# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Configs changed in one place and really run: training, evaluation, inference and export end well or in one line."""
import contextlib
import io

import pytest
from hypothesis import strategies as st
from support import mutations
from support.paths import REPO

from ppdet_ext.cli import eval as evaluate
from ppdet_ext.cli import export_model, infer, train
from ppdet_ext.errors import UserError

# settings that the tiny config leaves at their defaults
MORE = {
    ("TimmBackbone",): {"out_indices": [2, 3, 4], "lr_mult_list": [1.0] * 4, "freeze_at": -1, "drop_path_rate": 0.0,
                        "norm_decay": 0.0, "in_chans": 3, "adapter": "none", "size": "error", "freeze_norm": False},
    ("HybridEncoder",): {"act": "silu", "pe_temperature": 10000, "feat_strides": [8, 16, 32]},
    ("RTDETRTransformer",): {"num_decoder_points": 4, "eval_idx": -1, "eps": 0.01, "box_head": "MLPBoxHead",
                             "cross_attn_sampling_method": "default", "query_pos_head_inv_sig": False},
    (): {"amp": False, "amp_level": "O1", "amp_dtype": "float16", "accumulate_steps": 1, "seed": 0, "cycle_epoch": -1,
         "init_loss_scaling": 1024, "classwise": False, "map_type": "11point", "epoch": 1},
    ("TrainReader",): {"mixup_epoch": -1, "mosaic_epoch": -1,
                       "transform_schedulers": [{"RandomFlip": {"stop_epoch": 5}}],
                       "sample_transforms": [
                           {"Decode": {}}, {"RandomDistort": {"prob": 0.8, "hue": [-18, 18, 0.5], "count": 4}},
                           {"RandomExpand": {"ratio": 1.5, "prob": 0.9, "fill_value": [1., 2., 3.]}},
                           {"RandomCrop": {"prob": 0.8, "aspect_ratio": [.5, 2.], "scaling": [.3, 1.],
                                           "thresholds": [0., .1], "num_attempts": 5}},
                           {"RandomFlip": {"prob": .5}}]},
}
# what a run does not read
UNREAD = {"train": ("TestDataset",), "evaluation": ("TrainReader", "TrainDataset", "LearningRate", "OptimizerBuilder"),
          "inference": ("TrainReader", "EvalReader", "TrainDataset", "EvalDataset", "LearningRate", "OptimizerBuilder")}
UNREAD["export"] = UNREAD["inference"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small_digits):
    """A config that names most settings of the tiny detector, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp("runs")
    values = mutations.tiny_values(folder, REPO / "configs", small_digits)
    for place, more in MORE.items():
        mutations.at(values, place).update(more)
    path = mutations.write(folder / "good.yml", values)
    train.main(["-c", str(path), "--eval"])
    return values, folder / "output/good/model_final.pdparams", small_digits / "val/000000.jpg"


def run(kind, config, weights, picture, folder):
    """One run of a tool, in this process and without its output."""
    given = ["-c", str(config), "-o", f"weights={weights}"]
    calls = {"train": lambda: train.main([*given[:2], "--eval"]), "evaluation": lambda: evaluate.main(given),
             "inference": lambda: infer.main([*given, f"--infer_img={picture}", f"--output_dir={folder / 'found'}"]),
             "export": lambda: export_model.main([*given, f"--output_dir={folder / 'exported'}"])}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        calls[kind]()


def of(kind):
    """The check of one tool."""
    def check(whole, tmp_path, monkeypatch, data):
        values, weights, picture = whole
        monkeypatch.chdir(tmp_path)  # bbox.json goes to the working directory
        found = [place for place in mutations.places(values) if place[0] not in UNREAD[kind]]
        place = data.draw(st.sampled_from(sorted(found, key=str)), label="place")
        changed = mutations.put(values, place, data.draw(mutations.VALUES, label="value"))
        message = ""
        try:
            run(kind, mutations.write(tmp_path / "changed.yml", changed), weights, picture, tmp_path)
        except UserError as error:
            message = str(error)
        assert mutations.is_one_line(message), message
    return check


check_train, check_evaluation, check_inference, check_export = map(of, ("train", "evaluation", "inference", "export"))
test_trainings = mutations.many_cases(200, check_train)
test_evaluations = mutations.many_cases(200, check_evaluation)
test_inferences = mutations.many_cases(200, check_inference)
test_exports = mutations.many_cases(80, check_export)
