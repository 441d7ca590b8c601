# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Resizing: matrices against torch's F.interpolate, parameters against timm's and torchvision's own functions."""
import numpy as np
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.nn.interpolation import interpolation_matrix
from ppdet_ext.weights.parity import relative_error
from ppdet_ext.weights.resize_parameters import RULES, resize_grid, resize_to

MODES = [(mode, antialias, corners) for mode in ("bilinear", "bicubic") for antialias in (False, True)
         for corners in (False, True)] + [("nearest", False, False), ("nearest-exact", False, False)]


def array(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def torch_function():
    return pytest.importorskip("torch", reason="compares with torch").nn.functional.interpolate


def close(ours, reference):
    reference = np.asarray(reference)
    assert ours.shape == reference.shape and ours.dtype == reference.dtype
    error = relative_error(ours, reference)
    print(f"max|d|/max|ref| = {error:.1e}")
    assert error <= 1e-5


@pytest.mark.torch
@pytest.mark.parametrize("mode, antialias, corners", MODES)
def test_matrix_equals_interpolate(mode, antialias, corners):
    interpolate, torch = torch_function(), pytest.importorskip("torch")
    settings = {} if "nearest" in mode else dict(antialias=antialias, align_corners=corners)
    for n_in in (1, 2, 7, 14, 24):
        for n_out in (1, 2, 5, 14, 37):
            value = torch.from_numpy(array(1, 2, n_in, n_in)).double()
            reference = interpolate(value, size=(n_out, n_out), mode=mode, **settings).numpy()
            matrix = interpolation_matrix(n_in, n_out, mode, antialias, align_corners=corners)
            np.testing.assert_allclose(matrix.sum(1), 1)
            np.testing.assert_allclose(matrix @ value.numpy() @ matrix.T, reference, atol=1e-9)


@pytest.mark.torch
@pytest.mark.parametrize("mode, antialias", [("nearest", False), ("bilinear", False), ("bicubic", True)])
def test_matrix_heeds_scale_factor(mode, antialias):
    interpolate, torch = torch_function(), pytest.importorskip("torch")
    settings = {"antialias": True} if antialias else {}
    for n_in, scale in ((7, 0.3), (7, 1.7), (5, 2.13), (14, 2.13)):
        value = torch.from_numpy(array(1, 1, n_in, n_in)).double()
        reference = interpolate(value, scale_factor=scale, mode=mode, **settings).numpy()
        matrix = interpolation_matrix(n_in, reference.shape[-1], mode, antialias, scale=scale)
        np.testing.assert_allclose(matrix @ value.numpy() @ matrix.T, reference, atol=1e-9)


def test_unknown_mode():
    with pytest.raises(UserError, match="'area' is unknown; choose from nearest"):
        interpolation_matrix(3, 4, "area")


def test_grid_of_half_precision_keeps_its_type():
    assert resize_grid(array(2, 4, 4).astype(np.float16), (8, 6)).dtype == np.float16


ABSOLUTE = [(196, 400, None, 0), (197, 401, None, 1), (198, 402, None, 2), (577, 197, None, 1), (1374, 261, None, 5),
            (197, 521, (20, 26), 1), (196, 520, (20, 26), 0)]


@pytest.mark.torch
@pytest.mark.parametrize("old, new, grid, prefix", ABSOLUTE)
def test_absolute_embeddings_equal_timm(old, new, grid, prefix):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    value = array(1, old, 6)
    size = grid or (int((new - prefix) ** 0.5),) * 2
    reference = timm.layers.resample_abs_pos_embed(torch.from_numpy(value), size, num_prefix_tokens=prefix)
    close(resize_to("pos_embed", value, (1, new, 6), grid), reference)
    close(resize_to("trunk.pos_embed", value[0], (new, 6), grid), reference[0])


@pytest.mark.torch
def test_flexivit_has_its_own_interpolation():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    value, settings = array(1, 226, 4), dict(interpolation="bilinear", antialias=False)
    reference = timm.layers.resample_abs_pos_embed(torch.from_numpy(value), (9, 9), **settings)
    close(resize_to("pos_embed", value, (1, 82, 4), arch="flexivit_small"), reference)
    kernel = array(3, 2, 32, 32)
    reference = timm.layers.resample_patch_embed(torch.from_numpy(kernel), (16, 16), **settings)
    close(resize_to("patch_embed.proj.weight", kernel, (3, 2, 16, 16), arch="flexivit_small"), reference)


@pytest.mark.torch
def test_absolute_maps():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    value = array(1, 14, 14, 8)
    reference = timm.layers.resample_abs_pos_embed_nhwc(torch.from_numpy(value), (20, 26))
    close(resize_to("pos_embed", value, (1, 20, 26, 8)), reference)
    turned = np.ascontiguousarray(value.transpose(0, 3, 1, 2))
    close(resize_to("pos_embed", turned, (1, 8, 20, 26)), reference.permute(0, 3, 1, 2))


@pytest.mark.torch
@pytest.mark.parametrize("old, new", [((16, 49), (16, 64)), ((4, 49), (4, 16))])
def test_nest_blocks(old, new):
    nest, torch = pytest.importorskip("timm.models.nest"), pytest.importorskip("torch")
    value = array(1, *old, 5)
    close(resize_to("levels.0.pos_embed", value, (1, *new, 5)),
          nest.resize_pos_embed(torch.from_numpy(value), torch.zeros(1, *new, 5)))


@pytest.mark.torch
@pytest.mark.parametrize("old, window, extra", [(7, (8, 8), 0), (14, (20, 20), 3), (16, (7, 7), 0), (14, (20, 26), 3),
                                                (7, (12, 7), 0), (7, (24, 24), 0), (2, (5, 5), 0), (1, (3, 3), 0)])
def test_bias_tables_equal_timm(old, window, extra):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    span, spans = 2 * old - 1, [2 * side - 1 for side in window]
    flat, wanted = array(span * span + extra, 4), (spans[0] * spans[1] + extra, 4)
    reference = timm.layers.resize_rel_pos_bias_table(torch.from_numpy(flat), window, wanted)
    grid = None if window[0] == window[1] else window
    close(resize_to("blocks.0.attn.relative_position_bias_table", flat, wanted, grid), reference)
    maps, wanted = array(4, span, span), (4, *spans)
    reference = timm.layers.resize_rel_pos_bias_table(torch.from_numpy(maps), window, wanted)
    close(resize_to("relative_position_bias_table", maps, wanted, grid), reference)


@pytest.mark.torch
def test_attention_biases_equal_timm():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    value = array(3, 196)
    reference = timm.layers.resize_rel_pos_bias_table_levit(torch.from_numpy(value).T, (256, 3)).T
    close(resize_to("blocks.0.attention_biases", value, (3, 256)), reference)


@pytest.mark.torch
@pytest.mark.parametrize("axis", "hw")
def test_decomposed_distances_equal_sam(axis):
    sam, torch = pytest.importorskip("timm.models.vision_transformer_sam"), pytest.importorskip("torch")
    value, size = array(27, 8), 20
    reference = sam.get_rel_pos(size, size, torch.from_numpy(value))
    ours = resize_to(f"blocks.2.attn.rel_pos_{axis}", value, (2 * size - 1, 8))
    index = np.arange(size)[:, None] - np.arange(size) + size - 1
    close(ours[index], reference)


@pytest.mark.torch
@pytest.mark.parametrize("old, new", [(16, 14), (14, 16), (8, 16), (16, 32)])
def test_patch_kernels_equal_timm(old, new):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    value = array(4, 3, old, old)
    reference = timm.layers.resample_patch_embed(torch.from_numpy(value), (new, new))
    close(resize_to("patch_embed.proj.weight", value, (4, 3, new, new)), reference)


@pytest.mark.torch
def test_torchvision_embeddings():
    vit, torch = pytest.importorskip("torchvision.models.vision_transformer"), pytest.importorskip("torch")
    value = array(1, 197, 6)
    state = vit.interpolate_embeddings(320, 16, {"encoder.pos_embedding": torch.from_numpy(value)})
    close(resize_to("encoder.pos_embedding", value, (1, 401, 6)), state["encoder.pos_embedding"])


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("arch, old, new", [("vit_tiny_patch16_224", 224, 320), ("beit_base_patch16_224", 224, 256),
                                            ("swin_tiny_patch4_window7_224", 224, 256),
                                            ("eva02_tiny_patch14_224", 224, 280),
                                            ("deit3_small_patch16_224", 224, (224, 320))])
def test_whole_checkpoints_equal_timms_filter(arch, old, new):
    """Every parameter that timm's own checkpoint filter resizes."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    import importlib
    source = timm.create_model(arch, img_size=old, num_classes=0).state_dict()
    settings = {"window_size": 8} if "swin" in arch else {}
    model = timm.create_model(arch, img_size=new, num_classes=0, **settings)
    for value in source.values():
        value.copy_(torch.from_numpy(array(*value.shape))) if value.is_floating_point() else None
    reference = importlib.import_module(type(model).__module__).checkpoint_filter_fn(dict(source), model)
    wanted_shapes = {name: value.shape for name, value in model.state_dict().items() if name in source}
    changed = {name: wanted for name, wanted in wanted_shapes.items() if source[name].shape != wanted}
    assert changed
    for name, wanted in changed.items():
        grid = model.patch_embed.grid_size if name == "pos_embed" else None
        close(resize_to(name, source[name].numpy(), wanted, grid), reference[name])


def test_what_fits_is_untouched_and_what_no_rule_explains_is_none():
    value = array(1, 197, 6)
    assert resize_to("pos_embed", value, [1, 197, 6]) is value
    assert resize_to("head.weight", value, (1, 401, 6)) is None
    assert resize_to("my_pos_embed", value, (1, 401, 6)) is None
    assert resize_to("pos_embed", value, (1, 401, 8)) is None  # other channels
    assert resize_to("pos_embed", value, (1, 400, 6)) is None  # the class token has no place
    assert resize_to("pos_embed", value, (1, 521, 6)) is None  # not square, and no grid given
    assert resize_to("pos_embed", value, (401, 6)) is None
    assert resize_to("relative_position_bias_table", array(169, 3), (100, 3)) is None
    assert resize_to("rel_pos_h", array(27, 8), (39, 4)) is None
    assert resize_to("patch_embed.proj.weight", array(4, 768), (4, 588)) is None


@pytest.mark.parametrize("name", RULES)
def test_a_misfit_never_raises(name):
    for ndim in range(1, 5):
        shape = (3, 5, 7, 4)[:ndim]
        assert resize_to(name, array(*shape), (2, 6, 8, 9)[:ndim]) is None
