# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a class of one's own says of its features: out_shape, adapter, channels of its image; wrong ones in one line."""
import numpy as np
import paddle
import pytest
from paddle import nn
from support.detector_cases import build_detector, eval_batch
from support.small_detector import SMALL

from ppdet_ext.errors import UserError
from ppdet_ext.registry import ShapeSpec, build
from ppdet_ext.registry.user_class import adapt, as_wanted


class Net:
    """Features at strides 8, 16 and 32 with 4, 6 and 8 channels; subclasses take some of them."""

    def __init__(self):
        channels = getattr(self, "in_chans", 3)
        self.first = nn.Conv2D(channels, 4, 8, stride=8)
        self.second, self.third = nn.Conv2D(4, 6, 2, stride=2), nn.Conv2D(6, 8, 2, stride=2)

    def forward(self, x):
        first = self.first(x)
        second = self.second(first)
        return [first, second, self.third(second)]


class OneFeature(Net):
    adapter = "auto"

    def forward(self, x):
        return super().forward(x)[2:]


class Grey(Net):
    in_chans = 1


class ChannelsLast(Net):
    def forward(self, x):
        return [feature.transpose([0, 2, 3, 1]) for feature in super().forward(x)]


def wrong(*specs):
    class Wrong(Net):
        out_shape = [ShapeSpec(channels=channels, stride=stride) for channels, stride in specs]
    return Wrong


def batch(size=64):
    return {"image": paddle.rand([1, 3, size, size])}


def detector(network, **sections):
    sizes = {**SMALL, **sections}
    return build_detector(**sizes, DETR={"backbone": network})


def test_a_class_names_an_adapter():
    layer = build(adapt(OneFeature))
    assert [spec.stride for spec in layer.out_shape] == [8, 16, 32]
    features = layer(batch())
    assert [feature.shape[1:] for feature in features] == [[spec.channels, 64 // spec.stride, 64 // spec.stride]
                                                           for spec in layer.out_shape]
    assert any(name.startswith("to_strides.") for name, _ in layer.named_parameters())


def test_one_channel_is_the_mean_of_three():
    layer = build(adapt(Grey))
    image = batch()["image"]
    for given, wanted in zip(layer({"image": image}), layer(image.mean(1, keepdim=True))):
        np.testing.assert_array_equal(given, wanted)
    assert as_wanted(image, Net) is image


@pytest.mark.parametrize("cls, words", [
    (wrong((4, 8), (6, 16), (9, 32)), r"out_shape says strides \(channels\) 8 \(4\), 16 \(6\), 32 \(9\), but forward "
                                      r"gives 8 \(4\), 16 \(6\), 32 \(8\)"),
    (wrong((4, 4), (6, 8), (8, 16)), r"says strides \(channels\) 4 \(4\).*gives 8 \(4\)"),
    (ChannelsLast, r"features with channels last \(\[1, 8, 8, 4\] at 64x64\); give .*transpose\(\[0, 3, 1, 2\]\)"),
])
def test_what_is_wrong_is_said(cls, words):
    layer = build(adapt(cls))
    with pytest.raises(UserError, match=words) as caught:
        layer(batch()) if "Wrong" in cls.__name__ else layer.out_shape
    assert "\n" not in str(caught.value)


def test_a_right_out_shape_holds():
    layer = build(adapt(wrong((4, 8), (6, 16), (8, 32))))
    assert len(layer(batch())) == len(layer(batch(70))) == 3


# ---------------------------------------------------------------- in a detector
def test_fewer_features_are_said_or_go_on_as_they_are():
    few = {"name": "TimmBackbone", "arch": "resnet18", "out_indices": [3, 4]}
    with pytest.raises(UserError, match=r"gives 2 levels, 0 to 1 \(strides \[16, 32\]\); let an adapter .* \[1\]"):
        detector(few)
    model = detector(few, HybridEncoder={**SMALL["HybridEncoder"], "use_encoder_idx": [1]})
    model.eval()
    assert len(model(eval_batch(128, 128))["bbox"]) == 100
    model = detector({**few, "adapter": "auto"})
    assert model.neck.feat_strides == [8, 16, 32]


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_than_pictures_have(channels):
    with pytest.raises(UserError, match=f"in_chans is {channels}, but pictures are read with 3"):
        detector({"name": "TimmBackbone", "arch": "resnet18", "in_chans": channels})


def test_grey_detectors_take_pictures():
    model = detector({"name": "TimmBackbone", "arch": "resnet18", "in_chans": 1})
    model.eval()
    assert model.backbone.model.conv1.weight.shape[1] == 1
    assert len(model(eval_batch(128, 128))["bbox"]) == 100


def test_a_neck_built_for_other_channels():
    model = detector({"name": "TimmBackbone", "arch": "resnet18"})
    with pytest.raises(UserError, match=r"built for features of \[128, 256, 512\] channels, .* but gets \[4, 6, 8\]"):
        model.neck([paddle.zeros([1, channels, side, side]) for channels, side in ((4, 8), (6, 4), (8, 2))])
