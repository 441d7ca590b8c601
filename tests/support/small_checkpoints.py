# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Small RT-DETRs on R18 as ``models.Model``, golden weights for them, and their files."""
import numpy as np
import paddle
from support.golden import golden_state

from ppdet_ext.checkpoints import models

# R18's backbone with the smallest neck and decoder that have everything
SMALL = """\
_BASE_: ['{base}']
hidden_dim: 32
eval_size: [96, 64]
num_classes: {classes}
HybridEncoder:
  hidden_dim: 32
  encoder_layer: {{name: TransformerLayer, d_model: 32, nhead: 4, dim_feedforward: 48, dropout: 0., activation: gelu}}
{transformer}: {{num_queries: 20, num_decoder_layers: 2, dim_feedforward: 40, nhead: 4{more}}}
"""
VERSIONS = {
    "v1": ("rtdetr/rtdetr_r18vd_6x_coco.yml", "RTDETRTransformer", ""),
    "v2": ("rtdetrv2/rtdetrv2_r18vd_120e_coco.yml", "RTDETRTransformerv2", ""),
    "v2_discrete": ("rtdetrv2/rtdetrv2_r18vd_dsp_3x_coco.yml", "RTDETRTransformerv2", ""),
}


def small(tmp_path, version, classes=3, more=""):
    base, transformer, _ = VERSIONS[version]
    path = tmp_path / f"{version}.yml"
    path.write_text(SMALL.format(base=models.CONFIGS / base, classes=classes, transformer=transformer, more=more))
    return models.build(str(path))


def weights_of(model):
    """Golden weights for a Model; the points' scales are no weights and stay."""
    scales = {name: value.numpy() for name, value in model.net.state_dict().items() if "num_points_scale" in name}
    return {**golden_state(model.net.state_dict()), **scales}


def save_paddle(tensors, path):
    paddle.save({name: paddle.to_tensor(value) for name, value in tensors.items()}, str(path))
    return path


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)
