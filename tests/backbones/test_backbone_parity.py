# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Native networks against timm's and torchvision's: features, logits, gradients, statistics, random starts."""
import numpy as np
import paddle
import pytest
from support import native_cases

from ppdet_ext.backbones import create_model, model_entry
from ppdet_ext.errors import UserError
from ppdet_ext.weights.layout_rules import to_paddle
from ppdet_ext.weights.parity import relative_error

torch = pytest.importorskip("torch", reason="parity is measured against torch")
timm = pytest.importorskip("timm", reason="parity is measured against timm")

pytestmark = pytest.mark.torch

SIZES = [(96, 96), (100, 132)]
ODD_SIZE = (131, 75)  # for networks that pad: multiples of nothing
SMALL_SIZE = (68, 100)  # the rest of a family, which shares its code
REPRESENTATIVE = native_cases.representatives()
FROM_TIMM = native_cases.representatives(source="timm")
SWINS = [name for name in FROM_TIMM if model_entry(name).family == "swin"]
ANY_SIZE = {"strict_img_size": False}  # makes those of timm's networks take any size that are made for one
FACTORS = ("weight", "gamma", "scale")  # last names of one-dimensional parameters that multiply


def source(name, **settings):
    """The torch network, as its source starts it; no part of it drops anything at random."""
    if name.startswith("torchvision/"):
        torchvision = pytest.importorskip("torchvision", reason="the reference is torchvision's network")
        return torchvision.models.get_model(name.split("/")[1])
    try:
        net = timm.create_model(name, **ANY_SIZE, **settings)
    except TypeError:  # the network has no such setting, and needs none
        net = timm.create_model(name, **settings)
    if hasattr(getattr(net, "patch_embed", None), "dynamic_img_pad"):
        net.patch_embed.dynamic_img_pad = True
    for module in net.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return net


def reference(name, **settings):
    """The torch network with random weights far from their start.

    Half of BatchNorm's statistics is measured: with random ones alone, values leave the range that a trained network
    keeps them in, and rounding grows from layer to layer (1.4e-4 at the end of tf_efficientnet_lite4, 5e-8 in float64).
    """
    torch.manual_seed(0)
    net = source(name, **settings)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        unsettle(net, keep_weights=bool(norms))
        for norm in norms:
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
            norm.momentum = 0.5
        if norms:
            net.train()(torch.tensor(picture(96, 96, seed=7)))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def unsettle(net, keep_weights):
    """Take parameters away from starts that hide errors.

    Those are ones and zeros: norms, biases, layer scales, branches that start at nothing. Without BatchNorm also
    weights near zero, which leave attention uniform and its position biases without effect.
    """
    for key, value in net.named_parameters():
        if value.ndim < 2:
            value.normal_(1.0 if key.endswith(FACTORS) else 0.0, 0.1)
        elif not keep_weights:
            value.normal_(0.0, value[0].numel() ** -0.5)
        if key == "layers.3.blocks.1.attn.logit_scale":
            value[0] = 6.0  # above Swin V2's limit, where rounding counts a hundredfold


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
    """Outputs of the torch modules that ``info`` names as features, as [B, C, H, W], and the network's own output."""
    taken = {}
    modules = dict(net.named_modules())
    hooks = [modules[path].register_forward_hook(lambda _m, _i, out, path=path: taken.__setitem__(path, out.clone()))
             for path in info.module_name()]
    out = net(x)
    for hook in hooks:
        hook.remove()
    features = [taken[path] for path in info.module_name()]
    if getattr(net, "output_fmt", "NCHW") == "NHWC":
        features = [feature.permute(0, 3, 1, 2) for feature in features]
    return features, out


def picture(height, width, batch=2, seed=0):
    return np.random.RandomState(seed).randn(batch, 3, height, width).astype("float32")


def assert_parity(name, theirs, ours, sizes, batch=2):
    for size in sizes:
        x = picture(*size, batch)
        with torch.no_grad():
            wanted, logits = features_of(theirs, ours.feature_info, torch.tensor(x))
        with paddle.no_grad():
            features = ours.forward_intermediates(paddle.to_tensor(x))
            ours_logits = ours(paddle.to_tensor(x))
        errors = [relative_error(one.numpy(), other.numpy()) for one, other in zip(features, wanted)]
        errors.append(relative_error(ours_logits.numpy(), logits.numpy()))
        print(f"{name} {size}: max|d|/max|ref| per feature, then logits: " + " ".join(f"{e:.1e}" for e in errors))
        assert max(errors) <= 1e-4


