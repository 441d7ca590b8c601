# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Mixed precision O1 and O2 in bfloat16 and float16, on half_on_cpu's stand-in for the kernels that a CPU lacks."""

import numpy as np
import paddle
import pytest
from support.detector_cases import build_detector, train_batch
from support.half_on_cpu import half_on_cpu

from ppdet_ext import cli, kernels
from ppdet_ext.detector import RTDETRTransformer, decoder, flat_attention, loss, matcher
from ppdet_ext.engine import precision
from ppdet_ext.engine.precision import Precision
from ppdet_ext.engine.trainer import Trainer
from ppdet_ext.errors import UserError

KINDS = [("O1", "bfloat16"), ("O2", "bfloat16"), ("O1", "float16"), ("O2", "float16")]
ENCODER = {"name": "TransformerLayer", "d_model": 32, "nhead": 2, "dim_feedforward": 32, "dropout": 0.0,
           "activation": "gelu"}
SMALL = {
    "hidden_dim": 32, "num_classes": 5, "eval_size": None, "norm_type": "bn",
    "DETR": {"backbone": "TimmBackbone"},
    "HybridEncoder": {"hidden_dim": 32, "depth_mult": 0.34, "encoder_layer": ENCODER},
    "RTDETRTransformer": {"num_queries": 20, "num_decoder_layers": 2, "dim_feedforward": 32, "nhead": 2,
                          "num_denoising": 10},
}


@pytest.fixture
def half(monkeypatch):
    monkeypatch.setattr(precision, "device_has_half", lambda: True)
    with kernels.enabled(), half_on_cpu():
        yield


def small(arch, **sections):
    sections = {**SMALL, "TimmBackbone": {"arch": arch, "pretrained": False}, **sections}
    return build_detector("rtdetr/rtdetr_r18vd_6x_coco.yml", **sections)


def train(model, level, dtype, steps=3):
    """Losses of some steps as the Trainer makes them."""
    mixed = Precision.of({"amp": True, "amp_level": level, "amp_dtype": dtype})
    optimizer = paddle.optimizer.AdamW(1e-3, parameters=model.parameters(),
                                       grad_clip=paddle.nn.ClipGradByGlobalNorm(0.1))
    mixed.decorate(model, optimizer)
    scaler, losses = mixed.scaler(), []
    model.train()
    batch = train_batch(64, 64, 2, num_classes=5)
    for _ in range(steps):
        paddle.seed(3)  # the same denoising queries
        with mixed.auto_cast():
            total = model(batch)["loss"]
        scaler.scale(total).backward()
        precision.widen_gradients(model.parameters())
        scaler.step(optimizer)
        scaler.update()
        optimizer.clear_grad()
        losses.append(float(total))
    return losses, scaler


# a native port and a shipped graph of a bridged network; the first kind of each, and the last, are enough for every day
EVERY_DAY = [("tf_efficientnet_lite0", *KINDS[0]), ("tf_efficientnet_lite0", *KINDS[-1]), ("pvt_v2_b0", *KINDS[0])]


@pytest.mark.parametrize("arch, level, dtype", [
    pytest.param(*case, marks=[] if case in EVERY_DAY else pytest.mark.slow)
    for case in ((arch, *kind) for arch in ("tf_efficientnet_lite0", "pvt_v2_b0") for kind in KINDS)])
def test_detectors_train_in_mixed_precision(half, arch, level, dtype):
    model = small(arch)
    before = {name: value.numpy() for name, value in model.named_parameters()}
    # from the eighth step on what is learnt exceeds what rounding changes, in float32 as well
    losses, scaler = train(model, level, dtype, steps=8)
    assert np.isfinite(losses).all() and np.mean(losses[-2:]) < losses[0]
    assert all(bool(paddle.isfinite(value.astype("float32")).all()) for value in model.state_dict().values())
    kinds = {str(value.dtype).rpartition(".")[2] for value in model.parameters()}
    assert kinds == ({"float32", dtype} if level == "O2" else {"float32"})
    moved = [name for name, value in model.named_parameters() if not np.array_equal(value.numpy(), before[name])]
    assert len(moved) > 0.9 * len(before) and scaler.is_enable() == (dtype == "float16")


