# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Operations counted in Paddle's program: by hand, and against what others have published."""
import paddle
import pytest
from paddle import nn
from support.detector_cases import build_detector
from support.published_costs import PUBLISHED, TOLERANCE

from ppdet_ext.backbones import create_model
from ppdet_ext.errors import UserError
from ppdet_ext.measure import operations_count
from ppdet_ext.measure.operations_count import count_backbone, count_detector, count_parameters

# RT-DETR's paper: (GFLOPs, millions of parameters) at 640 x 640; there a multiplication and an addition are two
DETECTORS = {"rtdetr/rtdetr_r18vd_6x_coco.yml": (60, 20), "rtdetr/rtdetr_r50vd_6x_coco.yml": (136, 42)}


class Everything(nn.Layer):
    """One operation of every kind that counts."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3, padding=1)
        self.pointwise = nn.Conv2D(8, 16, 1)
        self.grouped = nn.Conv2D(16, 16, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2D(16, 16, 5, padding=2, groups=16)
        self.up = nn.Conv2DTranspose(16, 4, 2, stride=2)
        self.linear = nn.Linear(4, 10)

    def forward(self, x):
        x = self.up(self.depthwise(self.grouped(self.pointwise(self.conv(x)))))
        tokens = x.flatten(2).transpose([0, 2, 1])
        widened = self.linear(tokens)
        return paddle.matmul(tokens, tokens, transpose_x=True), paddle.einsum("btc,btd->bcd", tokens, widened)


def test_every_kind_is_counted_by_hand():
    found = count_backbone(Everything(), (6, 10))
    inside, outside = 6 * 10, 12 * 20
    assert found.macs == {
        "conv": inside * 8 * 3 * 9 + inside * 16 * 4 * 4, "pointwise": inside * 16 * 8,
        "grouped": inside * 16 * 4 * 9, "depthwise": inside * 16 * 25, "linear": outside * 4 * 10,
        "attention": 4 * 4 * outside + 4 * 10 * outside}
    assert found.gmacs == pytest.approx(sum(found.macs.values()) / 1e9) and found.gflops == 2 * found.gmacs


def test_the_layer_stays_as_it_was():
    net = nn.Sequential(nn.Conv2D(3, 4, 1), nn.Dropout(0.5))
    net.train()
    net[1].eval()
    count_backbone(net, (8, 8))
    assert "forward" not in vars(net) and net.training and net[0].training and not net[1].training


def test_statistics_are_no_parameters():
    assert count_parameters(nn.Sequential(nn.Conv2D(3, 4, 1), nn.BatchNorm2D(4))) == 3 * 4 + 4 + 2 * 4


def test_a_program_without_sizes_is_an_error():
    with pytest.raises(UserError, match="does not know the sizes that conv2d works on"):
        operations_count.count(nn.Conv2D(3, 4, 1), [paddle.static.InputSpec([1, 3, None, None], "float32", "image")])


def assert_as_published(name):
    side, gmacs, parameters = PUBLISHED[name]
    net = create_model(name)
    assert count_backbone(net, (side, side)).gmacs == pytest.approx(gmacs, rel=TOLERANCE)
    assert count_parameters(net) / 1e6 == pytest.approx(parameters, rel=1e-3)


def test_published_figures_of_one():
    assert_as_published("torchvision/resnet18")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", PUBLISHED)
def test_all_published_figures(name):
    assert_as_published(name)


@pytest.mark.slow
@pytest.mark.parametrize("path", DETECTORS)
def test_published_detectors(path):
    gflops, parameters = DETECTORS[path]
    model = build_detector(path)
    assert count_detector(model, (640, 640)).gflops == pytest.approx(gflops, rel=TOLERANCE)
    assert count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.03)
