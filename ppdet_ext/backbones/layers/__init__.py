# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Blocks that several families share, one idea a file."""
from .activation import LeakyReLU
from .conv import conv2d, make_divisible
from .conv_norm_act import ConvNormAct
from .drop_path import DropPath, drop_path
from .init import constant_, normal_, uniform_
from .pooling import GLOBAL_POOLS, global_pool
from .recompute import recomputed

__all__ = [
    "ConvNormAct", "DropPath", "GLOBAL_POOLS", "LeakyReLU", "constant_", "conv2d", "drop_path", "global_pool",
    "make_divisible", "normal_", "recomputed", "uniform_",
]
