# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Heads of one's own: named in a config, trained, exported; and what the parts hand on to each other."""
import re

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.core.workspace import create, merge_config
from support.detector_cases import CONFIGS, build_detector, eval_batch, train_batch
from support.paths import REPO
from support.registry_fixtures import clean_registry  # noqa: F401

from ppdet_ext import cli, registry
from ppdet_ext.config import config_file, keys
from ppdet_ext.detector.heads import BoxHead, LinearScoreHead
from ppdet_ext.detector.outputs import DecoderOutput, HeadOutput
from ppdet_ext.errors import UserError

pytestmark = pytest.mark.usefixtures("clean_registry")
SIZE, CLASSES, QUERIES, LAYERS = 64, 10, 20, 2
DECODER = {"num_queries": QUERIES, "num_denoising": 4, "num_decoder_layers": LAYERS, "dim_feedforward": 32}
HEAD = re.compile(r"transformer\.(?:enc|dec)_(?:score|bbox)_head\.")


def detector_with(**sections):
    """R18 with a small decoder; ``sections`` are merged over it."""
    transformer = {**DECODER, **sections.pop("RTDETRTransformer", {})}
    return build_detector(num_classes=CLASSES, eval_size=[SIZE, SIZE], norm_type="bn", RTDETRTransformer=transformer,
                          **sections)


def train_one_step(model):
    """The loss of one step of AdamW, and {name: whether the parameter moved}."""
    before = {name: value.numpy().copy() for name, value in model.named_parameters()}
    optimizer = paddle.optimizer.AdamW(1e-2, parameters=model.parameters())
    model.train()
    loss = model(train_batch(SIZE, SIZE, 2, CLASSES))["loss"]
    loss.backward()
    optimizer.step()
    return float(loss), {name: not np.array_equal(value.numpy(), before[name])
                         for name, value in model.named_parameters()}


def head_names(model):
    return sorted(name for name in model.state_dict() if HEAD.match(name))