def assert_feature_info(name, ours):
    with torch.device("meta"):
        theirs = timm.create_model(name, features_only=True).feature_info
    assert ours.channels() == theirs.channels()
    assert ours.reduction() == theirs.reduction()
    assert ours.module_name() == theirs.module_name()
    assert ours.out_indices == tuple(theirs.out_indices)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_features_and_logits_equal_the_source(name):
    theirs = reference(name)
    assert_parity(name, theirs, copy_of(theirs, name), [*SIZES, ODD_SIZE] if name in SWINS else SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("name", native_cases.others())
def test_features_logits_and_feature_info_of_the_rest(name):
    theirs = reference(name)
    ours = copy_of(theirs, name)
    assert_parity(name, theirs, ours, [SMALL_SIZE], batch=1)
    if model_entry(name).source == "timm":
        assert_feature_info(name, ours.feature_info)


@pytest.mark.parametrize("name", FROM_TIMM)
def test_feature_info_equals_timm(name):
    assert_feature_info(name, create_model(name, features_only=True).feature_info)


@pytest.mark.parametrize("name", native_cases.cheaper(SWINS))
def test_swin_shifts_every_stage_with_always_partition(name):
    theirs = reference(name, always_partition=True)
    assert_parity(name, theirs, copy_of(theirs, name, always_partition=True), [ODD_SIZE])


@pytest.mark.parametrize("name", native_cases.cheaper(SWINS))
def test_swin_equals_timms_fixed_network_at_its_own_size(name):
    theirs = timm.create_model(name).eval()
    with torch.no_grad():
        unsettle(theirs, keep_weights=False)
    side = theirs.patch_embed.img_size[0]
    assert_parity(name, theirs, copy_of(theirs, name), [(side, side)])


@pytest.mark.parametrize("name", native_cases.cheaper(FROM_TIMM))
def test_a_training_step_has_the_source_gradients_and_statistics(name):
    """In float64: in float32 a few activations in a million land on the other side of a kink and drown the rest."""
    theirs = reference(name).train().double()
    counts = {}  # values a channel's statistics are taken over
    for path, module in theirs.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
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


@pytest.mark.parametrize("name", native_cases.cheaper(REPRESENTATIVE))
def test_random_starts_are_spread_as_in_the_source(name):
    torch.manual_seed(0)
    paddle.seed(0)
    theirs = source(name)
    ours = create_model(name)
    tensors = to_paddle({key: value.detach().numpy() for key, value in theirs.state_dict().items()}, ours)
    for key, value in ours.state_dict().items():
        wanted, got = tensors[key], value.numpy()
        if wanted.size > 1000:
            assert got.std() == pytest.approx(wanted.std(), rel=0.1), key
            assert abs(got).max() <= 1.6 * abs(wanted).max(), key
        elif wanted.std() == 0.0:
            np.testing.assert_array_equal(got, wanted, err_msg=key)


def source_drop_rates(name, rate):
    """{path: stochastic depth} of timm's network; None where it has none, as RepViT."""
    try:
        with torch.device("meta"):
            net = timm.create_model(name, drop_path_rate=rate)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        return None
    return {path: module.drop_prob for path, module in net.named_modules() if hasattr(module, "drop_prob")}


@pytest.mark.parametrize("name", FROM_TIMM)
def test_drop_path_rises_as_in_timm(name):
    wanted = source_drop_rates(name, 0.2)
    if wanted is None:
        with pytest.raises(UserError, match="no stochastic depth"):
            create_model(name, drop_path_rate=0.2)
        return
    ours = create_model(name, drop_path_rate=0.2)
    got = {path: layer.rate for path, layer in ours.named_sublayers() if hasattr(layer, "rate")}
    wanted = {path: rate for path, rate in wanted.items() if rate}
    assert got.keys() == wanted.keys()
    assert all(got[path] == pytest.approx(rate) for path, rate in wanted.items())
