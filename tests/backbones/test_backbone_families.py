# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What only one native family has: RegNet's formula of widths, HGNetV2's stem and affine, RepViT's fused form."""
import numpy as np
import paddle
import pytest
from paddle import nn

from ppdet_ext.backbones import create_model, hgnetv2, regnet
from ppdet_ext.errors import UserError
from ppdet_ext.weights.layout_rules import to_paddle, to_torch
from ppdet_ext.weights.parity import relative_error


def picture(height=64, width=100, batch=2):
    return np.random.RandomState(0).randn(batch, 3, height, width).astype("float32")


def unsettle(net, seed=0):
    """Move BatchNorm statistics, biases and all one-dimensional parameters away from their start."""
    random = np.random.RandomState(seed)
    for key, value in net.state_dict().items():
        if key.endswith("._variance"):
            value.set_value(random.uniform(0.5, 1.5, value.shape).astype("float32"))
        elif len(value.shape) == 1:
            centre = 1.0 if key.endswith((".weight", ".scale")) else 0.0
            value.set_value((centre + 0.2 * random.randn(*value.shape)).astype("float32"))
    net.eval()
    return net


@pytest.mark.torch
@pytest.mark.parametrize("name", regnet.VARIANTS)
def test_regnet_stages_are_those_of_timm(name):
    theirs = pytest.importorskip("timm", reason="the formula is compared with timm's").models.regnet
    cfg = theirs.model_cfgs[name]
    widths, count, groups = theirs.generate_regnet(cfg.wa, cfg.w0, cfg.wm, cfg.depth, cfg.group_size)
    stages = sorted(set(widths))
    wanted, groups = theirs.adjust_widths_groups_comp(stages, [1.0] * count, groups)
    depths = [widths.count(width) for width in stages]
    assert regnet.stage_shapes(*regnet.VARIANTS[name]["shape"]) == list(zip(wanted, depths, groups))
    assert regnet.VARIANTS[name].get("se", False) == bool(cfg.se_ratio)


def with_timms(arch):
    """Our network with values that hide nothing, and timm's with the same."""
    torch = pytest.importorskip("torch", reason="parity is measured against torch")
    timm = pytest.importorskip("timm", reason="parity is measured against timm")
    ours, theirs = unsettle(create_model(arch)), timm.create_model(arch).eval()
    tensors = to_torch({key: value.numpy() for key, value in ours.state_dict().items()}, ours)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in tensors.items()})
    return ours, theirs


@pytest.mark.torch
def test_hgnetv2_stem_and_affine_equal_timm():
    """Affine away from 1 and 0: values after it are negative, so the pooling's border of zeros counts."""
    torch = pytest.importorskip("torch", reason="parity is measured against torch")
    ours, theirs = with_timms("hgnetv2_b0")
    x = picture(65, 99)
    with paddle.no_grad(), torch.no_grad():
        pairs = [(ours.stem(paddle.to_tensor(x)), theirs.stem(torch.tensor(x))),
                 (ours(paddle.to_tensor(x)), theirs(torch.tensor(x)))]
    errors = [relative_error(one.numpy(), other.numpy()) for one, other in pairs]
    print(f"hgnetv2_b0: max|d|/max|ref| of stem and logits: {errors[0]:.1e} {errors[1]:.1e}")
    assert max(errors) <= 1e-5


def test_hgnetv2_without_a_classifier_still_has_its_last_convolution():
    net = create_model("hgnetv2_b0", num_classes=0)
    assert net(paddle.to_tensor(picture())).shape == [2, hgnetv2.HEAD_CHS]
    assert create_model("hgnetv2_b0", features_only=True).unused_prefixes == ("head.fc.", "head.last_conv.")


@pytest.mark.parametrize("settings", [{}, {"features_only": True}])
def test_fused_repvit_computes_the_same(settings):
    net = unsettle(create_model("repvit_m0_9", **settings))
    x = paddle.to_tensor(picture())
    with paddle.no_grad():
        wanted = net(x)
        assert net.fuse() is net
        got = net(x)
    errors = [relative_error(one.numpy(), other.numpy()) for one, other in (
        zip(got, wanted) if settings else [(got, wanted)])]
    print("fused: max|d|/max|ref| " + " ".join(f"{error:.1e}" for error in errors))
    assert max(errors) <= 1e-5
    assert not any(isinstance(layer, nn.layer.norm._BatchNormBase) for layer in net.sublayers())


@pytest.mark.torch
def test_fused_repvit_has_the_names_and_values_of_timms():
    ours, theirs = with_timms("repvit_m0_9")
    ours.fuse()
    theirs.fuse()
    wanted = to_paddle({key: value.numpy() for key, value in theirs.state_dict().items()}, ours)
    got = ours.state_dict()
    assert set(got) == set(wanted)
    assert max(relative_error(value.numpy(), wanted[key]) for key, value in got.items()) <= 1e-5


def test_fused_repvit_is_exported(tmp_path):
    net = unsettle(create_model("repvit_m0_9", features_only=True))
    x = picture()
    with paddle.no_grad():
        wanted = [feature.numpy() for feature in net(paddle.to_tensor(x))]
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
    paddle.jit.save(paddle.jit.to_static(net.fuse(), input_spec=spec, full_graph=True), str(tmp_path / "net"))
    got = paddle.jit.load(str(tmp_path / "net"))(paddle.to_tensor(x))
    assert max(relative_error(one.numpy(), other) for one, other in zip(got, wanted)) <= 1e-5


def test_repvit_refuses_stochastic_depth():
    with pytest.raises(UserError, match="RepViT has no stochastic depth"):
        create_model("repvit_m0_9", drop_path_rate=0.1)


@pytest.mark.parametrize("name", ["regnety_002", "hgnetv2_b0", "repvit_m0_9"])
def test_the_stem_is_a_stage_of_its_own_also_where_it_ends_at_stride_4(name):
    net = create_model(name, features_only=True)
    stem, *stages = net.stage_layers()
    assert stem == [net.stem]
    assert len(stages) == 4
