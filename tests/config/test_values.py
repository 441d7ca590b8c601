# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A value that its setting cannot have is one line: which key, what was given, what is allowed, an example."""
import re

import pytest
import yaml
from support.paths import REPO

from ppdet_ext import limits
from ppdet_ext.config import config_file, keys, reader_keys, rules, values
from ppdet_ext.engine import export
from ppdet_ext.errors import UserError

BASES = {"": "rtdetr_cspresnet.yml", "r50: ": "rtdetr/rtdetr_r50vd_6x_coco.yml"}
EVERY_CONFIG = sorted(str(path.relative_to(REPO)) for path in (REPO / "configs").rglob("*.yml"))
SCHEDULE = "LearningRate.schedulers=[{name: PiecewiseDecay, "
PRINTED = "write for example '"


def check(option):
    """Load one of the package's configs with an option (``r50: `` before it: RT-DETR R50's), and check it."""
    base = "r50: " if option.startswith("r50: ") else ""
    keys.check_keys(config_file.load(REPO / "configs" / BASES[base], [option[len(base):]]))


def message(option):
    with pytest.raises(UserError) as caught:
        check(option)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("option, words", [
    ("TrainReader.batch_size=0", "TrainReader.batch_size is 0, not a whole number from 1 to 1000000 or auto; "
                                 "write for example 'batch_size: 4'"),
    ("EvalReader.batch_size=two", "EvalReader.batch_size is 'two', not a whole number"),
    ("hidden_dim=abc", "hidden_dim is 'abc', not a whole number from 1 to 65536"),
    ("seed=-1", "seed is -1, not a whole number from 0"),
    ("log_iter=0", "log_iter is 0, not a whole number from 1"),
    ("ema_decay=2", "ema_decay is 2, not a number above 0 and below 1"),
    ("ema_decay_type=linear", "ema_decay_type is 'linear', not one of threshold, normal, exponential"),
    ("cycle_epoch=0", "cycle_epoch is 0, not a whole number above 0 or"),
    ("LearningRate.base_lr=-1", "LearningRate.base_lr is -1, not a number above 0"),
    ("LearningRate.base_lr=.nan", "LearningRate.base_lr is nan"),
    ("LearningRate.base_lr=.inf", "LearningRate.base_lr is inf"),
    ("metric=NOPE", "metric is 'NOPE', not one of COCO, VOC"),
    ("epoch=-1", "epoch is -1, not a whole number"), ("epoch=0", "epoch is 0"), ("epoch=ten", "epoch is 'ten'"),
    ("epoch=1.5", "epoch is 1.5"), ("epoch=true", "epoch is True"),
    ("snapshot_epoch=0", "snapshot_epoch is 0"), ("worker_num=-1", "worker_num is -1"),
    ("worker_num=100000", "worker_num is 100000, not a whole number from 0 to 256"),
    ("num_classes=0", "num_classes is 0"), ("eval_size=[0, 0]", "eval_size is [0, 0], not a list (2 entries"),
    ("eval_size=640", "eval_size is 640"), ("norm_type=bnn", "norm_type is 'bnn', not one of bn, sync_bn"),
    ("RTDETRTransformer.num_queries=-3", "RTDETRTransformer.num_queries is -3"),
    ("RTDETRTransformer.num_queries=1000000000", "num_queries is 1000000000, not a whole number from 1 to 100000"),
    ("RTDETRTransformer.learnt_init_query=maybe", "learnt_init_query is 'maybe', not true or false"),
    ("TimmBackbone.out_indices=[]", "TimmBackbone.out_indices is [], not a list (at least 1"),
    ("TimmBackbone.pretrained=3", "TimmBackbone.pretrained is 3, not true or false or text"),
    ("TimmBackbone.lr_mult_list=[1, -1]", "lr_mult_list is [1, -1]"),
    ("TimmBackbone.drop_path_rate=1.5", "drop_path_rate is 1.5, not a number from 0"),
    ("HybridEncoder.depth_mult=.nan", "HybridEncoder.depth_mult is nan, not a number above 0 and up to 16"),
    ("HybridEncoder.encoder_layer.dropout=2", "HybridEncoder.encoder_layer (TransformerLayer).dropout is 2"),
    ("HybridEncoder.encoder_layer={d_model: 3}", None), ("HybridEncoder.encoder_layer=5", "not a registered name"),
    ("DETR.backbone=5", "DETR.backbone is 5, not a registered name"), ("DETR.neck=null", None),
    ("DETR.backbone={name: [1]}", "not a registered name; write a name"),
    ("DINOHead.loss.loss_coeff.bbox=.nan", "loss_coeff is {'bbox': nan"),
    ("DINOHead.loss.matcher.matcher_coeff=[1]", "matcher_coeff is [1], not a group {name: value} with class, bbox"),
    ("DETRPostProcess.num_top_queries=0", "num_top_queries is 0"),
    ("MultiClassNMS.score_threshold=2", "MultiClassNMS.score_threshold is 2, not a number from 0 and up to 1"),
    ("MultiClassNMS.nms_threshold=.nan", "nms_threshold is nan"), ("MultiClassNMS.keep_top_k=0", "keep_top_k is 0"),
    ("MultiClassNMS.nms_top_k=many", "nms_top_k is 'many'"),
    ("TrainReader=5", "TrainReader is 5, not a group of settings"), ("DETR=", "DETR is None, not a group"),
    ("TrainDataset=5", "TrainDataset is 5, not a group"), ("TrainDataset.sample_num=all", "sample_num is 'all'"),
    ("TrainDataset.image_dir=3", "image_dir is 3, not text"), ("TrainDataset.name=[1]", "unknown data set class '[1]'"),
    ("TrainReader.sample_transforms=5", "sample_transforms is 5, not a list"),
    ("TrainReader.sample_transforms=[{Resize: {target_size: 0, keep_ratio: false}}]", "Resize.target_size is 0, not a "
     "number of pixels from 1 to 8192 (more with PPDET_EXT_MAX_SIDE)"),
    ("TrainReader.sample_transforms=[{Resize: {target_size: 30000, keep_ratio: false}}]", "target_size is 30000"),
    ("TrainReader.sample_transforms=[{Resize: {target_size: [64, 64], keep_ratio: false, interp: 9}}]", "interp is 9"),
    ("TrainReader.batch_transforms=[{BatchRandomResize: {target_size: [], keep_ratio: false}}]", "target_size is []"),
    ("EvalReader.sample_transforms=[{NormalizeImage: {mean: [.nan, 0, 0]}}]", "NormalizeImage.mean is [nan, 0, 0]"),
    ("EvalReader.sample_transforms=[{NormalizeImage: {mean: [0, 0, 1e50]}}]", "NormalizeImage.mean is [0, 0, 1e+50]"),
    ("EvalReader.sample_transforms=[{NormalizeImage: {std: [0, 1, 1]}}]", "NormalizeImage.std is [0, 1, 1]"),
    ("TrainReader.sample_transforms=[{RandomCrop: {prob: 2}}]", "prob is 2, not a number from 0 and up to 1"),
    ("TrainReader.sample_transforms=[{RandomSelect: {transforms1: 3, transforms2: []}}]", "transforms1 is 3"),
    ("TrainReader.sample_transforms=[{RandomSelect: {transforms1: [{Nope: {}}], transforms2: []}}]",
     "RandomSelect.transforms1: unknown transform 'Nope'"),
    ("TrainReader.transform_schedulers=5", "transform_schedulers is 5"),
    ("TrainReader.transform_schedulers=[{Decode: {stop_epoch: never}}]", "Decode.stop_epoch is 'never'"),
    ("TrainReader.mosaic_epoch=5", "mosaic_epoch is 5, but sample_transforms has no Mosaic"),
    ("TrainReader.sample_transforms=[{Decode: {}}, {Mixup: {}}]", "has Mixup, which does nothing without mixup_epoch"),
    ("TrainReader.sample_transforms=[{RandomFlip: {prob: 1}}]", "prob is 1, not a number from 0.0 to 1.0 with a dec"),
    ("TrainReader.sample_transforms=[{RandomDistort: {hue: [3, 1, 2]}}]", "RandomDistort.hue is [3, 1, 2], not [LOW,"),
    ("TimmBackbone.size=big", "TimmBackbone.size is 'big', not one of error, pad, resize"),
    ("HybridEncoder.act=abc", "HybridEncoder.act is 'abc'"), ("HybridEncoder.act={a: 1}", "HybridEncoder.act is {'a'"),
    ("TestReader.inputs_def=5", "inputs_def is 5, not a group"),
    ("TestReader.inputs_def.image_shape=[3, 0, 0]", "inputs_def.image_shape is [3, 0, 0]"),
    ("TestReader.inputs_def.image_shape=640", "image_shape is 640"),
    (SCHEDULE + "milestones: [9, 3], gamma: 0.1, use_warmup: false}]", "milestones is [9, 3]; write epochs in rising"),
    (SCHEDULE + "milestones: [3, 9], gamma: [0.1], use_warmup: false}]", "gamma has 1 entries for 2 milestones; write"),
    (SCHEDULE + "milestones: [3], values: [0.1], use_warmup: false}]", "PiecewiseDecay.values has 1 entries for 1"),
    (SCHEDULE + "milestones: [-3], use_warmup: false}]", "milestones is [-3]"),
    (SCHEDULE + "milestones: 3, use_warmup: false}]", "milestones is 3, not a list"),
    (SCHEDULE + "milestones: [3], gamma: 0.1}]", "PiecewiseDecay wants a warm-up as the second entry"),
    (SCHEDULE + "milestones: [3], gamma: 0.1}, {name: LinearWarmup, steps: -1}]", "LinearWarmup.steps is -1"),
    ("LearningRate.schedulers=[]", "the first is missing; write CosineDecay or"),
    ("LearningRate.schedulers=[!LinearWarmup {steps: 3}]", "the first is LinearWarmup; write CosineDecay or"),
    ("LearningRate.schedulers=[!CosineDecay {max_epochs: 0}, !LinearWarmup {}]", "CosineDecay.max_epochs is 0"),
    ("LearningRate.schedulers=[!CosineDecay {max_epochs: 3, last_plateau_epochs: 3}, !LinearWarmup {}]",
     "last_plateau_epochs is 3 of max_epochs 3"),
    ("LearningRate.schedulers=[5]", "unknown scheduler 'int'"), ("LearningRate.schedulers=5", "schedulers is 5, not a"),
    ("OptimizerBuilder.optimizer.type=NOPE", "unknown type 'NOPE'"),
    ("OptimizerBuilder.optimizer.type=Optimizer", "unknown type 'Optimizer'"),
    ("OptimizerBuilder.optimizer=5", "OptimizerBuilder.optimizer is 5, not a group"),
    ("OptimizerBuilder.optimizer.beta1=1", "AdamW.beta1 is 1, not a number from 0"),
    ("OptimizerBuilder.optimizer.weight_decay=-1", "AdamW.weight_decay is -1"),
    ("OptimizerBuilder.optimizer.learning_rate=1", "comes from LearningRate.base_lr; write it there"),
    ("OptimizerBuilder.optimizer.grad_clip=1", "comes from OptimizerBuilder.clip_grad_by_norm"),
    ("OptimizerBuilder.optimizer.lr_ratio=1", "AdamW) has no setting 'lr_ratio'"),
    ("OptimizerBuilder.optimizer.param_groups=[{params: ['(']}]", "param_groups is [{"),
    ("OptimizerBuilder.clip_grad_by_norm=0", "clip_grad_by_norm is 0, not a number above 0 or null"),
    ("OptimizerBuilder.clip_grad_by_value=-1", "clip_grad_by_value is -1"),
    ("OptimizerBuilder.regularizer={type: L3, factor: 1}", "OptimizerBuilder.regularizer is {"),
    ("use_ema=maybe", "use_ema is 'maybe', not true or false or null"), ("weights=[1]", "weights is [1], not text"),
    ("allow_missing=head", "allow_missing is 'head', not a list"), ("export=5", "export is 5, not a group"),
    ("export.post_process=3", "export is {"), ("init_loss_scaling=0", "init_loss_scaling is 0"),
    ("normalization={mean: [.nan, 0, 0], std: [1, 1, 1]}", "normalization is {'mean': [nan, 0, 0]"),
    ("r50: ResNet.depth=fifty", "ResNet.depth is 'fifty'"), ("r50: ResNet.return_idx=[-1]", "return_idx is [-1]"),
    ("r50: ResNet.freeze_norm=2", "ResNet.freeze_norm is 2, not true or false"),
    ("r50: ResNet.norm_decay=[1]", "ResNet.norm_decay is [1]"),
    # not in the table: ppdet's default is a number, so it takes no text
    ("FCOSHead.num_shift=half", "FCOSHead.num_shift is 'half', not a number"),
    ("YOLOXHead.l1_epoch=[1]", "YOLOXHead.l1_epoch is [1], not a number"),
])
def test_a_value_is_refused(option, words):
    if words is None:
        check(option)
    else:
        assert words in message(option)


