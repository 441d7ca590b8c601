# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What evaluation would fail at is found before the first epoch; where it would not, nothing changes."""
import json

import cv2
import numpy as np
import pytest
from ppdet.core.workspace import create
from support.trainers import trainer_of

from ppdet_ext.engine import rehearsal
from ppdet_ext.engine.precision import Precision
from ppdet_ext.errors import UserError

KEPT = "Resize: {target_size: [64, 64], keep_ratio: true, interp: 2}"
PAD = "EvalReader.batch_transforms=[PadBatch: {pad_to_stride: 32}]"


@pytest.fixture
def two_shapes(tiny_config, small_digits, tmp_path):
    """Options for an evaluation set whose pictures have about 96 pixels, but the last, which is narrow."""
    content = json.loads((small_digits / "annotations" / "val.json").read_text())
    last = content["images"][-1]
    name = small_digits / "val" / last["file_name"]
    if not name.is_file():
        name = next(small_digits.rglob(last["file_name"]))
    picture = cv2.imread(str(name))[:, :48]
    last.update(width=48, height=picture.shape[0], file_name="narrow.png")
    cv2.imwrite(str(name.with_name("narrow.png")), picture)
    (small_digits / "annotations" / "narrow.json").write_text(json.dumps(content))
    return ["EvalDataset.anno_path=annotations/narrow.json"]


def eval_reader(resize, normalise="NormalizeImage: {mean: from_weights, std: from_weights}"):
    return f"EvalReader.sample_transforms=[Decode: {{}}, {resize}, {normalise}, Permute: {{}}]"


@pytest.mark.parametrize("options, words", [
    ([eval_reader(KEPT)], "evaluation would fail: pictures of one batch have different sizes"),
    ([eval_reader(KEPT), PAD, "DETRPostProcess={bbox_decode_type: origin, num_top_queries: 20}"],
     "EvalReader pads pictures, and boxes .*bbox_decode_type: pad"),
    ([eval_reader("Resize: {target_size: [80, 80], keep_ratio: false}")],
     "evaluation would fail: HybridEncoder needs every feature map twice .* multiples of 32"),
])
def test_it_is_found_before_the_first_epoch(tiny_config, two_shapes, options, words):
    trainer = trainer_of(tiny_config, [*two_shapes, *options])
    with pytest.raises(UserError, match=words) as caught:
        trainer.train(validate=True)
    assert "\n" not in str(caught.value)
    assert trainer.status.losses.meters is None


def test_kept_ratios_are_evaluated_with_padding(tiny_config, two_shapes):
    options = [*two_shapes, eval_reader(KEPT), PAD, "DETRPostProcess={bbox_decode_type: pad, num_top_queries: 20}"]
    trainer = trainer_of(tiny_config, [*options, "epoch=1"])
    trainer.train(validate=True)
    assert trainer.status.images == 4


def test_it_leaves_no_trace(tiny_config):
    trainer = trainer_of(tiny_config)
    model, dataset = trainer.model, create("EvalDataset")()
    model.train()
    model.backbone.eval()
    modes = [layer.training for layer in model.sublayers()]
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    rehearsal.rehearse(model, dataset, 2, Precision())
    assert [layer.training for layer in model.sublayers()] == modes
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)
    assert len(dataset.roidbs) == 4 and not dataset.parse_dataset()
