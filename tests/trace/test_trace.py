# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Traced graphs: what they keep, what they refuse, and the networks made from them."""

import numpy as np
import paddle
import pytest
from support.paths import FILES

from ppdet_ext.backbones import create_model, list_models
from ppdet_ext.backbones.modules import TimmBackbone
from ppdet_ext.backbones.traced import TracedNet
from ppdet_ext.errors import UserError
from ppdet_ext.graph import graph_file
from ppdet_ext.graph.graph import Graph, Node, Ref
from ppdet_ext.trace import on_demand

REPRESENTATIVES = (FILES / "representatives.txt").read_text().split()
QUICK = ("test_resnet", "test_vit2", "lcnet_035")
COSTLY = ("nasnetalarge", "pnasnet5large", "mobilenetv5_base", "torchvision/maxvit_t", "sequencer2d_s",
          "swinv2_base_window12_192", "mvitv2_tiny", "torchvision/inception_v3", "nextvit_small", "fastvit_t8",
          "beit_base_patch16_224", "swin_tiny_patch4_window7_224", "gcvit_xxtiny", "csatv2_21m",
          "swinv2_cr_tiny_224")  # a third of a minute and more each


def image(*shape):
    return paddle.to_tensor(np.random.RandomState(0).randn(*shape).astype("float32"))


def test_enough_graphs_ship_and_they_are_small():
    names = on_demand.shipped()
    assert len(names) >= 60
    assert not set(names) & set(list_models())
    assert sum(path.stat().st_size for path in on_demand.SHIPPED.iterdir()) < 5e6


@pytest.mark.parametrize("name", ["mobilenetv2_100", "vit_tiny_patch16_224", "torchvision/mobilenet_v3_small"])
def test_a_shipped_graph_needs_no_torch(name, monkeypatch):
    monkeypatch.setattr(on_demand, "traced", None)
    net = create_model(name, features_only=True, out_indices=(-1,))
    net.eval()
    with paddle.no_grad():
        feature, = net(image(1, 3, 64, 96))
    info = net.feature_info
    assert feature.shape == [1, info.channels()[0], 64 // info.reduction()[0], 96 // info.reduction()[0]]


def test_a_graph_survives_its_file(tmp_path):
    nodes = [Node("x", "input"), Node("c", "const", "c"),
             Node("y", "call", "_operator.getitem", [Ref("x"), (Ellipsis, slice(None, 2, None), float("inf"))])]
    made = Graph("net", nodes, {"output": [Ref("y")]}, state={"w": [1]}, consts={"c": np.arange(3)})
    graph_file.save(made, tmp_path / "net.graph.gz")
    read = graph_file.load(tmp_path / "net.graph.gz")
    assert read.nodes == made.nodes and read.outputs == made.outputs and read.state == made.state
    assert isinstance(read.outputs["output"][0], Ref)
    np.testing.assert_array_equal(read.consts["c"], np.arange(3))


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "net.graph.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(UserError, match="holds no traced network"):
        graph_file.load(path)


def test_a_one_stride_network_becomes_a_pyramid():
    backbone = TimmBackbone(arch="vit_tiny_patch16_224", adapter="simple_fpn", freeze_at=0)
    assert [(spec.channels, spec.stride) for spec in backbone.out_shape] == [(256, 8), (256, 16), (256, 32)]
    backbone.train()
    features = backbone(image(1, 3, 64, 96))
    assert [feature.shape[2:] for feature in features] == [[8, 12], [4, 6], [2, 3]]
    sum(feature.sum() for feature in features).backward()
    assert backbone.model["patch_embed"]["proj"].weight.grad is None
    assert backbone.model["blocks"]["2"]["attn"]["qkv"].weight.grad is None  # the first quarter is stage 0
    assert backbone.model["blocks"]["3"]["attn"]["qkv"].weight.grad is not None
    assert [bool(layers) for layers in backbone.model.stage_layers()] == [True] * 5


def test_a_one_stride_network_without_an_adapter_says_so():
    with pytest.raises(UserError, match="adapter: auto"):
        TimmBackbone(arch="vit_tiny_patch16_224")


def test_sizes_that_the_patch_does_not_divide_are_refused_or_fitted():
    with pytest.raises(UserError, match="not a multiple of 32"):
        TimmBackbone(arch="vit_tiny_patch16_224", adapter="auto")(image(1, 3, 70, 64))
    features = TimmBackbone(arch="vit_tiny_patch16_224", adapter="auto", size="pad")(image(1, 3, 70, 64))
    assert features[0].shape[2:] == [12, 8]


def test_recompute_changes_no_gradient():
    def gradients(recompute):
        paddle.seed(0)
        net = create_model("mobilenetv2_100", features_only=True)
        net.recompute = recompute
        net.train()
        sum(feature.mean() for feature in net(image(2, 3, 64, 64))).backward()
        return {name: p.grad.numpy() for name, p in net.named_parameters() if p.grad is not None}
    plain, again = gradients(False), gradients(True)
    assert plain.keys() == again.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-3, atol=1e-6 * max(1, abs(value).max()), err_msg=name)


def test_an_unknown_operation_in_a_graph_is_named():
    made = Graph("net", [Node("x", "input"), Node("y", "call", "torch.fft.fft2", [Ref("x")])],
                 {"features": [Ref("y")]}, features=[{"num_chs": 3, "reduction": 1, "module": ""}])
    with pytest.raises(UserError, match="torch.fft.fft2"):
        TracedNet(made, features_only=True)