@pytest.mark.parametrize("option", [
    "epoch=1", "seed=0", "worker_num=0", "ema_decay=0.5", "eval_size=null", "norm_type=sync_bn", "weights=null",
    "pretrain_weights=''", "pretrain_weights=false", "TimmBackbone.pretrained=auto", "TimmBackbone.out_indices=[2,3,4]",
    "TimmBackbone.lr_mult_list=0.1", "TimmBackbone.allow=['head.*']", "HybridEncoder.depth_mult=0.34",
    "RTDETRTransformer.num_decoder_points=[4, 4, 4]", "LearningRate.base_lr=1e-4",
    "TestReader.inputs_def.image_shape=[3, -1, -1]",
    "OptimizerBuilder.optimizer={type: Momentum, momentum: 0.9}", "OptimizerBuilder.regularizer=null",
    "OptimizerBuilder.regularizer={type: L2, factor: 0.0001}", "OptimizerBuilder.clip_grad_by_norm=null",
    "LearningRate.schedulers=[!CosineDecay {max_epochs: 10}, !LinearWarmup {epochs: 1}]",
    "TrainReader.batch_transforms=[{BatchRandomResize: {target_size: 640, keep_ratio: true, random_size: false}}]",
    "TrainReader.sample_transforms=[{RandomShortSideResize: {short_side_sizes: [480, 512], max_size: 1333}}]",
    "FCOSHead.num_shift=1"])
