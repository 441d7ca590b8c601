# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Native networks against timm's and torchvision's: features, logits, gradients, statistics, random starts."""
import numpy as np
import paddle
import pytest

from ppdet_ext.backbones import create_model, list_models
from ppdet_ext.bridge.parity import relative_error
from ppdet_ext.bridge.rules import to_paddle

torch = pytest.importorskip("torch", reason="parity is measured against torch")
timm = pytest.importorskip("timm", reason="parity is measured against timm")

SIZES = [(96, 96), (100, 132)]
REPRESENTATIVE = ["tf_efficientnet_lite0", "cspresnet50", "resnet18d", "torchvision/resnet18"]
ARCHS = [name if name in REPRESENTATIVE else pytest.param(name, marks=pytest.mark.slow) for name in list_models()]


def reference(name):
    """The torch network with random weights and BatchNorm statistics far from their start.

    Half of the statistics is measured: with random ones alone, values leave the range that a trained network keeps
    them in, and rounding grows from layer to layer (1.4e-4 at the end of tf_efficientnet_lite4, 5e-8 in float64).
    """
    torch.manual_seed(0)
    if name.startswith("torchvision/"):
        torchvision = pytest.importorskip("torchvision", reason="the reference is torchvision's network")
        net = torchvision.models.get_model(name.split("/")[1])
    else:
        net = timm.create_model(name)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        torch.nn.init.normal_(norm.weight, 1.0, 0.1)
        torch.nn.init.normal_(norm.bias, 0.0, 0.1)
        norm.momentum = 0.5
    with torch.no_grad():
        net.train()(torch.tensor(picture(96, 96, seed=7)))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def copy_of(net, name, dtype="float32", **settings):
    """The native network with the torch network's weights."""
    copy = create_model(name, **settings)
    copy.to(dtype=dtype)
    tensors = {key: value.numpy() for key, value in net.state_dict().items()}
    tensors = to_paddle(tensors, create_model(name) if settings else copy)
    own = copy.state_dict()
    assert {key: list(value.shape) for key, value in own.items()} == {
        key: list(value.shape) for key, value in tensors.items() if not key.startswith(copy.unused_prefixes or ("?",))}
    copy.set_state_dict(tensors)
    copy.eval()
    return copy


def features_of(net, info, x):
    """Outputs of the torch modules that ``info`` names as features, then the network's own output."""
    taken = {}
    modules = dict(net.named_modules())
    hooks = [modules[path].register_forward_hook(lambda _m, _i, out, path=path: taken.__setitem__(path, out.clone()))
             for path in info.module_name()]
    out = net(x)
    for hook in hooks:
        hook.remove()
    return [taken[path] for path in info.module_name()], out


def picture(height, width, seed=0):
    return np.random.RandomState(seed).randn(2, 3, height, width).astype("float32")


@pytest.mark.parametrize("name", ARCHS)
def test_features_and_logits_equal_the_source(name):
    theirs = reference(name)
    ours = copy_of(theirs, name)
    for size in SIZES:
        x = picture(*size)
        with torch.no_grad():
            wanted, logits = features_of(theirs, ours.feature_info, torch.tensor(x))
        with paddle.no_grad():
            features = ours.forward_intermediates(paddle.to_tensor(x))
            ours_logits = ours(paddle.to_tensor(x))
        errors = [relative_error(one.numpy(), other.numpy()) for one, other in zip(features, wanted)]
        errors.append(relative_error(ours_logits.numpy(), logits.numpy()))
        print(f"{name} {size}: max|d|/max|ref| per feature, then logits: " + " ".join(f"{e:.1e}" for e in errors))
        assert max(errors) <= 1e-4


@pytest.mark.parametrize("name", [name for name in list_models(source="timm")])
def test_feature_info_equals_timm(name):
    with torch.device("meta"):
        theirs = timm.create_model(name, features_only=True).feature_info
    ours = create_model(name, features_only=True).feature_info
    assert ours.channels() == theirs.channels()
    assert ours.reduction() == theirs.reduction()
    assert ours.module_name() == theirs.module_name()
    assert ours.out_indices == tuple(theirs.out_indices)