@pytest.mark.torch
def test_tracing_keeps_sizes_open_and_names_what_it_cannot_follow():
    torch = pytest.importorskip("torch", reason="tracing needs torch")
    from ppdet_ext.graph.layer import GraphLayer
    from ppdet_ext.trace.from_torch import trace_module

    class Net(torch.nn.Module):
        def forward(self, x):
            batch, channels, height, width = x.shape
            y = x.reshape(batch, channels, height * width)
            y += 1.0
            return y if height % 2 == 0 else -y

    layer = GraphLayer(trace_module(Net(), (2, 3, 8, 8)))
    np.testing.assert_allclose(layer(image(3, 3, 6, 10))["output"].numpy(),
                               image(3, 3, 6, 10).numpy().reshape(3, 3, 60) + 1, rtol=1e-6)
    with pytest.raises(UserError, match=r"image.shape\[2\] % 2.*img_size"):
        layer(image(1, 3, 7, 8))

    class Branch(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match="data-dependent control flow.*test_trace.py"):
        trace_module(Branch(), (2, 3, 8, 8))

    class Deep(torch.nn.Module):  # a guard on what comes from far has words that are the same in each run
        def forward(self, x):
            for _ in range(12):
                x = torch.cat([x, x[:, :1]], dim=1)
            return x if x.shape[2] == 8 else -x

    words = [node.target for node in trace_module(Deep(), (2, 3, 8, 8)).nodes if node.kind == "guard"]
    assert words and not any("0x" in text for text in words)


@pytest.mark.torch
def test_parameters_are_known_to_begin_as_the_originals_do():
    torch = pytest.importorskip("torch", reason="tracing needs torch")
    weights = pytest.importorskip("timm.layers.weight_init", reason="its truncated normal numbers")
    from ppdet_ext.trace import from_torch
    from ppdet_ext.trace.initializers import INITIALIZERS

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, fill in fills.items():
                setattr(self, name, torch.nn.Parameter(torch.empty(300, 400)))  # large: made without values
                fill(getattr(self, name))

    fills = {
        "cut": lambda weight: weights.trunc_normal_(weight, std=0.03), "zero": torch.nn.init.zeros_,
        "ours": lambda weight: torch.nn.init.uniform_(weight, -2, 6), "named": lambda weight: torch.nn.init.normal_(
            tensor=weight, mean=1.0, std=0.5), "kaiming": torch.nn.init.kaiming_uniform_,
        "scaled": lambda weight: weight.data.normal_(mean=2, std=3).mul_(0.5).add_(1)}
    net = from_torch.weightless(lambda: Net(), {}, "Net")
    assert all(weight.is_meta for weight in net.parameters())
    real = Net()
    for name, (kind, *numbers) in vars(net)[INITIALIZERS].items():
        weight = getattr(real, name).detach()
        found = (weight.min(), weight.max()) if kind == "uniform" else (weight.mean(), weight.std())
        np.testing.assert_allclose(found[:len(numbers)], numbers, atol=0.01 * float(weight.abs().max()))
    assert set(vars(net)[INITIALIZERS]) == set(fills)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["test_resnet", "vit_small_resnet50d_s16_224", "swinv2_cr_tiny_ns_224"])
def test_the_class_that_is_seen_before_a_network_is_made_is_its_class(name):
    timm = pytest.importorskip("timm", reason="its networks are made")
    from ppdet_ext.trace import from_torch
    assert from_torch._class_of(name) is type(timm.create_model(name))
    timm.create_model("test_resnet")  # timm is as it was


@pytest.mark.torch
def test_coordinates_are_augmented_in_training_alone():
    torch = pytest.importorskip("torch", reason="tracing needs torch")
    eva = pytest.importorskip("timm.models.eva", reason="timm's network is traced")
    from ppdet_ext.graph.layer import GraphLayer
    from ppdet_ext.trace.from_torch import trace_module

    torch.manual_seed(0)
    net = eva.Eva(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, use_abs_pos_emb=False, num_classes=0,
                  use_rot_pos_emb=True, rope_type="dinov3", rope_rescale_coords=2.0, dynamic_img_size=True)
    graph = trace_module(net, (1, 3, 32, 32))
    assert graph.info["training_differs"] == []
    layer = GraphLayer(graph)
    for parameter in layer.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    layer.train()
    one, other = (layer(image(1, 3, 32, 48))["output"].numpy() for _ in range(2))
    assert abs(one - other).max() > 1e-3
    layer.eval()
    one, other = (layer(image(1, 3, 32, 48))["output"].numpy() for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.torch
@pytest.mark.parametrize("name", [*QUICK, *(
    pytest.param(name, marks=pytest.mark.exhaustive if name in COSTLY else pytest.mark.slow)
    for name in REPRESENTATIVES if name not in QUICK)])
def test_a_network_of_every_model_file_equals_its_original(name):
    """Features at two sizes, gradients, BatchNorm statistics after a step, export: see sweep.measure."""
    pytest.importorskip("torch", reason="parity is measured against torch")
    pytest.importorskip("timm", reason="parity is measured against timm")
    pytest.importorskip("torchvision", reason="parity is measured against torchvision")
    from ppdet_ext.sweep import measure

    row = measure.measure(name, reduce_above=5.0)
    print({key: row[key] for key in ("name", "sizes", "forward", "gradient", "gradient64", "statistics", "export")})
    assert (row["status"], row["reason"]) == ("ok", "")