def test_a_good_value_passes(option):
    check(option)


@pytest.mark.parametrize("path", EVERY_CONFIG)
def test_every_config_passes(path, log):
    keys.check_keys(config_file.load(REPO / path))
    assert not log.records


def table():
    return [*values.TOP_LEVEL.items(), *values.CLASSES.items()]


@pytest.mark.parametrize("key, rule", table(), ids=[key for key, _ in table()])
def test_the_example_of_a_rule_keeps_it(key, rule):
    """What a message tells to write is right, as YAML."""
    assert rule.fits(yaml.load(rule.example, config_file.ConfigLoader)), rule.example


HOSTILE = [float("nan"), float("inf"), -float("inf"), 10 ** 400, -1, 0, "", "\0", [], [[]], {}, {1: 2}, None, True,
           b"x", [float("nan")] * 4, {"params": 3}, [{"params": ["("]}], "(", {"type": []},
           {"mean": 1, "std": 2}, object()]


def test_no_rule_raises():
    for key, rule in table():
        for value in HOSTILE:
            assert rule.fits(value) in (True, False), (key, value)
        assert not rule.fits(object()) or rule is rules.ANYTHING


def test_messages_are_short_and_on_one_line():
    for value in ("x" * 10_000, "a\nb\x1b[2J", 1 << 100_000, [list(range(999))] * 999, {n: n for n in range(999)}):
        shown = rules.shown(value)
        assert len(shown) < 400 and shown.isprintable()
        assert len(rules.name(value)) < 100 and rules.name(value).isprintable()