@pytest.mark.parametrize("language", ["", pytest.param("_cn", marks=pytest.mark.slow)])
def test_the_head_of_the_docs_trains_and_exports(language, tmp_path):
    """One file that --import reads, and one line of YAML."""
    text = (REPO / "docs" / f"heads{language}.md").read_text(encoding="utf-8")
    (tmp_path / "my_head.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1), encoding="utf-8")
    line = next(line for line in text.splitlines() if "BinnedBoxHead, bins" in line)
    cli.import_file(tmp_path / "my_head.py")
    (tmp_path / "my.yml").write_text(f"_BASE_: ['{CONFIGS}/rtdetr/rtdetr_r18vd_6x_coco.yml']\n{line}\n")
    cfg = config_file.load(tmp_path / "my.yml")
    config_file.merge(cfg, {"num_classes": CLASSES, "norm_type": "bn", "RTDETRTransformer": DECODER,
                            "eval_size": [SIZE, SIZE], "pretrain_weights": ""})
    keys.check_keys(cfg)
    model = create(cfg["architecture"])
    transformer = model.transformer
    assert [list(head.linear.weight.shape) for head in transformer.dec_bbox_head] == [[256, 4 * 33]] * LAYERS
    assert "transformer.enc_bbox_head.linear.bias" in model.state_dict()

    loss, moved = train_one_step(model)
    assert np.isfinite(loss) and all(moved[f"transformer.dec_bbox_head.{i}.linear.weight"] for i in range(LAYERS))

    model.eval()
    batch = eval_batch(SIZE, SIZE)
    wanted = model(batch)["bbox"].numpy()
    spec = [{name: paddle.static.InputSpec([None, *value.shape[1:]], name=name) for name, value in batch.items()}]
    full = {} if paddle.__version__.startswith("2") else {"full_graph": True}
    paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, **full), str(tmp_path / "model"))
    found = paddle.jit.load(str(tmp_path / "model"))(*(batch[name] for name in sorted(batch)))[0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_a_score_head_with_settings():
    """It also starts anew for other classes, as fine-tuning wants it."""
    @registry.register
    class ScaledScoreHead(LinearScoreHead):
        def __init__(self, hidden_dim=256, num_classes=80, scale=1.0):
            super().__init__(hidden_dim, num_classes)
            self.scale = scale

        def forward(self, tokens):
            return super().forward(tokens) * self.scale

    plain, scaled = (detector_with(RTDETRTransformer={"score_head": head}).eval()
                     for head in ("LinearScoreHead", {"name": "ScaledScoreHead", "scale": 3.0}))
    tokens = paddle.rand([1, 5, 256])
    wanted, found = (model.transformer.dec_score_head[1](tokens).numpy() for model in (plain, scaled))
    np.testing.assert_array_equal(found, wanted * 3)
    assert head_names(plain) == head_names(scaled)
    scaled.transformer.reset_classes()
    np.testing.assert_allclose(paddle.nn.functional.sigmoid(scaled.transformer.enc_score_head.bias).numpy(), 0.01,
                               rtol=1e-4)


def test_another_detr_head_reads_the_decoders_output_by_name():
    @registry.register
    class BoxesToTheMiddle(nn.Layer):
        @classmethod
        def from_config(cls, cfg, hidden_dim, nhead, input_shape):
            return {}

        def forward(self, decoded, feats, inputs=None):
            if not self.training:
                return HeadOutput(decoded.boxes[-1], decoded.logits[-1])
            return {"loss_middle": (decoded.boxes - 0.5).abs().sum() + decoded.logits.sum() * 0.0}

    model = detector_with(DETR={"detr_head": "BoxesToTheMiddle"})
    loss, moved = train_one_step(model)
    assert loss > 0 and moved["transformer.dec_bbox_head.1.layers.2.weight"]
    model.eval()
    assert model(eval_batch(SIZE, SIZE))["bbox"].shape[1] == 6


def test_default_heads_have_paddledetections_names():
    boxes = [f"{owner}.layers.{i}.{leaf}" for owner in ("dec_bbox_head.0", "dec_bbox_head.1", "enc_bbox_head")
             for i in range(3) for leaf in ("bias", "weight")]
    scores = [f"{owner}.{leaf}" for owner in ("dec_score_head.0", "dec_score_head.1", "enc_score_head")
              for leaf in ("bias", "weight")]
    assert head_names(detector_with()) == sorted(f"transformer.{name}" for name in boxes + scores)


@pytest.mark.parametrize("setting, words", [
    ({"box_head": "MLPBoxHed"}, "MLPBoxHed.*did you mean MLPBoxHead"),
    ({"box_head": {"name": "MLPBoxHead", "layers": 3}}, "MLPBoxHead has no setting 'layers'"),
    ({"box_head": "LinearScoreHead"}, r"box_head: LinearScoreHead has no decode; derive it from BoxHead"),
    ({"score_head": "MLPBoxHead"}, "MLPBoxHead has no setting 'num_classes'"),
])
def test_wrong_heads_are_said(setting, words):
    with pytest.raises(UserError, match=words):
        detector_with(RTDETRTransformer=setting)


def test_a_misspelt_head_in_a_config_is_said(tmp_path):
    (tmp_path / "my.yml").write_text(f"_BASE_: ['{CONFIGS}/rtdetr/rtdetr_r18vd_6x_coco.yml']\n"
                                     "RTDETRTransformer: {score_head: LinearScoreHed}\n")
    with pytest.raises(UserError, match=r"RTDETRTransformer.score_head: 'LinearScoreHed' is not registered"):
        keys.check_keys(config_file.load(tmp_path / "my.yml"))


def test_what_the_decoder_hands_on():
    model = detector_with()
    feats = [paddle.rand([2, 256, side, side]) for side in (8, 4, 2)]
    batch = train_batch(SIZE, SIZE, 2, CLASSES)
    decoded = model.transformer.train()(feats, None, batch)
    assert isinstance(decoded, DecoderOutput)
    most = max(len(boxes) for boxes in batch["gt_bbox"])
    made, queries = decoded.denoising.split
    assert (made, queries) == (2 * most * decoded.denoising.groups, QUERIES)
    assert decoded.boxes.shape == [LAYERS, 2, made + QUERIES, 4]
    assert decoded.logits.shape == [LAYERS, 2, made + QUERIES, CLASSES]
    assert decoded.encoder_boxes.shape == [2, QUERIES, 4] and decoded.encoder_logits.shape == [2, QUERIES, CLASSES]
    assert [len(found) for found in decoded.denoising.positives] == [
        len(boxes) * decoded.denoising.groups for boxes in batch["gt_bbox"]]

    decoded = model.transformer.eval()(feats)
    assert decoded.denoising is None and decoded.boxes.shape == [1, 2, QUERIES, 4]
    predicted = model.detr_head.eval()(decoded, feats)
    assert predicted.boxes.shape == [2, QUERIES, 4] and predicted.masks is None
    ones = paddle.ones([2, 2])
    detections = model.post_process(predicted, ones * SIZE, ones, ones * SIZE)
    assert detections.bbox_num.tolist() == [len(detections.bbox) // 2] * 2


def test_a_box_heads_moves_are_added_before_the_sigmoid():
    moves, before = paddle.rand([1, 3, 4]), paddle.rand([1, 3, 4])
    np.testing.assert_array_equal(BoxHead().decode(moves, before).numpy(), (moves + before).numpy())


def test_paddledetections_own_transformer_gets_its_mask(monkeypatch):
    """A plain config of PaddleDetection's DETR: its transformer takes (features, pad_mask, batch) in this order."""
    from ppdet.modeling.transformers import detr_transformer

    masks, forward = [], detr_transformer.DETRTransformer.forward
    monkeypatch.setattr(detr_transformer.DETRTransformer, "forward", lambda self, feats, mask=None, *more:
                        masks.append(mask) or forward(self, feats, mask, *more))
    merge_config({"num_classes": CLASSES, "hidden_dim": 32, "use_focal_loss": False})
    backbone = {"name": "ResNet", "depth": 18, "norm_type": "bn", "return_idx": [3], "freeze_at": -1}
    model = registry.build({"name": "DETR", "backbone": backbone, "neck": None, "post_process": "DETRPostProcess",
                            "transformer": {"name": "DETRTransformer", "num_queries": 10}, "detr_head": "DETRHead"})
    batch = {**train_batch(SIZE, SIZE, 2, CLASSES), "pad_mask": paddle.ones([2, SIZE, SIZE])}
    model.train()
    assert float(model(batch)["loss"]) > 0
    assert masks == [batch["pad_mask"]]
