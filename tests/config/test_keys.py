# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A misspelt key is an error that offers the right one; every config of the repository passes."""

import pytest
from support import data_sets
from support.paths import REPO

from ppdet_ext.config import config_file, keys
from ppdet_ext.errors import UserError


def detector_values():
    return {
        **data_sets.coco_values("dataset/own"),
        "architecture": "DETR", "hidden_dim": 256, "epoch": 1,
        "DETR": {"backbone": "TimmBackbone", "neck": "HybridEncoder", "transformer": "RTDETRTransformer",
                 "detr_head": "DINOHead"},
        "TimmBackbone": {"arch": "resnet18", "pretrained": False},
        "HybridEncoder": {"hidden_dim": 256,
                          "encoder_layer": {"name": "TransformerLayer", "d_model": 256, "nhead": 8}},
        "DINOHead": {"loss": {"name": "DINOLoss", "matcher": {"name": "HungarianMatcher"}}},
        "LearningRate": {"base_lr": 1e-4,
                         "schedulers": [{"name": "PiecewiseDecay", "gamma": 0.1, "use_warmup": False}]},
        "OptimizerBuilder": {"optimizer": {"type": "AdamW", "weight_decay": 1e-4}},
    }


def test_a_right_config_passes(tmp_path):
    keys.check_keys(data_sets.load(tmp_path, detector_values()))


@pytest.mark.parametrize("option, words", [
    ("num_clases=3", "config key 'num_clases' is unknown; did you mean num_classes"),
    ("epochs_=3", "did you mean epoch"),
    ("TimmBackbon.arch=resnet18", "config key 'TimmBackbon' is unknown; did you mean TimmBackbone"),
    ("TimmBackbone.pretraind=true", "TimmBackbone has no setting 'pretraind'; did you mean pretrained"),
    ("DETR.backbone=TimBackbone", "DETR.backbone: 'TimBackbone' is not registered; did you mean TimmBackbone"),
    ("DETR.nek=HybridEncoder", "DETR has no setting 'nek'; did you mean neck"),
    ("architecture=DTER", "architecture: 'DTER' is not registered"),
    ("HybridEncoder.encoder_layer.d_modl=3", "HybridEncoder.encoder_layer (TransformerLayer) has no setting 'd_modl'"),
    ("HybridEncoder.encoder_layer.name=TransformerLayr", "'TransformerLayr' is not registered; did you mean Transf"),
    ("DINOHead.loss.use_vlf=true", "DINOHead.loss (DINOLoss) has no setting 'use_vlf'; did you mean use_vfl"),
    ("DINOHead.loss.matcher.matcher_coef=1", "has no setting 'matcher_coef'; did you mean matcher_coeff"),
    ("TrainReader.batchsize=4", "TrainReader has no setting 'batchsize'; did you mean batch_size"),
    ("TrainReader.sample_transforms=[{Decod: {}}]", "unknown transform 'Decod'; did you mean Decode"),
    ("TrainReader.sample_transforms=[{Resize: {target_size: 3}}]", "Resize needs the setting 'keep_ratio'"),
    ("TrainReader.sample_transforms=[{RandomDistort: {prb: 1}}]", "RandomDistort has no setting 'prb'; did you mean"),
    ("TrainReader.sample_transforms=[Decode]", "'Decode' is no transform with its arguments; write 'Decode: {}'"),
    ("EvalReader.sample_transforms=[{Resize: {target_siz: 3}}]", "Resize has no setting 'target_siz'; did you mean"),
    ("TrainReader.transform_schedulers=[{Resise: {stop_epoch: 1}}]", "'Resise' is not among the reader's transforms"),
    ("TrainReader.transform_schedulers=[{Resize: {end_epoch: 1}}]", "write 'Resize: {start_epoch: 0, stop_epoch: 10}'"),
    ("TrainReader.transform_schedulers=[{Resize: 3}]", "write 'Resize: {start_epoch: 0, stop_epoch: 10}'"),
    ("TrainDataset.name=COCODataSt", "unknown data set class 'COCODataSt'; did you mean COCODataSet"),
    ("TrainDataset.anno_pth=x", "TrainDataset (COCODataSet) has no setting 'anno_pth'; did you mean anno_path"),
    ("TestDataset.anno_pth=x", "TestDataset (ImageFolder) has no setting 'anno_pth'; did you mean anno_path"),
    ("LearningRate.base_lrr=1", "LearningRate has no setting 'base_lrr'; did you mean base_lr"),
    ("LearningRate.schedulers=[{name: PiecewiseDecy}]", "unknown scheduler 'PiecewiseDecy'; did you mean Piecewise"),
    ("LearningRate.schedulers=[{name: PiecewiseDecay, milestone: [1]}]", "has no setting 'milestone'; did you mean"),
    ("OptimizerBuilder.optimizer.weight_decy=1", "AdamW has no setting 'weight_decy'; did you mean weight_decay"),
    ("OptimizerBuilder.optimizer.type=AdmW", "unknown type 'AdmW'; did you mean AdamW"),
])
def test_misspelt(tmp_path, option, words):
    cfg = data_sets.load(tmp_path, detector_values(), [option])
    with pytest.raises(UserError) as caught:
        keys.check_keys(cfg)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option, words", [
    ("batch_size=4", "-o batch_size: the config has no such key; did you mean TrainReader.batch_size?"),
    ("base_lr=1e-4", "did you mean LearningRate.base_lr?"),
    ("lr=1e-4", "did you mean LearningRate.base_lr?"),
    ("epochs=3", "did you mean epoch?"),
    ("TrainReadr.batch_size=3", "-o TrainReadr: the config has no such key; did you mean TrainReader"),
    ("something_else=3", "-o something_else: the config has no such key"),
])
def test_an_option_must_name_something(tmp_path, option, words):
    values = {**detector_values(), "my_lab": {"room": 3}}
    cfg = data_sets.load(tmp_path, values)
    keys.check_options(cfg, config_file.parse_options(["my_lab.room=4", "epoch=2", "seed=1", "norm_type=bn",
                                                  "DETR.backbone.name=TimmBackbone"]), values)
    with pytest.raises(UserError) as caught:
        keys.check_options(cfg, config_file.parse_options([option]), values)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mode, change, words", [
    ("test", {"architecture": None}, "names no architecture; start from a file in configs/"),
    ("eval", {"metric": None}, "names no metric; write 'metric: COCO'"),
    ("train", {"epoch": None}, "names no epoch; write 'epoch: 10'"),
    ("eval", {"worker_num": None}, "names no worker_num"),
])
def test_keys_that_a_mode_needs(tmp_path, mode, change, words):
    values = {**detector_values(), "snapshot_epoch": 1, "worker_num": 0}
    keys.check_needed(data_sets.load(tmp_path, values), mode)
    with pytest.raises(UserError, match=words):
        keys.check_needed(data_sets.load(tmp_path, {**values, **change}), mode)