def test_discrete_sampling_trains_in_mixed_precision(half):
    """RT-DETRv2's decoder, which picks pixels by number."""
    sections = {**SMALL, "TimmBackbone": {"arch": "tf_efficientnet_lite0", "pretrained": False},
                "RTDETRTransformerv2": SMALL["RTDETRTransformer"]}
    del sections["RTDETRTransformer"]
    losses, _ = train(build_detector("rtdetrv2/rtdetrv2_r18vd_dsp_3x_coco.yml", **sections), "O2", "float16", steps=6)
    assert np.isfinite(losses).all() and np.mean(losses[-2:]) < losses[0]


@pytest.mark.parametrize("level, dtype", KINDS)
def test_what_needs_float32_gets_it(half, monkeypatch, level, dtype):
    """Matching, losses, sampling locations and the inverse sigmoid; the linear layers around them do not."""
    seen = {}

    def watch(owner, name, pick):
        function = getattr(owner, name)

        def watched(*args, **kwargs):
            found = pick(*args, **kwargs)
            seen.setdefault(name, set()).update(str(value.dtype).rpartition(".")[2] for value in found)
            return function(*args, **kwargs)
        monkeypatch.setattr(owner, name, watched)

    watch(matcher.HungarianMatcher, "assign", lambda self, boxes, logits, target: (boxes, logits))
    watch(loss, "varifocal_loss", lambda logits, score, label: (logits, score, label))
    watch(loss, "iou_and_giou", lambda a, b: (a, b))
    watch(decoder, "inverse_sigmoid", lambda x: (x,))
    watch(flat_attention, "two_pixels", lambda position, size: (position,))
    watch(RTDETRTransformer, "forward", lambda self, feats, *_: feats)
    train(small("tf_efficientnet_lite0"), level, dtype, steps=1)
    inside = {name: kinds for name, kinds in seen.items() if name != "forward"}
    assert set(map(frozenset, inside.values())) == {frozenset({"float32"})} and len(inside) == 5


def test_buffers_are_not_rounded(half):
    """Anchors, position embeddings and what a bridged network brings along, under O2."""
    model = small("pvt_v2_b0", eval_size=[64, 64])
    before = {name: buffer.numpy().copy() for name, buffer in model.named_buffers()}
    train(model, "O2", "bfloat16", steps=1)
    after = dict(model.named_buffers())
    assert "transformer.anchors" in before and before.keys() == after.keys()
    for name, value in before.items():
        assert after[name].dtype in (paddle.float32, paddle.bool, paddle.int32, paddle.int64), name
        if not name.endswith(("_mean", "_variance")):
            np.testing.assert_array_equal(after[name].numpy(), value, err_msg=name)


def test_mixed_precision_stays_near_float32(half):
    """Same weights, same batch; another token selected or box matched moves these few queries' loss by per cents."""
    def first(level=None, dtype=None):
        paddle.seed(7)
        model = small("tf_efficientnet_lite0")
        if level is None:
            paddle.seed(3)
            return float(model.train()(train_batch(64, 64, 2, num_classes=5))["loss"])
        return train(model, level, dtype, steps=1)[0][0]
    wanted = first()
    for (level, dtype), limit in zip(KINDS, (0.06, 0.06, 0.04, 0.04)):
        found = first(level, dtype)
        print(f"{level} {dtype}: {found / wanted - 1:+.1e}")
        assert found == pytest.approx(wanted, rel=limit)


