# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every config that a user can start from: its keys, its sizes, its detector. No data set and no weights are needed."""
import numpy as np
import paddle
import pytest
from ppdet.core.workspace import create
from support.environments import REPO

from ppdet_ext.config import config_file, keys
from ppdet_ext.data import normalization
from ppdet_ext.registry.weights_wanted import without_pretrained

LEAVES = sorted(str(path.relative_to(REPO)) for folder in ("configs", "configs/rtdetr", "configs/rtdetrv2")
                for path in (REPO / folder).glob("*.yml"))
# of PaddleDetection's, whose detectors test_detector_golden.py builds, these are enough for every run
RUN = ("rtdetr_r18vd_6x_coco", "rtdetr_hgnetv2_l_6x_coco", "rtdetrv2_r18vd_dsp_3x_coco")
TO_RUN = [leaf if "configs/rtdetr" not in leaf.rpartition("/")[0] or leaf.endswith(tuple(f"{n}.yml" for n in RUN))
          else pytest.param(leaf, marks=pytest.mark.slow) for leaf in LEAVES]
# the 640-pixel configs are built smaller, to stay fast; 16*16 + 8*8 + 4*4 places are enough for 300 queries
SIDE = 128


def test_there_are_configs():
    assert "configs/rtdetr_cspresnet.yml" in LEAVES and "configs/rtdetr/rtdetr_r18vd_6x_coco.yml" in LEAVES


def resize_of(reader):
    return next(step["Resize"] for step in reader["sample_transforms"] if "Resize" in step)


@pytest.mark.parametrize("leaf", LEAVES)
def test_config_is_sound(leaf):
    cfg = config_file.load(str(REPO / leaf))
    keys.check_keys(cfg)
    side = list(cfg["eval_size"])
    assert resize_of(cfg["EvalReader"])["target_size"] == resize_of(cfg["TestReader"])["target_size"] == side
    assert cfg["TestReader"]["inputs_def"]["image_shape"] == [3, *side]
    normalization.resolve(cfg)
    for reader in ("TrainReader", "EvalReader", "TestReader"):
        steps = [*cfg[reader]["sample_transforms"], *cfg[reader].get("batch_transforms", [])]
        numbers, = (step["NormalizeImage"] for step in steps if "NormalizeImage" in step)
        assert np.shape(numbers["mean"]) == np.shape(numbers["std"]) == (3,)
        assert np.isfinite([numbers["mean"], numbers["std"]]).all()


@pytest.mark.parametrize("leaf", TO_RUN)
def test_its_detector_detects(leaf):
    cfg = config_file.load(str(REPO / leaf), [f"eval_size=[{SIDE},{SIDE}]"])
    with without_pretrained():
        model = create(cfg["architecture"])
    model.eval()
    image = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE)).astype("float32")
    with paddle.no_grad():
        found = model({"image": paddle.to_tensor(image), "im_shape": paddle.full([2, 2], float(SIDE)),
                       "scale_factor": paddle.ones([2, 2])})
    boxes, count = found["bbox"].numpy(), cfg["DETRPostProcess"]["num_top_queries"]
    assert found["bbox_num"].numpy().tolist() == [count, count] and boxes.shape == (2 * count, 6)
    assert np.isfinite(boxes).all() and 0 <= boxes[:, 0].min() <= boxes[:, 0].max() < cfg["num_classes"]
