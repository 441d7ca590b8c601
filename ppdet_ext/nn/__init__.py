# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Layers that backbones, graphs and the detector share, one idea a file."""
from .activation import LeakyReLU, SiLU, silu
from .conv2d import conv2d, make_divisible
from .conv_norm_act import ConvNormAct
from .drop_path import DropPath, drop_path
from .init import constant_, normal_, uniform_
from .mlp import Mlp, linear, small_weights
from .norms import LayerNorm2d, batch_norm_without_decay, layer_norm_without_decay
from .pooling import GLOBAL_POOLS, global_pool
from .recompute import recomputed
from .squeeze_excite import SqueezeExcite
from .window import attend_in_windows, pad_image, pad_map, relative_positions

__all__ = [
    "GLOBAL_POOLS",
    "ConvNormAct",
    "DropPath",
    "LayerNorm2d",
    "LeakyReLU",
    "Mlp",
    "SiLU",
    "SqueezeExcite",
    "attend_in_windows",
    "batch_norm_without_decay",
    "constant_",
    "conv2d",
    "drop_path",
    "global_pool",
    "layer_norm_without_decay",
    "linear",
    "make_divisible",
    "normal_",
    "pad_image",
    "pad_map",
    "recomputed",
    "relative_positions",
    "silu",
    "small_weights",
    "uniform_",
]
