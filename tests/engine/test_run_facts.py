# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A checkpoint's classes, normalisation and size against a config's; which weights are taken; settings resumed."""
import json
import os
import shutil

import pytest
from support.paths import REPO
from support.tiny import TINY
from support.trainers import trainer_of

from ppdet_ext import cli
from ppdet_ext.checkpoints import stamp
from ppdet_ext.cli import prepare
from ppdet_ext.engine import checkpointer, evaluate, export, resume_state, run_facts
from ppdet_ext.errors import UserError


@pytest.fixture(scope="module")
def made(small_digits, tmp_path_factory):
    """Folder of a checkpoint, 0, with its facts, of a run that ended its first epoch of 2 steps."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.yml").write_text(TINY.format(configs=REPO / "configs", data=small_digits, output=folder))
    trainer = trainer_of(folder / "tiny.yml")
    trainer.lr.step(2)
    weights = trainer.model.state_dict()
    checkpointer.save(folder / "0", weights, trainer.optimizer, 1, weights, "aa", 2,
                      resume_state.collect(trainer, []), trainer.facts)
    return folder


@pytest.fixture
def trained(tiny_config, tmp_path, made, cheap_start):
    """(config, its run's checkpoint)."""
    folder = tmp_path / "output/tiny"
    folder.mkdir(parents=True)
    for suffix in stamp.SUFFIXES:
        shutil.copy(made / f"0{suffix}", folder)
    return tiny_config, folder / "0.pdparams"


def other_names(folder, change):
    """The sample data set's val.json with other categories, beside it."""
    content = json.loads((folder / "annotations/val.json").read_text())
    content["categories"] = change(content["categories"])
    return content["categories"], json.dumps(content)


def other_data(small_digits, tmp_path, section, change):
    """An option that gives ``section`` the sample set with other categories."""
    path = tmp_path / "other.json"
    path.write_text(other_names(small_digits, change)[1])
    return f"{section}.anno_path={path}"


def renamed(categories):
    return [{**one, "name": f"my {one['name']}"} for one in categories]


def test_a_checkpoint_says_what_it_belongs_to(trained):
    found = stamp.read(trained[1]).facts
    assert found.classes[:2] == ("0", "1") and len(found.category_ids) == 10
    assert found.mean == (0.5,) * 3 and found.size == (64, 64) and found.steps_per_epoch == 2
    assert found.data.startswith("train.json ") and found.settings["LearningRate.base_lr"] == "0.001"
    assert "PiecewiseDecay" in found.settings["LearningRate.schedulers"]


def test_classes_in_another_order_are_refused(trained, small_digits, tmp_path, log):
    config, weights = trained
    option = other_data(small_digits, tmp_path, "EvalDataset", lambda categories: categories[::-1])
    with pytest.raises(UserError, match="EvalDataset, for '.*0.pdparams': '9' is class 0, but class 9 of the check"):
        trainer_of(config, [option], "eval").load_weights(weights)
    trainer_of(config, [option, "class_mismatch=warn"], "eval").load_weights(weights)
    assert "CLASS MISMATCH: EvalDataset" in log.text


def test_other_names_are_said(trained, small_digits, tmp_path, log):
    config, weights = trained
    trainer_of(config, [other_data(small_digits, tmp_path, "EvalDataset", renamed)], "eval").load_weights(weights)
    assert "the classes are called my 0, my 1" in log.text


def test_another_normalisation_is_refused_and_another_size_said(trained, log):
    config, weights = trained
    other = ["TestReader.sample_transforms=[Decode: {}, Resize: {target_size: [32, 64], keep_ratio: false}, "
             "NormalizeImage: {mean: [0, 0, 0], std: [1, 1, 1]}, Permute: {}]", "normalization_mismatch=warn"]
    trainer = trainer_of(config, other, "test")
    trainer.load_weights(weights)
    assert "NORMALISATION MISMATCH: TestReader normalises with mean [0, 0, 0]" in log.text
    assert "TestReader resizes pictures to [32, 64]; '" in log.text and "evaluated at [64, 64]" in log.text
    trainer.cfg["normalization_mismatch"] = "error"
    with pytest.raises(UserError, match="TestReader normalises .*0.pdparams' was trained with mean \\[0.5"):
        trainer.load_weights(weights)


def test_pretrained_weights_of_another_normalisation_or_order(trained, small_digits, tmp_path, log):
    config, weights = trained
    option = other_data(small_digits, tmp_path, "TrainDataset", lambda categories: categories[::-1])
    trainer = trainer_of(config, [option])
    trainer.load_weights(weights)
    assert "CLASS MISMATCH: '9' is class 0, but class 9 of the checkpoint" in log.text and "class_map" in log.text
    trainer = trainer_of(config, ["normalization={mean: [0, 0, 0], std: [1, 1, 1]}"])
    with pytest.raises(UserError, match="TrainReader normalises with mean .*0.pdparams' was trained with mean"):
        trainer.load_weights(weights)


@pytest.mark.parametrize("change", [renamed, lambda categories: categories[::-1]])
def test_predictions_and_exports_have_the_checkpoints_names(trained, small_digits, tmp_path, change, log):
    config, weights = trained
    trainer = trainer_of(config, [other_data(small_digits, tmp_path, "TestDataset", change)], "test")
    trainer.load_weights(weights)
    facts = stamp.read(weights).facts
    assert trainer.categories == (dict(enumerate(facts.category_ids)), list(facts.classes))
    assert "the checkpoint's names are used" in log.text
    found = export.infer_config(trainer.cfg, [64, 64], trainer.categories[1])
    assert found["label_list"][:2] == ["0", "1"]
    origin = {"run": "aa", "epoch": 0, "step": 2, "steps_per_epoch": 2, "data": facts.data}
    assert export._origin(trainer.checkpoint) == origin


def test_weights_that_do_not_name_their_classes(trained, log):
    config, weights = trained
    content = weights.read_bytes()
    weights.write_bytes(content[:content.rindex(b"\nppdet_ext {")])
    for suffix in (".pdopt", ".pdema"):
        weights.with_suffix(suffix).unlink()
    trainer = trainer_of(config, [], "test")
    trainer.load_weights(weights)
    assert trainer.categories[1][:2] == ["0", "1"]
    assert "0, 1, 2, 3, 4, ..., as TestDataset says; the checkpoint does not name its classes" in log.text


def test_exported_names_in_another_order_are_refused(trained, small_digits, tmp_path, monkeypatch):
    option = other_data(small_digits, tmp_path, "EvalDataset", lambda categories: categories[::-1])
    cfg = cli.load_cfg(cli.config_parser("").parse_args(["-c", str(trained[0]), "-o", option]), "eval")
    labels = list(stamp.read(trained[1]).facts.classes)
    monkeypatch.setattr(evaluate, "Predictor", lambda *args, **options: type("Predictor", (), {"labels": labels}))
    with pytest.raises(UserError, match="EvalDataset, for 'model': '9' is class 0"):
        evaluate.exported_model(cfg, "model")


# ---------------------------------------------------------------- resuming
def test_another_batch_size_goes_on_at_the_same_epoch(trained, log):
    config, weights = trained
    trainer = trainer_of(config, ["TrainReader.batch_size=1", "snapshot_epoch=1"])
    trainer.resume_weights(weights)
    assert (trainer.start_epoch, trainer.lr.last_epoch) == (1, 8)
    assert trainer.lr.last_lr == pytest.approx(1e-4)  # the milestone is epoch 1
    assert "1 epochs had 2 steps, of this run 8 make one" in log.text
    assert "resumed with another TrainReader.batch_size: 1 (the run had 4)" in log.text


def test_other_settings_and_data_are_said_and_count_at_once(trained, tmp_path, log):
    config, weights = trained
    trainer = trainer_of(config, ["LearningRate.base_lr=0.01", "use_ema=false", "EvalDataset.anno_path=none.json",
                                  "TrainDataset.anno_path=annotations/val.json", "TrainReader.batch_size=2"])
    trainer.resume_weights(weights)
    assert trainer.lr.last_lr == pytest.approx(1e-3) and trainer.lr.last_epoch == 2
    for words in ("another LearningRate.base_lr: 0.01 (the run had 0.001)",
                  "another use_ema: false (the run had true); with use_ema", "other training data: val.json"):
        assert words in log.text


def test_the_same_run_resumes_without_a_word(trained, log):
    config, weights = trained
    trainer_of(config).resume_weights(weights)
    assert "resumed with" not in log.text and "steps, of this run" not in log.text


# ---------------------------------------------------------------- which weights
def config_of(config, *options):
    return cli.load_cfg(cli.config_parser("").parse_args(["-c", str(config), "-o", *options]), "test")


def test_this_runs_weights_come_first(tiny_config, trained, tmp_path, log):
    base, folder = tmp_path / "base.yml", tmp_path / "output/mine"
    base.write_text(tiny_config.read_text() + f"weights: {trained[1]}\n")
    mine = tmp_path / "mine.yml"
    mine.write_text("_BASE_: [base.yml]\nepoch: 1\n")
    away = trained[1].rename(tmp_path / "away")
    with pytest.raises(UserError, match="no '.*mine/best_model.pdparams': train first"):
        prepare.required_weights(config_of(mine))
    away.rename(trained[1])
    assert prepare.required_weights(config_of(mine)) == str(trained[1])
    assert "weights of a _BASE_; there is no '" in log.text
    folder.mkdir()
    for name, age in (("model_final", 7300), ("best_model", 500)):
        shutil.copy(trained[1], folder / f"{name}.pdparams")
        path = folder / f"{name}.pdparams"
        os.utime(path, (path.stat().st_mtime - age,) * 2)
        assert prepare.required_weights(config_of(mine)) == str(path)
    assert "model_final.pdparams', epoch 0 (step 2, run aa), written 2 hours ago (this config's run" in log.text
    assert "best_model.pdparams', epoch 0 (step 2, run aa), written 8 minutes ago" in log.text
    assert prepare.required_weights(config_of(mine, f"weights={trained[1]}")) == str(trained[1])
    mine.write_text(f"_BASE_: [base.yml]\nweights: {tmp_path}/none\n")
    assert prepare.required_weights(config_of(mine)) == f"{tmp_path}/none"


def test_a_newer_run_beside_best_model_is_said(trained, log):
    folder = trained[1].parent
    for name, run, time in (("best_model", "aa", 1000), ("model_final", "bb", 2000)):
        path = folder / f"{name}.pdparams"
        path.write_bytes(b"")
        stamp.write(path, stamp.Stamp(run, 1, 2, (".pdparams",)))
        os.utime(path, (time, time))
    prepare.required_weights(config_of(trained[0]))
    assert "model_final.pdparams' beside it is newer and of another run: epoch 0 (step 2, run bb)" in log.text


def test_a_new_run_moves_an_older_best_model_aside(trained, log):
    config, weights = trained
    folder, bytes_of = weights.parent, {}
    for suffix in (*stamp.SUFFIXES, ".bbox.json"):
        path = folder / f"best_model{suffix}"
        shutil.copy(weights.with_suffix(suffix), path) if suffix in stamp.SUFFIXES else path.write_text("[]")
        bytes_of[suffix] = path.read_bytes()
    trainer = trainer_of(config)
    checkpoints = next(hook for hook in trainer.hooks if isinstance(hook, checkpointer.Checkpointer))
    checkpoints.before_train(trainer.status)
    assert not list(folder.glob("best_model.*"))
    assert {suffix: (folder / f"best_model_of_aa{suffix}").read_bytes() for suffix in bytes_of} == bytes_of
    assert "is another run's (epoch 0 (step 2, run aa)): moved to '" in log.text
    (folder / "best_model.pdparams").write_bytes(b"")
    checkpointer.move_aside(folder)
    (folder / "best_model.pdparams").write_bytes(b"x")
    checkpointer.move_aside(folder)
    assert {path.name for path in folder.glob("best_model_of_older*")} == {"best_model_of_older_run.pdparams",
                                                                         "best_model_of_older_run2.pdparams"}


def test_a_resumed_runs_own_best_model_stays(trained, log):
    config, weights = trained
    folder = weights.parent
    for suffix in stamp.SUFFIXES:
        shutil.copy(weights.with_suffix(suffix), folder / f"best_model{suffix}")
    rows = [{"epoch": 0, "loss": 1.0, "losses": {}, "learning_rate": 0.1, "seconds": 1, "ap": {"AP": 0.1}}]
    (folder / "curves.json").write_text(json.dumps(rows))
    trainer = trainer_of(config)
    trainer.resume_weights(weights)
    checkpointer.Checkpointer(trainer).before_train(trainer.status)
    assert (folder / "best_model.pdparams").is_file() and trainer.facts.resumed == ("aa",)
    path = folder / "model_final.pdparams"
    path.write_bytes(b"")
    stamp.write(path, stamp.Stamp(trainer.run, 2, 4, (".pdparams",), trainer.facts))
    os.utime(folder / "best_model.pdparams", (1000, 1000))
    prepare.required_weights(config_of(config))
    assert "written 20" in log.text and "of another run" not in log.text


def test_every_setting_is_one(tiny_config, cheap_start):
    found = trainer_of(tiny_config).facts.settings
    assert set(found) == set(run_facts.SETTINGS) and found["OptimizerBuilder.optimizer"].startswith("{")