def test_a_key_at_the_wrong_place_is_warned_of(tmp_path, log):
    keys.check_keys(data_sets.load(tmp_path, {**detector_values(), "batch_size": 3}))
    assert "'batch_size' has no effect at the top level; did you mean TrainReader.batch_size?" in log.text


def test_a_users_own_key_passes_and_is_said(tmp_path, log):
    keys.check_keys(data_sets.load(tmp_path, {**detector_values(), "notes": "anything", "my_lab": {"room": 3}}))
    assert "config key 'my_lab' is read by nothing here" in log.text and "'notes' is read by nothing" in log.text


@pytest.mark.parametrize("key, words", [
    ("early_stop", "write 'early_stopping: {"), ("max_keep_ckpts", "write 'keep_checkpoints: 2'"),
    ("max_iter", "write 'epoch: 12'"),
    ("eval_interval", "follow 'snapshot_epoch: 1'"), ("save_interval", "follow 'snapshot_epoch: 1'"),
    ("target_metrics", "the highest AP"), ("use_simple_ema", "'use_ema'"), ("num_joints", "key points")])
def test_a_key_that_nothing_reads_is_an_error(tmp_path, key, words):
    cfg = data_sets.load(tmp_path, {**detector_values(), key: 10})
    with pytest.raises(UserError) as caught:
        keys.check_keys(cfg)
    assert f"config key '{key}' is read by nothing here; " in str(caught.value) and words in str(caught.value)
    with pytest.raises(UserError, match=f"-o {key}: the config has no such key; "):
        keys.check_options(cfg, {key: 10}, detector_values())
    keys.check_keys(data_sets.load(tmp_path, {**detector_values(), key: None}))


@pytest.mark.parametrize("path", sorted(map(str, (REPO / "configs").glob("rtdetr*/*.yml"))) + sorted(
    map(str, (REPO / "configs").glob("*.yml"))))
def test_configs_of_the_repository(path, log):
    keys.check_keys(config_file.load(path))
    assert not log.records
