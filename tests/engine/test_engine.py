# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The Trainer's plumbing: checkpoints, exact weights, resuming, history, progress, report."""
import json
import types

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn
from support.trainers import trainer_of

from ppdet_ext.deploy import visualize
from ppdet_ext.distributed import processes
from ppdet_ext.engine import checkpointer, draw, load_weights, metrics, plots, progress, training_report
from ppdet_ext.engine.history import History
from ppdet_ext.engine.hooks import Status
from ppdet_ext.engine.predict import find_images
from ppdet_ext.errors import UserError
from ppdet_ext.report.class_results import coco_results
from ppdet_ext.startup import environment


class Detector(nn.Layer):
    """Stands for a detector: a backbone and a head."""

    def __init__(self, classes=3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4))
        self.head = nn.Linear(4, classes)


def values(layer):
    return {name: np.array(value) for name, value in layer.state_dict().items()}


# ---------------------------------------------------------------- checkpoints
def optimizer_of(layer):
    return paddle.optimizer.AdamW(parameters=layer.parameters())


def test_checkpoint_files_are_paddledetections(tmp_path):
    layer, average = Detector(), Detector()
    checkpointer.save(tmp_path / "a" / "3", layer.state_dict(), optimizer_of(layer), 4, ema=average.state_dict())
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["3.pdema", "3.pdopt", "3.pdparams"]
    np.testing.assert_array_equal(paddle.load(str(tmp_path / "a/3.pdparams"))["head.weight"], average.head.weight)
    np.testing.assert_array_equal(paddle.load(str(tmp_path / "a/3.pdema"))["head.weight"], layer.head.weight)
    assert paddle.load(str(tmp_path / "a/3.pdopt"))["last_epoch"] == 4
    checkpointer.save(tmp_path / "b", layer.state_dict(), optimizer_of(layer), 4)
    np.testing.assert_array_equal(paddle.load(str(tmp_path / "b.pdparams"))["head.weight"], layer.head.weight)
    assert not (tmp_path / "b.pdema").exists()


