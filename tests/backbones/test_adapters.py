# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""backbones.adapters: features of any strides brought to 8, 16 and 32, and images of any size."""
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdet_ext.backbones.adapters import ADAPTERS, PatchSize, bilinear, choose_adapter, fit_image, make_adapter
from ppdet_ext.errors import UserError
from ppdet_ext.nn.interpolation import interpolation_matrix
from ppdet_ext.weights.parity import relative_error

SIZES = [(256, 256), (224, 224), (320, 416)]


class PatchNet(nn.Layer):
    """A plain transformer's outline: every feature at one stride."""

    def __init__(self, patch, channels=32, count=3):
        super().__init__()
        self.proj = nn.Conv2D(3, channels, patch, stride=patch)
        self.blocks = nn.LayerList([nn.Conv2D(channels, channels, 1) for _ in range(count)])

    def forward(self, x):
        x, features = self.proj(x), []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features


class Chain(nn.Layer):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.LayerList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def picture(*size, batch=2):
    return paddle.to_tensor(np.random.RandomState(0).randn(batch, 3, *size).astype("float32"))


def features_at(strides, channels, size):
    random = np.random.RandomState(0)
    return [paddle.to_tensor(random.randn(2, c, size[0] // s, size[1] // s).astype("float32"))
            for s, c in zip(strides, channels)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("patch", [8, 16, 32])
def test_simple_fpn_from_one_stride(patch, size):
    adapter = make_adapter("auto", [32] * 3, [patch] * 3, out_channels=24)
    outs = adapter(PatchNet(patch)(picture(*size)))
    assert adapter.indices == (2,) and adapter.multiple == 32
    assert (adapter.channels(), adapter.strides()) == ([24] * 3, [8, 16, 32])
    assert [out.shape for out in outs] == [[2, 24, size[0] // s, size[1] // s] for s in (8, 16, 32)]


@pytest.mark.parametrize("size, coarsest", [((224, 224), (7, 7)), ((280, 280), (9, 9)), ((238, 420), (8, 14))])
def test_simple_fpn_from_stride_14_fits_the_neck(size, coarsest):
    adapter = make_adapter("simple_fpn", [32], [14])
    assert adapter.multiple == 14 and adapter.channels() == [256] * 3
    outs = adapter(PatchNet(14, count=1)(picture(*size)))
    assert [tuple(out.shape[2:]) for out in outs] == [tuple(n * k for n in coarsest) for k in (4, 2, 1)]


def test_simple_fpn_from_stride_14_spans_the_whole_image():
    """A ramp from edge to edge stays one: no rows are lost where an odd number of cells is halved."""
    adapter = make_adapter("simple_fpn", [8], [14])
    adapter.enlarge = nn.LayerList([nn.Upsample(scale_factor=2), nn.Identity(), nn.Identity()])
    adapter.project = nn.LayerList([nn.Identity() for _ in range(3)])
    cells = 17
    ramp = paddle.to_tensor((np.arange(cells, dtype="float32") + 0.5) / cells).reshape([1, 1, 1, -1])
    for out in adapter([ramp.expand([1, 8, cells, cells])]):
        row = out[0, 0, 0].numpy()
        centres = (np.arange(len(row)) + 0.5) / len(row)
        assert abs(row - centres).max() < 0.75 / len(row)


@pytest.mark.parametrize("size", [(20, 26), (7, 40), (1, 13), (10, 13)])
def test_bilinear(size):
    """Against torch's way; Paddle's own F.interpolate takes the first pixel where a size becomes 1."""
    source = picture(10, 13)
    rows, columns = (interpolation_matrix(before, after, "bilinear") for before, after in zip((10, 13), size))
    assert relative_error(bilinear(source, size).numpy(), rows @ source.numpy() @ columns.T) <= 1e-5


RESAMPLED = [
    ([16, 32, 64], [16, 24, 32], (0, 1), [16, 16, 24]),  # LeViT, EfficientViT
    ([4, 8, 16], [16, 24, 32], (1, 2), [24, 32, 32]),  # NesT
    ([8, 16], [16, 24], (0, 1), [16, 24, 24]),
    ([4, 16], [16, 24], (0, 1), [16, 24, 24]),
    ([2, 4], [8, 16], (1,), [16, 16, 16]),
    ([64, 128], [8, 16], (0,), [8, 8, 8]),
    ([4, 8, 8, 32], [8, 12, 16, 24], (2, 3), [16, 16, 24]),
]


@pytest.mark.parametrize("size", [(256, 256), (320, 448)])
@pytest.mark.parametrize("strides, channels, indices, given", RESAMPLED)
def test_resample_adds_what_is_missing(strides, channels, indices, given, size):
    adapter = make_adapter("auto", channels, strides)
    assert isinstance(adapter, ADAPTERS["resample"])
    assert adapter.indices == indices and adapter.channels() == given
    features = features_at(strides, channels, size)
    outs = adapter(features)
    assert [out.shape for out in outs] == [[2, c, size[0] // s, size[1] // s] for c, s in zip(given, (8, 16, 32))]
    for stride, out in zip((8, 16, 32), outs):
        if stride in strides:
            last = max(index for index, other in enumerate(strides) if other == stride)
            assert out is features[last]


def test_resample_takes_channels_for_what_it_makes():
    assert make_adapter("resample", [16, 24], [8, 16], out_channels=64).channels() == [16, 24, 64]


def test_select_takes_the_last_of_each_stride():
    strides, channels = [4, 8, 8, 16, 32], [1, 2, 3, 4, 5]
    adapter = make_adapter("auto", channels, strides)
    features = features_at(strides, channels, (64, 64))
    assert all(a is b for a, b in zip(adapter(features), [features[2], features[3], features[4]]))
    assert adapter.indices == (2, 3, 4) and adapter.channels() == [3, 4, 5] and not adapter.parameters()


def test_auto_says_what_it_takes(monkeypatch):
    said = []
    monkeypatch.setattr("ppdet_ext.backbones.adapters.logger.info", lambda text, *rest: said.append(text % rest))
    make_adapter("auto", [4, 4, 4], [16, 16, 16], out_channels=32)
    make_adapter("select", [3, 4, 5], [8, 16, 32])
    assert said == ["adapter simple_fpn (auto): strides (channels) 16 (4) -> 8 (32), 16 (32), 32 (32)",
                    "adapter select: strides (channels) 8 (3), 16 (4), 32 (5) -> 8 (3), 16 (4), 32 (5)"]


ERRORS = [
    ("none", [16, 16], r"'none' cannot make strides \[8, 16, 32\] from features at strides \[16, 16\] "
     r"\(channels \[4, 4\]\); adapters that fit: simple_fpn, resample"),
    ("select", [4, 8], "adapters that fit: resample$"),
    ("simple_fpn", [8, 16, 32], "adapters that fit: none, select, resample$"),
    ("resample", [14, 28], "no adapter fits, choose other out_indices"),
    ("auto", [14, 28], "adapter 'auto' cannot make .* no adapter fits"),
    ("simple_fpm", [16], "adapter is 'simple_fpm'; it takes auto, none, select, simple_fpn, resample; did you mean "
     "simple_fpn"),
]


@pytest.mark.parametrize("name, strides, message", ERRORS)
def test_misfits_say_what_fits(name, strides, message):
    with pytest.raises(UserError, match=message) as caught:
        make_adapter(name, [4] * len(strides), strides)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_exist():
    with pytest.raises(UserError, match="adapter 'simple_fpn' has no setting 'out_channel'; did you mean out_channels"):
        make_adapter("simple_fpn", [4], [16], out_channel=3)
    with pytest.raises(UserError, match="adapter 'select' has no setting 'out_channels'"):
        make_adapter("auto", [1, 2, 3], [8, 16, 32], out_channels=3)


def test_choice_without_a_layer():
    assert choose_adapter("auto", [8, 8, 8, 8], [4, 8, 16, 32]) == ("select", (1, 2, 3))


@pytest.mark.parametrize("patch, size", [(16, 64), (14, 70)])
def test_gradients_reach_every_parameter_also_in_half_precision(patch, size):
    net, adapter = PatchNet(patch, count=1), make_adapter("auto", [32], [patch], out_channels=16)
    for level in ("O0", "O1"):
        with paddle.amp.auto_cast(enable=level != "O0", level="O1", dtype="bfloat16"):
            outs = adapter(net(picture(size, size)))
        sum((out.astype("float32") ** 2).mean() for out in outs).backward()
        for name, parameter in adapter.named_parameters():
            gradient = parameter.grad.numpy()
            assert np.isfinite(gradient).all() and abs(gradient).max() > 0, name
        adapter.clear_gradients()


def test_random_start_is_torchs():
    """Uniform within 1/sqrt(fan_in), as detectron2's pyramid is left at."""
    adapter = make_adapter("simple_fpn", [64], [16])
    for layer in adapter.sublayers():
        if isinstance(layer, (nn.Conv2D, nn.Conv2DTranspose)):
            fan_in = np.prod(layer.weight.shape[1:])
            bound = abs(layer.weight.numpy()).max()
            assert 0.95 / fan_in ** 0.5 < bound <= 1.0001 / fan_in ** 0.5


def restated_pyramid(torch, dim, out):
    """detectron2's SimpleFeaturePyramid for scale factors 2, 1 and 0.5 (and 4), norm 'LN', as its paper has it."""
    tnn = torch.nn

    class ChannelNorm(tnn.LayerNorm):
        def forward(self, x):
            mean = x.mean(1, keepdim=True)
            variance = (x - mean).pow(2).mean(1, keepdim=True)
            return self.weight[:, None, None] * (x - mean) / (variance + 1e-6).sqrt() + self.bias[:, None, None]

    def level(scale):
        layers, width = [], dim
        if scale == 4:
            layers = [tnn.ConvTranspose2d(dim, dim // 2, 2, 2), ChannelNorm(dim // 2), tnn.GELU(),
                      tnn.ConvTranspose2d(dim // 2, dim // 4, 2, 2)]
            width = dim // 4
        elif scale == 2:
            layers, width = [tnn.ConvTranspose2d(dim, dim // 2, 2, 2)], dim // 2
        elif scale == 0.5:
            layers = [tnn.MaxPool2d(2, 2)]
        return tnn.Sequential(*layers, tnn.Conv2d(width, out, 1, bias=False), ChannelNorm(out),
                              tnn.Conv2d(out, out, 3, padding=1, bias=False), ChannelNorm(out))

    return level


@pytest.mark.torch
@pytest.mark.parametrize("stride", [16, 32])
def test_simple_fpn_equals_detectron2(stride):
    torch = pytest.importorskip("torch", reason="compares with a torch pyramid")
    adapter = make_adapter("simple_fpn", [24], [stride], out_channels=12)
    level = restated_pyramid(torch, 24, 12)
    source = np.random.RandomState(0).randn(2, 24, 6, 8).astype("float32")
    for index, wanted in enumerate((8, 16, 32)):
        reference = level(stride / wanted)
        ours = [*adapter.enlarge[index].parameters(), *adapter.project[index].parameters()]
        theirs = list(reference.parameters())
        assert [tuple(p.shape) for p in ours] == [tuple(p.shape) for p in theirs]
        for mine, other in zip(ours, theirs):
            value = np.random.RandomState(len(mine.shape)).randn(*mine.shape).astype("float32")
            mine.set_value(value)
            other.data = torch.from_numpy(value)
        error = relative_error(adapter([paddle.to_tensor(source)])[index].numpy(),
                               reference(torch.from_numpy(source)).detach().numpy())
        print(f"stride {wanted}: max|d|/max|ref| = {error:.1e}")
        assert error <= 1e-5


EXPORTED = {
    "stride 16": lambda: Chain(PatchNet(16), make_adapter("auto", [32] * 3, [16] * 3, out_channels=8)),
    "stride 14, padded": lambda: Chain(PatchSize(14, "pad"), PatchNet(14),
                                       make_adapter("auto", [32] * 3, [14] * 3, out_channels=8)),
    "stride 14, resized": lambda: Chain(PatchSize(14, "resize"), PatchNet(14),
                                        make_adapter("auto", [32] * 3, [14] * 3, out_channels=8)),
    "one level resampled": lambda: Chain(PatchNet(16, count=1), make_adapter("resample", [32], [16])),
}


def predict(prefix, image, onednn):
    program = next(path for path in (f"{prefix}.json", f"{prefix}.pdmodel") if Path(path).exists())
    config = paddle.inference.Config(program, f"{prefix}.pdiparams")
    config.disable_glog_info()
    config.enable_mkldnn() if onednn else getattr(config, "disable_mkldnn", lambda: None)()
    runner = paddle.inference.create_predictor(config)
    runner.get_input_handle("image").copy_from_cpu(image)
    runner.run()
    return [runner.get_output_handle(name).copy_to_cpu() for name in runner.get_output_names()]


@pytest.mark.parametrize("case", EXPORTED)
def test_exported_with_unknown_sizes(case, tmp_path):
    net = EXPORTED[case]()
    net.eval()
    images = [picture(*size, batch=batch) for batch, size in [(1, (128, 128)), (2, (192, 224))]]
    wanted = [[out.numpy() for out in net(image)] for image in images]
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32", name="image")]
    paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), str(tmp_path / "net"))
    for onednn in (False, True):
        for image, outs in zip(images, wanted):
            got = predict(tmp_path / "net", image.numpy(), onednn)
            assert [out.shape for out in got] == [out.shape for out in outs]
            assert max(relative_error(one, other) for one, other in zip(got, outs)) <= 1e-5


def test_fit_image():
    image = picture(650, 640, batch=1)
    with pytest.raises(UserError, match=r"image 650x640 \(height x width\) is not a multiple of 16; nearest: 640x640 "
                                        "or 656x640; or set size: pad"):
        fit_image(image, 16)
    padded = fit_image(image, 16, "pad")
    assert padded.shape == [1, 3, 656, 640] and fit_image(image, 16, "resize").shape == [1, 3, 656, 640]
    assert (padded[:, :, :650] == image).all() and float(padded[:, :, 650:].abs().max()) == 0
    fitting = picture(64, 96)
    for policy in ("error", "pad", "resize"):
        assert (fit_image(fitting, 16, policy) == fitting).all()


def test_tiny_images_and_wrong_policies():
    with pytest.raises(UserError, match="image 5x20 .*; nearest: 14x14 or 14x28"):
        fit_image(picture(5, 20), 14)
    with pytest.raises(UserError, match="size is 'padd'; it takes error, pad, resize; did you mean pad"):
        PatchSize(16, "padd")
