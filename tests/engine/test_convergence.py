# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Twenty optimizer steps against transformers' RTDetrForObjectDetection: same weights, batches and noise, same losses.

The losses are equal term for term, two gradients are not, and ours are PaddleDetection's (its gradient norm stands in
tests/data):
- its varifocal loss differentiates its weight (alpha * p ** gamma); the PyTorch project and transformers hold that
  constant;
- it and the PyTorch project let a layer's boxes reach back through the box head before it; transformers does not.
So the curve is compared without the two, and each is pinned down by itself. transformers' backbone freezes BatchNorm
unless told otherwise: it is told to train it, as the R18 recipe does. Groups and warm-up are RT-DETRv2's.
"""
import contextlib

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from ppdet.core.workspace import create
from support.detector_cases import build_detector, under_names_of

from ppdet_ext.detector import decoder, loss

torch = pytest.importorskip("torch", reason="compares with torch")
transformers = pytest.importorskip("transformers", reason="compares with transformers' RTDetr")

pytestmark = pytest.mark.torch

STEPS, WARMUP, BASE_LR, START, CLIP, DECAY = 20, 8, 1e-4, 0.001, 0.1, 1e-4
SIZE, CLASSES, HIDDEN, HEADS, LAYERS, QUERIES, DENOISING = 64, 10, 64, 4, 3, 40, 20
ENCODER = {"name": "TransformerLayer", "d_model": HIDDEN, "nhead": HEADS, "dim_feedforward": 128, "dropout": 0.0,
           "activation": "gelu"}
OURS = {
    "num_classes": CLASSES, "hidden_dim": HIDDEN, "eval_size": None, "norm_type": "bn",
    "ResNet": {"depth": 18, "freeze_at": -1, "freeze_norm": False, "lr_mult_list": [1.0] * 4},
    "HybridEncoder": {"hidden_dim": HIDDEN, "expansion": 0.5, "encoder_layer": ENCODER},
    "RTDETRTransformer": {"num_decoder_layers": LAYERS, "num_queries": QUERIES, "nhead": HEADS, "dim_feedforward": 128,
                          "num_denoising": DENOISING},
    "LearningRate": {"base_lr": BASE_LR, "schedulers": [
        {"name": "PiecewiseDecay", "gamma": [1.0], "milestones": [100], "use_warmup": True},
        {"name": "LinearWarmup", "start_factor": START, "steps": WARMUP}]},
    "OptimizerBuilder": {"clip_grad_by_norm": CLIP, "regularizer": False, "optimizer": {
        "type": "AdamW", "weight_decay": DECAY, "param_groups": [
            {"params": ["^(?=.*backbone)(?!.*norm).*$"], "learning_rate": 0.1},
            {"params": ["^(?=.*(?:neck|transformer))(?=.*(?:norm|bn|enc_output.1)).*$"], "weight_decay": 0.0}]}},
}
THEIRS = {
    "num_labels": CLASSES, "d_model": HIDDEN, "encoder_hidden_dim": HIDDEN, "encoder_ffn_dim": 128,
    "encoder_attention_heads": HEADS, "encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5,
    "decoder_in_channels": [HIDDEN] * 3, "decoder_ffn_dim": 128, "decoder_attention_heads": HEADS,
    "decoder_layers": LAYERS, "num_queries": QUERIES, "num_denoising": DENOISING, "eval_size": None,
    "anchor_image_size": None, "freeze_backbone_batch_norms": False,
}


def group_of(name):
    """Factor on the rate, and whether weight decay holds, of one of our names: the recipe in other words."""
    norm = any(part.startswith(("norm", "bn")) for part in name.split(".")) or "enc_output.1" in name
    return (0.1 if name.startswith("backbone") and not norm else 1.0,
            not (norm and name.startswith(("neck", "transformer"))))


class Noise:
    """The denoising queries' random numbers from NumPy, in the order in which both draw them."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def ours(self, patch):
        patch.setattr(paddle, "rand", lambda shape, *_: paddle.to_tensor(self.uniform(shape)))
        patch.setattr(paddle, "randint", lambda low, high, shape: paddle.to_tensor(self.integer(low, high, shape)))

    def theirs(self, patch):
        patch.setattr(torch, "rand_like", lambda x, **_: torch.from_numpy(self.uniform(x.shape)))
        patch.setattr(torch, "randint_like", lambda x, low, high, dtype=None:
                      torch.from_numpy(self.integer(low, high, x.shape)).to(dtype or x.dtype))

    def uniform(self, shape):
        return self.rng.random(tuple(shape))

    def integer(self, low, high, shape):
        return self.rng.integers(low, high, tuple(shape))


