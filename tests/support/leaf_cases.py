# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Torch modules of every class in the table of leaves, with inputs. Needs torch, torchvision and timm."""
from __future__ import annotations

from collections import namedtuple

import timm.layers as tl
import torch
from timm.layers import activations, activations_me, evo_norm, filter_response_norm, norm, norm_act, patch_dropout
from torch import nn
from torchvision import ops

# inputs: a shape each, or an array; known: axes whose size stays known in a static graph, beside the last or axis 1
Case = namedtuple("Case", "make inputs known train")
IMAGE = (2, 6, 9, 8)
TOKENS = (2, 5, 6)
CASES: dict[str, list] = {}


def add(name, make, *inputs, known=(1,), train=True):
    """``train=False``: not deterministic in training."""
    CASES.setdefault(name, []).append(Case(make, inputs or (IMAGE,), known, train))


def each(names, *settings, inputs=(), origin=nn, **about):
    """Every class with every settings."""
    for name in names.split():
        kind = getattr(origin, name)
        for values in settings or ({},):
            add(name, lambda kind=kind, values=values: kind(**values), *inputs, **about)


# --- activations ---
each("ReLU ReLU6 SiLU Sigmoid LogSigmoid Tanh Tanhshrink Softsign SELU Mish Hardswish Hardsigmoid Softmax2d")
each("SwishMe MishMe HardSwishMe HardSigmoidMe HardMishMe", origin=activations_me)
each("Swish Mish Sigmoid Tanh HardSwish HardSigmoid HardMish GELU GELUTanh QuickGELU PReLU", origin=activations)
each("GELU", {}, dict(approximate="tanh"))
each("LeakyReLU", {}, dict(negative_slope=0.2))
each("PReLU", {}, dict(num_parameters=6))
each("RReLU", train=False)
each("ELU CELU", {}, dict(alpha=0.7))
each("Hardtanh", {}, dict(min_val=-0.3, max_val=0.8))
each("Hardshrink Softshrink", {}, dict(lambd=0.3))
each("Softplus", {}, dict(beta=2.0, threshold=1.5))
each("Threshold", dict(threshold=0.2, value=-3.0))
each("GLU", dict(dim=1))
each("GLU", {}, inputs=((2, 5, 6),), known=(2,))
each("Softmax LogSoftmax Softmin", dict(dim=-1), dict(dim=1), {})
each("Softmax", {}, inputs=(TOKENS,))

# --- convolutions ---
for dims in (1, 2, 3):
    shape = (2, 6, 9, 8, 7)[:2 + dims]
    each(f"Conv{dims}d", dict(in_channels=6, out_channels=4, kernel_size=3),
         dict(in_channels=6, out_channels=4, kernel_size=3, stride=2, padding=1, bias=False),
         dict(in_channels=6, out_channels=12, kernel_size=3, padding="same", dilation=2, groups=6),
         dict(in_channels=6, out_channels=4, kernel_size=4, padding="same"),
         dict(in_channels=6, out_channels=4, kernel_size=2, padding="valid", groups=2),
         *(dict(in_channels=6, out_channels=4, kernel_size=3, padding=1, padding_mode=mode)
           for mode in ("reflect", "replicate", "circular") if (dims, mode) != (3, "reflect")),
         inputs=(shape,))
    each(f"ConvTranspose{dims}d", dict(in_channels=6, out_channels=4, kernel_size=2, stride=2),
         dict(in_channels=6, out_channels=4, kernel_size=3, stride=2, padding=1, output_padding=1, groups=2,
              bias=False),
         dict(in_channels=6, out_channels=4, kernel_size=3, dilation=2), inputs=(shape,))
each("Conv2d", dict(in_channels=6, out_channels=4, kernel_size=(3, 1), stride=(2, 1), padding=(1, 0)),
     dict(in_channels=6, out_channels=4, kernel_size=4, padding="same", padding_mode="reflect"))
CONVS = [dict(kernel_size=3, stride=2), dict(kernel_size=3, stride=2, bias=True, groups=2), dict(kernel_size=1),
         dict(kernel_size=3, stride=2, dilation=2)]
for name, first in (("Conv2dSame", "in_channels"), ("StdConv2d", "in_channel"), ("StdConv2dSame", "in_channel"),
                    ("ScaledStdConv2d", "in_channels"), ("ScaledStdConv2dSame", "in_channels")):
    for size in ((9, 8), (10, 7)):
        each(name, *({first: 6, "out_channels": 4, **settings} for settings in CONVS), origin=tl,
             inputs=((2, 6, *size),))