def test_annotations_say_what_a_parameter_takes():
    fits = lambda annotation, value: rules.of_parameter(annotation, None).fits(value)  # noqa: E731
    assert fits("int | None", None) and fits("int | None", 3) and not fits("int | None", "3")
    assert fits("Sequence[int]", [1]) and not fits("Sequence[int]", ["1"]) and not fits(int, 1.5)
    assert fits("Widget", "anything")  # not ours to judge
    assert rules.of_parameter(None, 3).fits(2.5) and not rules.of_parameter(None, 3).fits("3")


def test_the_largest_side_is_adjustable(monkeypatch):
    monkeypatch.setenv(limits.variable("SIDE"), "40000")
    check("TrainReader.sample_transforms=[{Resize: {target_size: 30000, keep_ratio: false}}]")
    monkeypatch.setenv(limits.variable("SIDE"), "big")
    assert "PPDET_EXT_MAX_SIDE is 'big'; set it to a whole number" in message("eval_size=[64, 64]")


def test_what_a_table_says_twice_is_the_same():
    """config stands below engine and cannot ask it."""
    assert set(values.EXPORT) == set(export.ExportOptions.__dataclass_fields__)


def test_what_comes_from_the_backbone_is_said(log):
    check("HybridEncoder.in_channels=[1, 2, 3]")
    assert "HybridEncoder.in_channels has NO effect: it comes from the backbone" in log.text