def batch_of(step):
    """(image, boxes, classes) of two pictures with 1 to 5 boxes: other ones at every step."""
    rng = np.random.default_rng(100 + step)
    coarse = rng.random((2, 3, SIZE // 8, SIZE // 8))
    image = np.kron(coarse, np.ones((8, 8)))
    counts = rng.integers(1, 6, 2)
    boxes = [np.concatenate([rng.uniform(0.3, 0.7, (n, 2)), rng.uniform(0.1, 0.5, (n, 2))], 1)
             for n in counts]
    return image, boxes, [rng.integers(0, CLASSES, (n, 1)).astype("int32") for n in counts]


@contextlib.contextmanager
def double_precision(patch):
    """Both sides in float64.

    In float32 the curves start 1e-6 apart and are one per cent apart after 14 steps, although every step is right: Adam
    divides a gradient by its own size, so where it is nearly zero rounding decides its sign, and the selection of
    tokens and the matching turn such differences into other queries. In float64 they stay within 1e-8.
    """
    cast = paddle.Tensor.astype
    # our parts keep boxes and losses in float32; here that means float64
    patch.setattr(paddle.Tensor, "astype", lambda x, dtype: cast(x, "float64" if dtype == "float32" else dtype))
    kinds = paddle.get_default_dtype(), torch.get_default_dtype()
    paddle.set_default_dtype("float64")
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        paddle.set_default_dtype(kinds[0])
        torch.set_default_dtype(kinds[1])


@pytest.fixture
def pair(monkeypatch):
    """Our detector and theirs with equal weights, both in train mode and float64."""
    ours = build_detector(**OURS).to(dtype="float64")
    with double_precision(monkeypatch):
        yield ours, their_model(ours)


def their_model(ours):
    backbone = transformers.RTDetrResNetConfig(embedding_size=64, out_features=["stage2", "stage3", "stage4"],
                                               layer_type="basic", depths=[2, 2, 2, 2],
                                               hidden_sizes=[64, 128, 256, 512])
    # eager: its masks are float32, which the fused attention misreads beside float64
    theirs = transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(
        backbone_config=backbone, attn_implementation="eager", **THEIRS))
    theirs.double()
    weights = under_names_of(theirs, {name: tensor.numpy() for name, tensor in ours.state_dict().items()})
    report = theirs.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, strict=False)
    assert report.unexpected_keys == []
    assert [name for name in report.missing_keys if "num_batches_tracked" not in name] == []
    return theirs.train()


def constant_weight_varifocal(logits, score, label, alpha=0.75, gamma=2.0):
    """The varifocal loss as transformers has it: no gradient through the weight."""
    weight = alpha * F.sigmoid(logits.detach()).pow(gamma) * (1 - label) + score * label
    return weight * F.binary_cross_entropy_with_logits(logits, score, reduction="none")