def test_a_broken_save_leaves_the_former_checkpoint(tmp_path, monkeypatch):
    layer = Detector()
    checkpointer.save(tmp_path / "m", layer.state_dict(), optimizer_of(layer), 1, ema=layer.state_dict())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, calls = paddle.save, []

    def full_disk(value, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError("no space left")
        real(value, path)
    monkeypatch.setattr(paddle, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        checkpointer.save(tmp_path / "m", Detector().state_dict(), optimizer_of(layer), 2, ema=layer.state_dict())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---------------------------------------------------------------- weights
def test_pretrained_detector_and_backbone(tmp_path):
    source = Detector()
    paddle.save(source.state_dict(), str(tmp_path / "whole.pdparams"))
    paddle.save({**source.backbone.state_dict(), "fc.weight": paddle.ones([2])}, str(tmp_path / "part.pdparams"))
    whole, part = Detector(), Detector()
    head = values(part.head)
    assert load_weights.load_pretrained(whole, tmp_path / "whole").startswith("the detector's weights from")
    assert load_weights.load_pretrained(part, tmp_path / "part.pdparams").startswith("the backbone's weights from")
    for name, value in values(source).items():
        np.testing.assert_array_equal(values(whole)[name], value)
    np.testing.assert_array_equal(part.backbone[0].weight, source.backbone[0].weight)
    np.testing.assert_array_equal(part.head.weight, head["weight"])


def test_other_class_number_needs_allow_missing(tmp_path):
    source, target = Detector(classes=80), Detector(classes=3)
    paddle.save(source.state_dict(), str(tmp_path / "coco.pdparams"))
    before = values(target)
    with pytest.raises(UserError, match=r"head.weight.*\[4, 3\].*\[4, 80\].*allow_missing"):
        load_weights.load_pretrained(target, tmp_path / "coco.pdparams")
    np.testing.assert_array_equal(values(target)["backbone.0.weight"], before["backbone.0.weight"])
    load_weights.load_pretrained(target, tmp_path / "coco.pdparams", allow=["head.*"])
    np.testing.assert_array_equal(target.head.weight, before["head.weight"])
    np.testing.assert_array_equal(target.backbone[0].weight, source.backbone[0].weight)


def test_weights_that_do_not_fit(tmp_path):
    paddle.save(nn.Sequential(nn.Conv2D(1, 1, 1)).state_dict(), str(tmp_path / "other.pdparams"))
    paddle.save({"strange": paddle.ones([1])}, str(tmp_path / "strange.pdparams"))
    paddle.save(Detector().state_dict(), str(tmp_path / "cut.pdparams"))
    (tmp_path / "cut.pdparams").write_bytes((tmp_path / "cut.pdparams").read_bytes()[:300])
    for load in (load_weights.load_exact, load_weights.load_pretrained):
        for name, words in (("other", "head|0.weight"), ("strange", "strange"), ("cut", "truncated"), ("none", "none")):
            with pytest.raises(UserError, match=words) as caught:
                load(Detector(), tmp_path / f"{name}.pdparams")
            assert "\n" not in str(caught.value)


def test_a_download_that_fails_says_how_to_go_on():
    with pytest.raises(UserError, match="127.0.0.1.*pretrain_weights=''"):
        load_weights.load_pretrained(Detector(), "http://127.0.0.1:9/ResNet18_vd_pretrained.pdparams")


# ---------------------------------------------------------------- resuming
def test_memory_is_given_back_once_after_the_first_step(tiny_config, tmp_path, monkeypatch):
    steps, given_back = [], []
    trainer = trainer_of(tiny_config, [f"save_dir={tmp_path}", "epoch=2"])
    step = trainer.optimizer.step
    monkeypatch.setattr(trainer.optimizer, "step", lambda: steps.append(1) or step())
    monkeypatch.setattr(environment, "give_back_freed_memory", lambda: given_back.append(len(steps)))
    trainer.train(validate=True)
    assert given_back == [1] and len(steps) > 2


def first_run(tiny_config, tmp_path, aps, **best):
    """A folder as a run of len(aps) epochs leaves it; its best_model is of epoch ``best_epoch``."""
    trainer, folder = trainer_of(tiny_config), tmp_path / "first"
    state = trainer.model.state_dict()
    for name, done in {"1": len(aps), **best}.items():
        checkpointer.save(folder / name, state, trainer.optimizer, done, ema=state)
    rows = [{"epoch": n, "loss": 1.0, "losses": {}, "learning_rate": 0.1, "seconds": 1, "ap": {"AP": ap}}
            for n, ap in enumerate(aps)]
    (folder / "curves.json").write_text(json.dumps(rows))
    (folder / "best_model.bbox.json").write_text("[]")
    return folder


def test_a_run_resumed_elsewhere_takes_its_best_model_along(tiny_config, tmp_path, monkeypatch):
    for part in ("_classes", "_picture"):
        monkeypatch.setattr(training_report.TrainingReport, part, lambda self: None)
    folder = first_run(tiny_config, tmp_path, [0.4, 0.2], best_model=1)
    trainer = trainer_of(tiny_config, ["epoch=3", f"save_dir={tmp_path / 'second'}"])
    trainer.resume_weights(str(folder / "1.pdparams"))
    copied = {path.name for path in trainer.output.glob("best_model*")}
    assert copied == {f"best_model.{suffix}" for suffix in ("pdparams", "pdopt", "pdema", "bbox.json")}
    assert trainer.history.best()["epoch"] == 0
    facts = training_report.TrainingReport(trainer).facts()
    assert facts["checkpoint"] == str(trainer.output / "best_model.pdparams") and facts["ap"] == {"AP": 0.4}


@pytest.mark.parametrize("best", [{}, {"best_model": 2}], ids=["none", "of a later epoch"])
def test_a_best_model_that_is_not_there_is_not_reported(tiny_config, tmp_path, best):
    folder = first_run(tiny_config, tmp_path, [0.4, 0.2], **best)
    trainer = trainer_of(tiny_config, ["epoch=3", f"save_dir={tmp_path / 'second'}"])
    trainer.resume_weights(str(folder / "1.pdparams"))
    assert not list(trainer.output.glob("best_model*")) and len(trainer.history.rows) == 2
    assert trainer.history.best() is None
    assert training_report.TrainingReport(trainer).facts()["checkpoint"] == str(trainer.output / "model_final.pdparams")
    trainer.history.rows.append({"epoch": 2, "ap": {"AP": 0.3}})
    assert trainer.history.best()["epoch"] == 2


@pytest.mark.parametrize("kind", ["threshold", "normal", "exponential"])
def test_resumed_average_goes_on_like_the_first(kind):
    from ppdet.optimizer import ModelEMA
    layer = nn.Linear(2, 2)
    first = ModelEMA(layer, decay=0.9, ema_decay_type=kind)
    for _ in range(5):
        layer.weight.set_value(layer.weight + 1)
        first.update()
    saved = {name: np.array(value) for name, value in first.apply().items()}
    second = ModelEMA(layer, decay=0.9, ema_decay_type=kind)
    load_weights.resume_average(second, saved, 5)
    for average in (first, second):
        average.update()
    for name, value in first.apply().items():
        np.testing.assert_allclose(second.apply()[name], value, rtol=1e-5)


# ---------------------------------------------------------------- history, progress, curves
def status_of(loss=1.0, epoch=0, step=0, ap=None):
    status = Status(log_iter=2, epoch=epoch, step=step, steps_per_epoch=10, learning_rate=1e-3, images=4, seconds=2.0,
                    ap=metrics.ap_values([Result(ap)]) if ap is not None else {})
    status.losses.update({"loss": paddle.to_tensor(loss), "loss_bbox": paddle.to_tensor(loss / 2)})
    for clock in (status.batch_time, status.data_time):
        clock.update(2.0)
    return status


class Result:
    """Stands for ppdet's COCOMetric."""

    def __init__(self, ap):
        self.stats = [ap, ap + 0.1] + [0.5] * 9 + [-1]

    def get_results(self):
        return {"bbox": self.stats}


def trainer_stub(tmp_path, batches=4):
    return types.SimpleNamespace(output=tmp_path, cfg={"epoch": 5, "log_iter": 2, "TrainReader": {"batch_size": 4}},
                                 loader=range(batches), evaluation_loader=range(batches), history=None)


def epoch(history, number, losses, ap=None):
    history.before_epoch(status_of(epoch=number))
    for step, loss in enumerate(losses):
        history.after_step(status_of(float(loss), number, step))
    history.after_epoch(status_of(float(losses[-1]), number))
    if ap is not None:
        history.after_evaluation(status_of(epoch=number, ap=ap))


def test_history_keeps_means_and_finds_the_best(tmp_path):
    history = History(trainer_stub(tmp_path))
    assert history.best() is None
    for number, (losses, ap) in enumerate([([4, 2], 0.2), ([2, 2], 0.4), ([1, 2], 0.4), ([1, 1], 0.3)]):
        epoch(history, number, losses, ap)
    rows = json.loads((tmp_path / "curves.json").read_text())
    assert [row["loss"] for row in rows] == [3, 2, 1.5, 1] and rows[0]["losses"] == {"loss_bbox": 1.5}
    assert history.best()["epoch"] == 2 and rows[2]["ap"]["AP50"] == 0.5 and rows[2]["ap"]["AR_large"] is None
    other = History(trainer_stub(tmp_path))
    other.load(tmp_path / "curves.json", before=2)
    assert [row["epoch"] for row in other.rows] == [0, 1] and other.best()["epoch"] == 1
    plots.draw_curves(rows, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).shape[2] == 3


@pytest.mark.parametrize("content", ["[{", "{}{}", "[1]", '[{"loss": 1}]', "\xff"])
def test_damaged_curves_are_one_line(tmp_path, content):
    (tmp_path / "old.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="old.json' is damaged") as caught:
        History(trainer_stub(tmp_path)).load(tmp_path / "old.json", before=2)
    assert "\n" not in str(caught.value)


def test_of_several_processes_only_the_first_keeps_a_history(tmp_path, monkeypatch):
    (tmp_path / "old.json").write_text('[{"epoch": 0}]')
    for rank, rows in ((1, 0), (0, 2)):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        history = History(trainer_stub(tmp_path))
        history.load(tmp_path / "old.json", before=1)
        status = status_of(2.0, epoch=1)
        history.before_epoch(status)
        history.after_step(status)
        history.after_epoch(status)
        assert len(history.rows) == rows
        assert (tmp_path / "curves.json").exists() == (rank == 0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_training_stops_at_a_loss_that_is_no_number(tmp_path, loss):
    history = History(trainer_stub(tmp_path))
    history.before_epoch(status_of())
    with pytest.raises(UserError, match=r"epoch 0, step 7.*base_lr"):
        history.after_step(status_of(loss, step=7))


def test_log_lines_have_paddledetections_fields_and_memory(tmp_path, caplog):
    shown = progress.Progress(trainer_stub(tmp_path, batches=1), line=False)
    progress.log.addHandler(caplog.handler)
    try:
        for step in range(4):
            shown.after_step(status_of(1.5, 1, step))
        shown.after_evaluation_step(status_of())
        shown.after_evaluation(status_of())
    finally:
        progress.log.removeHandler(caplog.handler)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4  # steps 0 and 2, the evaluation's step 0 and its end
    assert lines[1].startswith("Epoch: [1] [ 2/10] learning_rate: 0.001000 loss: 1.500000 loss_bbox: 0.750000 "
                               "eta: 0:01:16 batch_cost: 2.0000 data_cost: 2.0000 ips: 2.0000 images/s, max_mem: ")
    assert lines[2:] == ["Eval iter: 0", "Total sample number: 4, average FPS: 2.0"]


# ---------------------------------------------------------------- AP, pictures
def coco_files(folder):
    """Two images, two classes (ids 3 and 7); class 7 is found rightly, class 3 is missed on one of two images."""
    box = [10, 10, 20, 20]
    truth = [(1, 3), (2, 3), (1, 7)]
    content = {"images": [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 64} for i in (1, 2)],
               "annotations": [{"id": n + 1, "image_id": i, "category_id": c, "bbox": box, "area": 400, "iscrowd": 0}
                               for n, (i, c) in enumerate(truth)],
               "categories": [{"id": 3, "name": "three"}, {"id": 7, "name": "seven"}, {"id": 9, "name": "nine"}]}
    found = [{"image_id": i, "category_id": c, "bbox": box, "score": 0.9} for i, c in ((1, 3), (1, 7))]
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(found))
    return folder / "found.json", folder / "truth.json"


def test_class_ap(tmp_path):
    table = {one.name: (one.ap, one.ap50) for one in coco_results(*coco_files(tmp_path))}
    assert table["seven"] == pytest.approx((1.0, 1.0)) and table["nine"] == (None, None)
    assert table["three"] == pytest.approx((51 / 101, 51 / 101))  # half the recall points of pycocotools' 101
    text = training_report.ap_table({"AP": 0.75, "AP50": 1.0, "AP_small": None, "AR1": 0.5}, table)
    assert "AP           0.750" in text and "AP_small       n/a" in text and "AR1" not in text
    assert "seven        1.000  1.000" in text


def test_ground_truth_comes_from_the_coco_file_where_records_lack_it(tmp_path):
    _, truth = coco_files(tmp_path)
    dataset = types.SimpleNamespace(get_anno=lambda: str(truth), catid2clsid={3: 0, 7: 1, 9: 2})
    boxes = training_report.ground_truth(dataset, [{"im_id": np.array([2])}, {"im_id": np.array([1])}])
    assert [b[:, 0].tolist() for b in boxes] == [[0], [0, 1]]
    np.testing.assert_array_equal(boxes[0][0, 2:], [10, 10, 30, 30])
    record = {"im_id": np.array([1]), "gt_class": np.array([[2]]), "gt_bbox": np.array([[1., 2, 3, 4]])}
    np.testing.assert_array_equal(training_report.ground_truth(dataset, [record])[0][0], [2, np.nan, 1, 2, 3, 4])


def test_samples_keep_the_first_images():
    kept = metrics.Samples(count=3)
    boxes = np.arange(30, dtype="float32").reshape(5, 6)
    kept.update({"im_id": paddle.to_tensor([[4], [5]])}, {"bbox": boxes, "bbox_num": np.array([3, 2])})
    outputs = {"bbox": paddle.to_tensor(boxes), "bbox_num": paddle.to_tensor([0, 5])}
    kept.update({"im_id": np.array([[6], [7]])}, outputs)
    assert {key: len(value) for key, value in kept.detections.items()} == {4: 3, 5: 2, 6: 0}


def test_boxes_are_drawn_in_the_classs_colour_above_the_threshold():
    image = np.zeros((100, 120, 3), np.uint8)
    boxes = np.array([[1, 0.9, 20, 20, 60, 60], [2, 0.3, 20, 70, 60, 90]])
    drawn = visualize.draw_boxes(image, boxes, {1: "one"}, threshold=0.5)
    assert tuple(drawn[60, 40]) == visualize.class_colour(1) != visualize.class_colour(2)
    assert not drawn[65:].any() and not image.any()
    # 120x100 and 120x50 pictures, 50 high: 60 and 120 wide
    assert draw.beside([(drawn, image), (image[:50], drawn)], ("a", "b"), height=50).shape == (28 + 2 * 54, 180, 3)


def test_find_images(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt", "[x].bmp"):
        (tmp_path / name).touch()
    assert [p.rsplit("/")[-1] for p in find_images(infer_dir=tmp_path)] == ["[x].bmp", "a.png", "b.JPG"]
    (tmp_path / "list").write_text("a.png\n\n")
    assert find_images(infer_dir=tmp_path, infer_list=tmp_path / "list") == [str(tmp_path / "a.png")]
    assert find_images(infer_img=tmp_path / "c.txt", infer_dir="none") == [str(tmp_path / "c.txt")]


def test_prediction_never_overwrites_its_own_picture(tiny_config, small_digits):
    trainer = trainer_of(tiny_config, mode="test")
    image = small_digits / "val" / "000000.jpg"
    before = image.read_bytes()
    with pytest.raises(UserError, match="overwrite"):
        trainer.predict([str(image)], output_dir=str(image.parent))
    assert image.read_bytes() == before


# ---------------------------------------------------------------- the Trainer's edges
def test_amp_on_a_cpu_is_said_loudly(tiny_config, caplog):
    progress.log.addHandler(caplog.handler)
    try:
        trainer_of(tiny_config, ["amp=true"], mode="eval")
    finally:
        progress.log.removeHandler(caplog.handler)
    assert any("NO effect" in record.getMessage() for record in caplog.records)


def test_parameters_are_counted(tiny_config, caplog):
    progress.log.addHandler(caplog.handler)
    progress.log.setLevel("INFO")
    try:
        trainer = trainer_of(tiny_config, ["print_params=true"], mode="eval")
    finally:
        progress.log.removeHandler(caplog.handler)
    wanted = sum(parameter.size for name, parameter in trainer.model.named_parameters()
                 if "_mean" not in name and "_variance" not in name)
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Model Params")]
    assert said == [f"Model Params : {wanted / 1e6:.3f} M."] and wanted > 1e6


def test_a_missing_recorder_is_one_line(tiny_config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb"):
        trainer_of(tiny_config, ["use_wandb=true"])