each("CondConv2d", *(dict(in_channels=6, out_channels=4, **settings) for settings in (
    {}, dict(stride=2, padding="same", bias=True), dict(kernel_size=1, groups=2), dict(stride=2, dilation=2))),
    dict(in_channels=6, out_channels=6, groups=6, stride=2, padding="same"),
    dict(in_channels=6, out_channels=4, stride=2, dilation=2, padding="same"),
    origin=tl, inputs=(IMAGE, (2, 4)))

# --- normalisations ---
BATCH = ({}, dict(momentum=0.3, eps=1e-3), dict(affine=False), dict(momentum=None), dict(track_running_stats=False),
         dict(track_running_stats=False, affine=False))
each("BatchNorm1d", *(dict(num_features=6, **s) for s in BATCH), inputs=((4, 6),))
each("BatchNorm1d", dict(num_features=6), inputs=((2, 6, 5),))
each("BatchNorm2d", *(dict(num_features=6, **s) for s in BATCH))
each("BatchNorm3d", *(dict(num_features=6, **s) for s in BATCH), inputs=((2, 6, 4, 3, 2),))
each("SyncBatchNorm", dict(num_features=6), dict(num_features=6, momentum=0.3), train=False)
ACTS = ({}, dict(act_layer=nn.SiLU), dict(apply_act=False), dict(act_layer="leaky_relu", drop_layer=nn.Dropout2d),
        dict(act_layer=tl.PReLU))
each("BatchNormAct2d", *(dict(num_features=6, **s) for s in ACTS[:3] + ACTS[4:] + BATCH), origin=norm_act)
each("BatchNormAct2d", dict(num_features=6, **ACTS[3]), origin=norm_act, train=False)
add("SyncBatchNormAct", lambda: norm_act.convert_sync_batchnorm(norm_act.BatchNormAct2d(6)), train=False)
each("FrozenBatchNorm2d", dict(num_features=6), dict(num_features=6, eps=1e-2), origin=ops)
each("FrozenBatchNormAct2d", dict(num_features=6, eps=1e-3), dict(num_features=6, apply_act=False), origin=norm_act)
each("LayerNorm", *(dict(normalized_shape=6, **s) for s in (
    {}, dict(eps=1e-3), dict(elementwise_affine=False), dict(bias=False))), inputs=(TOKENS,), known=(2,))
each("LayerNorm", dict(normalized_shape=(5, 6)), dict(normalized_shape=(5, 6), bias=False), inputs=(TOKENS,),
     known=(1, 2))
each("LayerNorm LayerNormFp32", dict(num_channels=6), dict(num_channels=6, affine=False), origin=norm,
     inputs=(TOKENS,), known=(2,))
each("LayerNorm2d LayerNorm2dFp32", dict(num_channels=6), dict(num_channels=6, affine=False), origin=norm)
each("LayerNormExp2d", dict(num_channels=6), origin=norm)
each("LayerNormAct LayerNormActFp32", *(dict(normalization_shape=6, **s) for s in ACTS[:3]), origin=norm_act,
     inputs=(TOKENS,), known=(2,))
each("LayerNormAct2d LayerNormAct2dFp32", *(dict(num_channels=6, **s) for s in ACTS[:3]), origin=norm_act)
each("GroupNorm", dict(num_groups=3, num_channels=6), dict(num_groups=2, num_channels=6, affine=False, eps=1e-3))
each("GroupNorm", dict(num_groups=3, num_channels=6), inputs=((2, 6, 5),))
each("GroupNorm", dict(num_groups=3, num_channels=6), inputs=((2, 6),))
each("GroupNorm", dict(num_channels=6, num_groups=3), origin=norm)
each("GroupNorm1", dict(num_channels=6), dict(num_channels=6, affine=False), origin=norm)
each("GroupNormAct", *(dict(num_channels=6, num_groups=3, **s) for s in ACTS[:3] + (dict(affine=False),)),
     origin=norm_act)
each("GroupNorm1Act", *(dict(num_channels=6, **s) for s in ACTS[:3]), origin=norm_act)
for dims in (1, 2, 3):
    each(f"InstanceNorm{dims}d", dict(num_features=6), dict(num_features=6, affine=True, eps=1e-3),
         inputs=((2, 6, 5, 4, 3)[:2 + dims],))
each("RMSNorm", dict(normalized_shape=6), dict(normalized_shape=6, eps=1e-3, elementwise_affine=False),
     inputs=(TOKENS,), known=(2,))