@pytest.mark.parametrize("option, mode, words", [
    ("TrainReader.sample_transforms=[{RandomFlip: {}}]", "train", "TrainReader.sample_transforms has no Decode; write"),
    ("EvalReader.sample_transforms=[{Permute: {}}]", "train", "EvalReader.sample_transforms has no Decode"),
    ("EvalReader.sample_transforms=[{Permute: {}}]", "eval", "EvalReader.sample_transforms has no Decode"),
    ("TestReader.sample_transforms=[{Permute: {}}]", "test", "TestReader.sample_transforms has no Decode"),
    ("TestReader.sample_transforms=[{Decode: {}}, {NormalizeImage: {std: [1, 1, 1]}}]", "train",
     "needs the setting 'mean'"),
])
def test_readers_decode(option, mode, words, monkeypatch):
    cfg = config_file.load(REPO / "configs" / BASES[""], [option])
    with pytest.raises(UserError, match=words):
        reader_keys.check_pictures(cfg, mode, validate=True)
    other = {"train": "test", "eval": "test", "test": "eval"}[mode]
    if "mean" not in words:
        reader_keys.check_pictures(cfg, other, validate=True)
    monkeypatch.setattr("ppdet.data.transform.Own", type("Own", (), {}), raising=False)  # a user's class may decode
    for section in ("TrainReader", "EvalReader", "TestReader"):
        cfg[section]["sample_transforms"] = [{"Own": {}}]
    reader_keys.check_pictures(cfg, mode, validate=True)


def test_weight_decay_that_does_nothing_is_said(log):
    check("OptimizerBuilder.optimizer={type: Momentum, momentum: 0.9, weight_decay: 0.1}")
    assert re.search("weight_decay has NO effect for Momentum", log.text)