def test_varifocal_gradients_differ_by_the_weights_own():
    """Of a negative: ours is alpha * (p^2 * p + 2 * p^2 * (1 - p) * softplus(x)), theirs the first part alone."""
    x = np.array([-2.0, 0.5, 3.0], "float32")
    zeros = paddle.zeros([3])
    values, slopes = [], []
    for function in (loss.varifocal_loss, constant_weight_varifocal):
        logits = paddle.to_tensor(x, stop_gradient=False)
        value = function(logits, zeros, zeros)
        value.sum().backward()
        values.append(value.numpy())
        slopes.append(logits.grad.numpy())
    p, softplus = 1 / (1 + np.exp(-x)), np.log1p(np.exp(x))
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(slopes[1], 0.75 * p**3, rtol=1e-5)
    np.testing.assert_allclose(slopes[0], 0.75 * (p**3 + 2 * p**2 * (1 - p) * softplus), rtol=1e-5)


def test_boxes_reach_back_through_one_head():
    """What the last layer's boxes teach: its own head and the one before, not the first of three."""
    model = build_detector(**OURS).train()
    transformer = model.transformer
    feats = [paddle.rand([1, HIDDEN, side, side]) for side in (8, 4, 2)]
    nothing = {"gt_class": [paddle.zeros([0, 1], "int32")], "gt_bbox": [paddle.zeros([0, 4])]}
    boxes = transformer(feats, None, nothing)[0]
    boxes[-1].sum().backward()
    slopes = [head.layers[-1].bias.grad for head in transformer.dec_bbox_head]
    assert [bool(slope is not None and slope.abs().max() > 0) for slope in slopes] == [False, True, True]


def our_curve(model, patch):
    patch.setattr(loss, "varifocal_loss", constant_weight_varifocal)
    inverse = decoder.inverse_sigmoid
    patch.setattr(decoder, "inverse_sigmoid", lambda boxes: inverse(boxes.detach()))
    schedule = create("LearningRate")(1000)
    optimizer = create("OptimizerBuilder")(schedule, model)
    losses = []
    for step in range(STEPS):
        Noise(step).ours(patch)
        image, boxes, classes = batch_of(step)
        total = model({"image": paddle.to_tensor(image), "gt_bbox": [paddle.to_tensor(b) for b in boxes],
                      "gt_class": [paddle.to_tensor(c) for c in classes]})["loss"]
        total.backward()
        optimizer.step()
        schedule.step()
        optimizer.clear_grad()
        losses.append(float(total))
    return losses


def their_optimizer(model, names):
    """torch's AdamW with a group for each (factor, decay); ``names`` are ours."""
    groups, parameters = {}, dict(model.named_parameters())
    for name, array in names.items():
        found = [parameters.pop(theirs) for theirs in under_names_of(model, {name: array}) if theirs in parameters]
        groups.setdefault(group_of(name), []).extend(found)
    assert not parameters and len(groups) == 3
    return torch.optim.AdamW([{"params": found, "lr": factor, "factor": factor, "weight_decay": DECAY * decays}
                              for (factor, decays), found in groups.items()])


def their_curve(model, names, patch):
    optimizer, losses = their_optimizer(model, names), []
    for step in range(STEPS):
        Noise(step).theirs(patch)
        image, boxes, classes = batch_of(step)
        share = min(step / WARMUP, 1)
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * BASE_LR * (START * (1 - share) + share)
        labels = [{"boxes": torch.from_numpy(b), "class_labels": torch.from_numpy(c[:, 0].astype("int64"))}
                  for b, c in zip(boxes, classes)]
        total = model(pixel_values=torch.from_numpy(image), labels=labels).loss
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(float(total.detach()))
    return losses


@pytest.mark.slow
def test_twenty_steps_stay_on_the_reference_curve(pair, monkeypatch):
    ours, theirs = pair
    ours.train()
    names = {name: parameter.numpy() for name, parameter in ours.named_parameters()}
    with monkeypatch.context() as patch:
        reference = np.array(their_curve(theirs, names, patch))
    with monkeypatch.context() as patch:
        losses = np.array(our_curve(ours, patch))
    errors = np.abs(losses / reference - 1)
    print("theirs", reference.round(4), "relative error", [f"{error:.0e}" for error in errors])
    # 1e-3 is what was asked for; a weight decay ten times too large still passes that, and 1e-6 shows it
    assert np.isfinite(reference).all() and errors.max() <= 1e-6