each("RMSNorm", dict(normalized_shape=(5, 6)), inputs=(TOKENS,), known=(1, 2))
each("RmsNorm RmsNormFp32 SimpleNorm SimpleNormFp32", dict(channels=6), dict(channels=6, affine=False), origin=norm,
     inputs=(TOKENS,), known=(2,))
each("RmsNorm2d RmsNorm2dFp32 SimpleNorm2d SimpleNorm2dFp32", dict(channels=6), dict(channels=6, affine=False),
     origin=norm)
each("RmsNormAct RmsNormActFp32", *(dict(num_channels=6, **s) for s in ACTS[:3]), origin=norm_act, inputs=(TOKENS,),
     known=(2,))
each("RmsNormAct2d RmsNormAct2dFp32", *(dict(num_channels=6, **s) for s in ACTS[:3]), origin=norm_act)
each("LocalResponseNorm", dict(size=3), dict(size=4, alpha=0.1, beta=0.5, k=2.0))
each("EvoNorm2dB0 EvoNorm2dB1 EvoNorm2dB2", dict(num_features=6), dict(num_features=6, apply_act=False, eps=1e-2),
     origin=evo_norm)
each("EvoNorm2dS0 EvoNorm2dS0a EvoNorm2dS1 EvoNorm2dS1a EvoNorm2dS2 EvoNorm2dS2a", dict(num_features=6, groups=3),
     dict(num_features=6, groups=2, apply_act=False), origin=evo_norm)
each("FilterResponseNormAct2d FilterResponseNormTlu2d", dict(num_features=6), dict(num_features=6, apply_act=False),
     origin=filter_response_norm)

# --- pools ---
POOLS = (dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=3, stride=2, ceil_mode=True),
         dict(kernel_size=2, stride=2, ceil_mode=True), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True))
AVERAGES = tuple(dict(count_include_pad=False, **s) for s in POOLS)
for dims in (1, 2, 3):
    shape = (2, 3, 9, 8, 7)[:2 + dims]
    each(f"MaxPool{dims}d", *POOLS, inputs=(shape,))
    each(f"AvgPool{dims}d", *POOLS, *AVERAGES, inputs=(shape,))
    each(f"AdaptiveAvgPool{dims}d AdaptiveMaxPool{dims}d", dict(output_size=1), dict(output_size=4), inputs=(shape,))
each("AvgPool2d", dict(kernel_size=2, divisor_override=3), dict(kernel_size=3, padding=1, divisor_override=5),
     dict(kernel_size=(3, 2), stride=(1, 2)))
LATE = dict(kernel_size=2, stride=3, padding=1, ceil_mode=True)  # torch drops a window that starts in the padding
each("MaxPool2d AvgPool2d", LATE, inputs=((2, 3, 4, 5),))
each("AvgPool2d", dict(count_include_pad=False, **LATE), inputs=((2, 3, 4, 5),))
each("MaxPool2d", dict(kernel_size=(3, 2), stride=(1, 2), padding=(1, 0)))
each("AdaptiveAvgPool3d AdaptiveMaxPool3d", dict(output_size=(1, None, 1)), inputs=((2, 3, 4, 5, 6),))
each("AdaptiveAvgPool2d AdaptiveMaxPool2d", dict(output_size=(None, 1)), dict(output_size=(4, 3)),
     dict(output_size=(12, 8)))
for size in ((9, 8), (10, 7)):
    each("AvgPool2dSame", dict(kernel_size=2, stride=2), dict(kernel_size=3, stride=2), dict(kernel_size=3, stride=3),
         dict(kernel_size=3, stride=1), origin=tl, inputs=((2, 6, *size),))
    each("MaxPool2dSame", dict(kernel_size=2, stride=2), dict(kernel_size=3, stride=2), dict(kernel_size=1, stride=2),
         origin=tl.pool2d_same, inputs=((2, 6, *size),))
each("BlurPool2d", dict(channels=6), dict(channels=6, filt_size=5, stride=1), {}, dict(filt_size=4, stride=2),
     dict(channels=6, pad_mode="constant"), origin=tl)

# --- linear, dropout, shape ---
each("Linear", dict(in_features=6, out_features=4), dict(in_features=6, out_features=4, bias=False), inputs=(TOKENS,),
     known=(2,))
add("Linear", lambda: tl.linear.Linear(6, 4), (3, 6))
each("Bilinear", dict(in1_features=6, in2_features=3, out_features=4),
     dict(in1_features=6, in2_features=3, out_features=4, bias=False), inputs=((2, 6), (2, 3)))
