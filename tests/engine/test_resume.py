# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A resumed run is the unbroken one to the bit, with all chance in it; a checkpoint that is not whole is refused."""
import json
import os
import random
import signal

import numpy as np
import paddle
import pytest
from support.half_on_cpu import half_on_cpu
from support.trainers import trainer_of

from ppdet_ext import kernels
from ppdet_ext.checkpoints import stamp
from ppdet_ext.data import random_state, worker_threads
from ppdet_ext.engine import checkpointer, load_weights, metrics_file, precision, resume_state, training_report
from ppdet_ext.engine.hooks import Hook
from ppdet_ext.errors import Interrupted, UserError

# every kind of chance: transforms with Python's and NumPy's numbers, stochastic depth, denoising
CHANCE = ["TrainReader.sample_transforms=[Decode: {}, RandomDistort: {prob: 0.8}, RandomExpand: {fill_value: [0, 0, 0]}"
          ", RandomCrop: {prob: 0.8}, RandomFlip: {}]",
          "TimmBackbone={arch: tf_efficientnet_lite0, pretrained: false, drop_path_rate: 0.3}", "snapshot_epoch=1"]
# pictures that are mixed by share, each way in epochs of its own
MIXED = ["TrainReader.sample_transforms=[Decode: {}, RandomFlip: {}, Mosaic: {input_dim: [64, 64], enable_mixup: false}"
         ", RandomScaledCrop: {target_dim: 64, scale_range: [0.5, 1.5]}, Mixup: {}, Cutmix: {}, RandomDistort: {}]",
         "TrainReader.mixing={Mosaic: 0.4, Mixup: 0.3, Cutmix: 0.3}", "TrainReader.transform_schedulers=[Mixup: "
         "{stop_epoch: 1}, Cutmix: {start_epoch: 1}, RandomScaledCrop: {stop_epoch: 1}]"]
HALF = ["amp=true", "amp_dtype=float16", "init_loss_scaling=65536"]  # steps overflow at first, and the scale falls


@pytest.fixture
def half(monkeypatch):
    monkeypatch.setattr(precision, "device_has_half", lambda: True)
    with kernels.enabled(), half_on_cpu():
        yield


def seed(number):
    for start in (random.seed, np.random.seed, paddle.seed):
        start(number)


def train(trainer, evaluate):
    """Train, and end the workers that stand ready for more."""
    trainer.train(validate=evaluate)
    for loader in (trainer.loader, getattr(trainer, "evaluation_loader", None)):
        if loader is not None:
            worker_threads.stop(loader.loader)


def arrays(path):
    """{name: array} of all that a checkpoint's file holds, nested names joined."""
    found = {}

    def walk(value, name):
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}/{key}")
        elif isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                walk(item, f"{name}/{number}")
        else:
            found[name] = value.numpy() if isinstance(value, paddle.Tensor) else value
    walk(paddle.load(str(path)), "")
    return found


def assert_the_same_run(config, tmp_path, options, evaluate):
    options = [*CHANCE, *options]
    seed(1)
    straight = trainer_of(config, [*options, f"save_dir={tmp_path / 'straight'}"])
    train(straight, evaluate)
    seed(2)
    resumed = trainer_of(config, [*options, f"save_dir={tmp_path / 'resumed'}"])
    resumed.resume_weights(str(tmp_path / "straight/tiny/0.pdparams"))
    train(resumed, evaluate)
    assert resumed.start_epoch == 1 and [row["epoch"] for row in resumed.history.rows] == [0, 1]
    for one, other in zip(straight.history.rows, resumed.history.rows):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    keys = ("kind", "step", "rule", "loss", "lr", "grad_norm", "update_ratio", "metrics", "raw")
    lines = [[{key: line.get(key) for key in keys} for line in metrics_file.read(run.output / metrics_file.NAME)]
             for run in (straight, resumed)]
    assert lines[0] == lines[1] and len(lines[0]) >= 2
    for suffix in stamp.SUFFIXES:
        ends = [arrays(tmp_path / run / f"tiny/model_final{suffix}") for run in ("straight", "resumed")]
        assert ends[0].keys() == ends[1].keys() and len(ends[0]) > 400
        different = [name for name, value in ends[0].items() if not np.array_equal(value, ends[1][name])]
        assert not different, different


@pytest.mark.parametrize("options, evaluate", [
    pytest.param(["worker_num=2"], True, marks=pytest.mark.slow),
    (["worker_num=0", "accumulate_steps=2", "ema_decay_type=normal"], False),
    pytest.param(["worker_num=2", *MIXED], False, marks=pytest.mark.slow),
], ids=["workers", "accumulation", "mixed pictures"])
def test_a_resumed_run_is_the_unbroken_one(tiny_config, tmp_path, options, evaluate):
    assert_the_same_run(tiny_config, tmp_path, options, evaluate)