@pytest.mark.parametrize("level, dtype, limit", [("O1", "bfloat16", 0.05), ("O2", "float16", 0.01)])
def test_recomputing_keeps_the_precision(half, level, dtype, limit):
    """What runs again in the backward pass, outside of ``forward``, runs in the same types.

    Backbone and neck give the same bits; the decoder's layers add their gradients of the memory up in another order.
    Float32 instead of bfloat16 would be 0.46 away.
    """
    found = []
    for recompute in (False, True):
        model = small("pvt_v2_b0").train()
        for part in (model.backbone.model, model.neck, model.transformer.decoder):
            part.recompute = recompute
        mixed = Precision.of({"amp": True, "amp_level": level, "amp_dtype": dtype})
        mixed.decorate(model, paddle.optimizer.AdamW(1e-3, parameters=model.parameters()))
        paddle.seed(3)
        with mixed.auto_cast():
            total = model(train_batch(64, 64, 2, num_classes=5))["loss"]
        total.backward()
        found.append(np.concatenate([parameter.grad.astype("float32").numpy().ravel()
                                     for parameter in model.parameters() if parameter.grad is not None]))
    error = np.linalg.norm(found[1] - found[0]) / np.linalg.norm(found[0])
    print(f"{level} {dtype}: |d|/|ref| of all gradients {error:.1e}")
    assert error <= limit


def test_an_overflow_skips_the_step_and_lowers_the_scale(half):
    mixed = Precision.of({"amp": True, "init_loss_scaling": 2.0 ** 40})
    layer = paddle.nn.Linear(4, 4)
    optimizer = paddle.optimizer.AdamW(0.1, parameters=layer.parameters())
    before, scaler = layer.weight.numpy(), mixed.scaler()
    with mixed.auto_cast():
        total = layer(paddle.ones([2, 4])).astype("float32").sum()
    scaler.scale(total).backward()
    scaler.step(optimizer)
    scaler.update()
    assert np.array_equal(layer.weight.numpy(), before) and float(scaler.state_dict()["scale"]) == 2.0 ** 39


def trainer_of(config, *options):
    args = cli.config_parser("").parse_args(["-c", str(config), "-o", *options])
    return Trainer(cli.load_cfg(args, "train"), "train")


@pytest.mark.slow
@pytest.mark.parametrize("dtype, every", [("bfloat16", 1), ("float16", 2)])
def test_an_o2_run_saves_float32_averages_and_goes_on(half, tiny_config, tmp_path, dtype, every):
    """A whole run: the average comes from the masters, files are float32, and a resumed run has the same masters."""
    options = ["amp=true", "amp_level=O2", f"amp_dtype={dtype}", "ema_decay=0.5", "ema_decay_type=normal",
               f"accumulate_steps={every}"]
    trainer = trainer_of(tiny_config, *options, "epoch=1")
    trainer.train()
    folder = tmp_path / "output" / "tiny"
    files = {suffix: paddle.load(str(folder / f"model_final{suffix}")) for suffix in (".pdparams", ".pdema", ".pdopt")}
    masters = files[".pdopt"]["master_weights"]
    parameters = dict(trainer.model.named_parameters())
    half_named = [name for name, value in parameters.items() if value.dtype == getattr(paddle, dtype)]
    assert len(half_named) > 50 and {parameters[name].name for name in half_named} == set(masters)
    for name in half_named:
        assert files[".pdparams"][name].dtype == files[".pdema"][name].dtype == paddle.float32
        np.testing.assert_array_equal(files[".pdema"][name].numpy(), masters[parameters[name].name].numpy())
    rounded = [name for name in half_named if np.array_equal(
        files[".pdparams"][name].numpy(), files[".pdparams"][name].astype(dtype).astype("float32").numpy())]
    assert len(rounded) < len(half_named) / 2  # biases that never moved may be round by themselves

    again = trainer_of(tiny_config, *options, "epoch=2")
    again.resume_weights(str(folder / "model_final"))
    again.train()
    assert np.isfinite(again.history.rows[-1]["loss"])


@pytest.mark.parametrize("key, value, words", [
    ("amp_level", "O3", "amp_level is 'O3'; it takes O1 or O2"),
    ("amp_dtype", "half", "amp_dtype is 'half'; it takes float16 or bfloat16"),
])
def test_unknown_settings_are_refused(key, value, words):
    with pytest.raises(UserError, match=words):
        Precision.of({key: value})


def test_a_cpu_says_that_it_cannot(log):
    assert not Precision.of({"amp": True}).enabled
    assert "NO effect" in log.text