@pytest.mark.parametrize("name", REPRESENTATIVE[:3])
def test_a_training_step_has_the_source_gradients_and_statistics(name):
    """In float64: in float32 a few activations in a million land on the other side of a kink and drown the rest."""
    theirs = reference(name).train().double()
    counts = {}  # values a channel's statistics are taken over
    for path, module in theirs.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda _m, args, _o, path=path: counts.__setitem__(
                path, args[0].numel() // args[0].shape[1]))
    before = {key: value.clone() for key, value in theirs.state_dict().items()}
    ours = copy_of(theirs, name, features_only=True, dtype="float64")
    ours.train()
    x = picture(64, 64).astype("float64")
    wanted, _ = features_of(theirs, ours.feature_info, torch.tensor(x))
    weights = [np.random.RandomState(i).randn(*feature.shape) for i, feature in enumerate(wanted)]
    sum((feature * torch.tensor(weight)).mean() for feature, weight in zip(wanted, weights)).backward()
    features = ours(paddle.to_tensor(x))
    sum((feature * paddle.to_tensor(weight)).mean() for feature, weight in zip(features, weights)).backward()

    gradients = to_paddle({key: value.grad.numpy() for key, value in theirs.named_parameters()
                           if value.grad is not None}, ours)
    noise = 1e-6 * max(abs(value).max() for value in gradients.values())  # some are zero but for rounding
    errors = {key: abs(value.grad.numpy() - gradients[key]).max() / max(abs(gradients[key]).max(), noise)
              for key, value in ours.named_parameters() if not value.stop_gradient}
    print(f"{name}: worst gradient {max(errors.values()):.1e} ({max(errors, key=errors.get)})")
    assert max(errors.values()) <= 1e-3

    after = theirs.state_dict()
    statistics = {key: value for key, value in ours.state_dict().items() if key.endswith(("._mean", "._variance"))}
    for key, value in statistics.items():
        path = key.rpartition(".")[0]
        if key.endswith("._mean"):
            np.testing.assert_allclose(value.numpy(), after[f"{path}.running_mean"].numpy(), rtol=1e-3, atol=1e-5)
            continue
        # torch averages in the unbiased variance, Paddle the biased one: (n - 1) / n of the step
        start, end = (state[f"{path}.running_var"].numpy() for state in (before, after))
        batch = (end - 0.9 * start) * (counts[path] - 1) / counts[path]
        np.testing.assert_allclose(value.numpy(), 0.9 * start + batch, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_random_starts_are_spread_as_in_the_source(name):
    torch.manual_seed(0)
    paddle.seed(0)
    if name.startswith("torchvision/"):
        theirs = pytest.importorskip("torchvision").models.get_model(name.split("/")[1])
    else:
        theirs = timm.create_model(name)
    ours = create_model(name)
    tensors = to_paddle({key: value.detach().numpy() for key, value in theirs.state_dict().items()}, ours)
    for key, value in ours.state_dict().items():
        wanted, got = tensors[key], value.numpy()
        if wanted.size > 1000:
            assert got.std() == pytest.approx(wanted.std(), rel=0.1), key
            assert abs(got).max() <= 1.6 * abs(wanted).max(), key
        elif wanted.std() == 0.0:
            np.testing.assert_array_equal(got, wanted, err_msg=key)


@pytest.mark.parametrize("name", REPRESENTATIVE[:3])
def test_drop_path_rises_as_in_timm(name):
    with torch.device("meta"):
        theirs = timm.create_model(name, drop_path_rate=0.2)
    ours = create_model(name, drop_path_rate=0.2)
    wanted = {path: module.drop_prob for path, module in theirs.named_modules() if hasattr(module, "drop_prob")}
    got = {path: layer.rate for path, layer in ours.named_sublayers() if hasattr(layer, "rate")}
    wanted = {path: rate for path, rate in wanted.items() if rate}
    assert got.keys() == wanted.keys()
    assert all(got[path] == pytest.approx(rate) for path, rate in wanted.items())