# what reads, sums up and averages in another way
INTERRUPTED = {"workers": ["worker_num=2"], "mixed pictures": ["worker_num=2", *MIXED],
               "accumulation": ["worker_num=0", "accumulate_steps=2", "ema_decay_type=normal"],
               "second epoch": ["worker_num=0", "ema_decay_type=threshold", "cycle_epoch=1"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", INTERRUPTED)
def test_an_interrupted_run_goes_on_to_the_bit(tiny_config, tmp_path, kind):
    """Ctrl-C comes during a step; the checkpoint is of the end of its group, within an epoch of 8 batches."""
    options = [*CHANCE, *INTERRUPTED[kind], "TrainReader.batch_size=1"]
    seed(1)
    straight = trainer_of(tiny_config, [*options, f"save_dir={tmp_path / 'straight'}"])
    train(straight, True)
    seed(1)
    broken = trainer_of(tiny_config, [*options, f"save_dir={tmp_path / 'resumed'}"])
    place = (1, 2) if kind == "second epoch" else (0, 2)
    done = 4 if kind == "accumulation" else 3

    class CtrlC(Hook):
        def after_step(self, status):
            if (status.epoch, status.step) == place:
                os.kill(os.getpid(), signal.SIGINT)
    broken.hooks.append(CtrlC())
    with pytest.raises(Interrupted, match=rf"after epoch {place[0]}, step {done}; .*interrupted.* auto") as end:
        train(broken, True)
    assert end.value.code == 130
    worker_threads.stop(broken.loader.loader)
    seed(2)
    resumed = trainer_of(tiny_config, [*options, f"save_dir={tmp_path / 'resumed'}"])
    path, mark = stamp.newest(resumed.output)
    assert path.stem == "interrupted" and (mark.epochs, mark.batches) == (place[0], done)
    resumed.resume_weights(path)
    assert (resumed.start_epoch, resumed.start_batch) == (place[0], done)
    train(resumed, True)
    for one, other in zip(straight.history.rows, resumed.history.rows):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for suffix in stamp.SUFFIXES:
        ends = [arrays(tmp_path / run / f"tiny/model_final{suffix}") for run in ("straight", "resumed")]
        assert ends[0].keys() == ends[1].keys() and len(ends[0]) > 400
        different = [name for name, value in ends[0].items() if not np.array_equal(value, ends[1][name])]
        assert not different, different


@pytest.mark.slow
def test_a_resumed_run_in_half_precision_is_the_unbroken_one(half, tiny_config, tmp_path):
    assert_the_same_run(tiny_config, tmp_path, [*HALF, "amp_level=O2", "accumulate_steps=2"], False)
    state = paddle.load(str(tmp_path / "resumed/tiny/model_final.pdopt"))[resume_state.KEY]
    assert float(state["scaler"]["scale"]) < 65536


def test_generators_as_data():
    seed(3)
    reader, own = random_state.of_reader(), random_state.of_paddle()

    def draw():
        return [random.random(), np.random.rand(), np.random.randn(), *paddle.rand([3]).tolist(),
                *paddle.randint(0, 99, [3]).tolist()]
    first = draw()
    state = random_state.of_reader()
    with random_state.kept():
        draw()
    assert repr(random_state.of_reader()) == repr(state)
    assert draw() != first
    random_state.restore_reader(reader)
    assert random_state.restore_paddle(own) and draw() == first
    for strange in ({"cpu": [(0, 0, 0, "1 2 3")]}, {"cpu": [(0, 0, 0, "x" * 6000)]}):
        with pytest.raises(ValueError, match="no state"):
            random_state.restore_paddle(strange)


# ---------------------------------------------------------------- what is not whole
@pytest.fixture
def saved(tiny_config, tmp_path):
    """(a trainer, the prefix of a checkpoint of its epoch 0 after a step of the optimizer)."""
    trainer = trainer_of(tiny_config)
    loss = sum((parameter * parameter).sum() for parameter in trainer.model.parameters() if not parameter.stop_gradient)
    loss.backward()
    trainer.optimizer.step()
    trainer.ema.update()
    trainer.lr.step(trainer.accumulation.steps_per_epoch)
    more = resume_state.collect(trainer, resume_state.random_of_all(trainer))
    checkpointer.save(tmp_path / "0", trainer.model.state_dict(), trainer.optimizer, 1,
                      ema=trainer.model.state_dict(), run="aa", step=1, more=more)
    return trainer, tmp_path / "0"


def rewrite(path, change, stamped=True):
    """Change what a checkpoint's file holds; with or without its stamp."""
    mark, content = stamp.read(path), paddle.load(str(path))
    content = change(content)
    paddle.save(content, str(path))
    if stamped:
        stamp.write(path, mark)


def half_of(content):
    return dict(list(content.items())[:len(content) // 2])


def without(name):
    return lambda content: {key: value for key, value in content.items() if key != name}


DAMAGE = [(".pdparams", half_of, "0.pdparams .* lacks"), (".pdparams", lambda content: {}, "0.pdparams.*no tensors"),
          (".pdema", half_of, "0.pdema .* lacks"), (".pdema", lambda content: {}, "0.pdema.*no tensors"),
          (".pdopt", half_of, "0.pdopt' is not whole, it lacks"), (".pdopt", lambda content: {}, "not whole"),
          (".pdopt", without("last_epoch"), "lacks its epoch"), (".pdopt", without("LR_Scheduler"), "learning rate"),
          (".pdopt", lambda content: {**content, "last_epoch": -5}, "lacks its epoch"),
          (".pdopt", lambda content: {**content, "linear_77.w_0_moment1_0": paddle.ones([1])}, "linear_77")]


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.filterwarnings("ignore:The input state dict is empty")
def test_a_checkpoint_that_is_not_whole_is_refused(saved, stamped):
    trainer, prefix = saved
    whole = {suffix: (prefix.parent / f"0{suffix}").read_bytes() for suffix in stamp.SUFFIXES}
    for suffix, change, words in DAMAGE:
        for name, content in whole.items():
            end = len(content) if stamped else content.rindex(b"\nppdet_ext {")
            (prefix.parent / f"0{name}").write_bytes(content[:end])
        rewrite(prefix.parent / f"0{suffix}", change, stamped)
        with pytest.raises(UserError, match=words) as caught:
            load_weights.resume(trainer, prefix)
        assert "\n" not in str(caught.value)


def test_what_only_the_stamp_can_tell(saved):
    trainer, prefix = saved
    path = prefix.parent / "0.pdopt"
    whole, owner = path.read_bytes(), next(iter(trainer.model.parameters())).name
    for change, words in (
            (lambda content: {key: value for key, value in content.items() if not key.startswith(f"{owner}_")},
             "lacks some of its .* entries"),
            (without(resume_state.KEY), "lacks 'ppdet_ext'"),
            (lambda content: {**content, "last_epoch": 2}, "epoch 1 inside, but its stamp says epoch 0"),
            (lambda content: {**content, resume_state.KEY: {**content[resume_state.KEY], "random": [{"paddle": 1}]}},
             "is damaged")):
        path.write_bytes(whole)
        rewrite(path, change)
        with pytest.raises(UserError, match=words):
            load_weights.resume(trainer, prefix)


def test_other_refusals(saved):
    trainer, prefix = saved
    trainer.end_epoch = 1
    with pytest.raises(UserError, match="1 of 1 epochs"):
        trainer.resume_weights(str(prefix))
    path = prefix.parent / "0.pdopt"
    for content, words in ((b"\x80\x04", "unknown epoch"), (None, r"0\.pdopt.*does not exist")):
        path.unlink()
        if content:
            path.write_bytes(content)
        with pytest.raises(UserError, match=words):
            trainer.resume_weights(f"{prefix}.pdparams")


def test_a_checkpoint_of_an_older_version_goes_on_with_a_line(saved, log):
    trainer, prefix = saved
    for suffix in stamp.SUFFIXES:
        rewrite(prefix.parent / f"0{suffix}", without(resume_state.KEY), stamped=False)
    trainer.resume_weights(str(prefix))
    assert trainer.start_epoch == 1 and trainer.ema.step == trainer.lr.last_epoch
    assert "has no stamp" in log.text and "has no random numbers for this run (it is older)" in log.text


def test_a_run_of_other_processes_goes_on_with_a_line(saved, log):
    trainer, prefix = saved
    rewrite(prefix.parent / "0.pdopt", lambda content: {**content, resume_state.KEY: {
        **content[resume_state.KEY], "random": [{}, {}]}})
    trainer.resume_weights(str(prefix))
    assert "it is of 2 processes, now there are 1" in log.text


@pytest.mark.parametrize("renames", range(3))
def test_a_save_broken_off_at_any_rename_leaves_a_whole_set(saved, monkeypatch, renames):
    trainer, prefix = saved
    real, left = os.replace, [renames]

    def replace(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(source, target)
    weights = trainer.model.state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save(prefix, weights, trainer.optimizer, 2, ema=weights, run="aa", step=2)
    assert len(list(prefix.parent.glob(".*"))) == 4 - renames  # as a kill leaves it: the marker, and files to rename
    assert load_weights.resume(trainer, prefix) == 2 and not list(prefix.parent.glob(".*"))


# ---------------------------------------------------------------- with and without evaluation
def test_a_run_with_evaluation_goes_on_without(tiny_config, tmp_path):
    trainer_of(tiny_config, ["snapshot_epoch=1", "epoch=1"]).train(validate=True)
    folder = tmp_path / "output/tiny"
    before = json.loads((folder / "report.json").read_text())
    trainer = trainer_of(tiny_config, ["snapshot_epoch=1", "epoch=2"])
    trainer.resume_weights(str(folder / "model_final"))
    trainer.train()
    facts = json.loads((folder / "report.json").read_text())
    assert facts["classes"] == before["classes"] != {} and facts["epoch"] == 0 and facts["picture"] is None


def test_a_report_without_the_annotation_file_has_no_classes(tiny_config, tmp_path):
    trainer = trainer_of(tiny_config, ["EvalDataset={name: COCODataSet, anno_path: none.json, dataset_dir: x}"])
    report = training_report.TrainingReport(trainer)
    report.boxes_path.write_text("[]")
    assert report._classes() == {}