add("NonDynamicallyQuantizableLinear", lambda: nn.modules.linear.NonDynamicallyQuantizableLinear(6, 4), TOKENS,
    known=(2,))
add("Embedding", lambda: nn.Embedding(7, 4), torch.tensor([[0, 6, 2], [1, 1, 3]]), known=())
each("Identity")
each("Dropout Dropout2d AlphaDropout", dict(p=0.3), train=False)
each("Dropout1d", dict(p=0.3), train=False, inputs=((2, 6, 5),))
each("Dropout3d", dict(p=0.3), train=False, inputs=((2, 6, 5, 4, 3),))
each("Flatten", {}, dict(start_dim=2), dict(start_dim=1, end_dim=2))
each("Unflatten", dict(dim=1, unflattened_size=(2, 3)), dict(dim=1, unflattened_size=(2, -1)))
each("PixelShuffle", dict(upscale_factor=2), inputs=((2, 8, 3, 5),))
each("PixelUnshuffle", dict(downscale_factor=2), inputs=((2, 3, 4, 6),))
each("ChannelShuffle", dict(groups=3))
each("Unfold", dict(kernel_size=3), dict(kernel_size=(2, 3), stride=3, padding=(1, 2), dilation=2))
each("Fold", dict(output_size=(8, 8), kernel_size=2, stride=2), inputs=((2, 12, 16),), known=(1, 2))
each("Fold", dict(output_size=(7, 8), kernel_size=3, stride=2, padding=1), inputs=((2, 18, 16),), known=(1, 2))
for dims in (1, 2, 3):
    shape = (2, 6, 5, 4, 3)[:2 + dims]
    each(f"ConstantPad{dims}d", dict(padding=1, value=0.5), dict(padding=[1, 2, 0, 3, 2, 1][:2 * dims], value=-1.0),
         inputs=(shape,))
    each(f"ZeroPad{dims}d ReplicationPad{dims}d CircularPad{dims}d", dict(padding=1),
         dict(padding=[1, 2, 0, 3, 2, 1][:2 * dims]), inputs=(shape,))
    each(f"ReflectionPad{dims}d", dict(padding=1), dict(padding=[1, 2, 0, 3, 2, 1][:2 * dims]), inputs=(shape,))
each("Upsample", dict(scale_factor=2), dict(scale_factor=(2.0, 3.0)), dict(size=(7, 11)), dict(scale_factor=1.5),
     *(dict(scale_factor=scale, mode=mode, align_corners=align) for mode in ("bilinear", "bicubic")
       for scale in (2, 1.5) for align in (False, True)), dict(size=13, mode="bilinear"))
each("Upsample", dict(scale_factor=2), dict(scale_factor=2, mode="linear"), inputs=((2, 6, 5),))
each("Upsample", dict(scale_factor=2), dict(scale_factor=2, mode="trilinear"), inputs=((2, 3, 5, 4, 3),))
each("UpsamplingNearest2d UpsamplingBilinear2d", dict(scale_factor=2), dict(size=(7, 11)))

# --- sequences ---
RNNS = (dict(batch_first=True), {}, dict(num_layers=2, bidirectional=True, batch_first=True))
each("LSTM GRU", *(dict(input_size=6, hidden_size=4, **s) for s in RNNS), inputs=(TOKENS,), known=(2,))
HEADS = (dict(batch_first=True), {}, dict(bias=False, batch_first=True))
each("MultiheadAttention", *(dict(embed_dim=6, num_heads=2, **s) for s in HEADS), inputs=(TOKENS, TOKENS, TOKENS),
     known=(2,))

# --- dropping, scaling ---
each("DropPath", dict(drop_prob=0.3), {}, dict(drop_prob=0.3, scale_by_keep=False), origin=tl, train=False)
each("StochasticDepth", dict(p=0.3, mode="row"), dict(p=0.3, mode="batch"), origin=ops, train=False)
each("DropBlock2d", dict(drop_prob=0.2, block_size=3), origin=tl.drop, train=False)
each("DropBlock2d", dict(p=0.2, block_size=3), origin=ops, train=False)
each("PatchDropout", dict(prob=0.5), dict(prob=0.5, num_prefix_tokens=0, ordered=True), origin=patch_dropout,
     inputs=(TOKENS,), known=(2,), train=False)
each("LayerScale", dict(dim=6), dict(dim=6, init_values=0.5, inplace=True), origin=tl, inputs=(TOKENS,), known=(2,))
each("LayerScale2d", dict(dim=6), dict(dim=6, init_values=0.5), origin=tl)
