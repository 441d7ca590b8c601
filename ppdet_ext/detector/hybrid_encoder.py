# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RT-DETR's neck: AIFI (self-attention inside the coarsest level) and CCFM (CSP-RepVGG fusion across levels).

Source: https://arxiv.org/abs/2304.08069; names and parameters as PaddleDetection develop's
ppdet/modeling/transformers/hybrid_encoder.py.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from ppdet.modeling.backbones.csp_darknet import BaseConv
from ppdet.modeling.backbones.cspresnet import RepVggBlock
from ppdet.modeling.initializer import linear_init_
from ppdet.modeling.ops import get_act_fn
from ppdet.modeling.shape_spec import ShapeSpec
from ppdet.modeling.transformers.detr_transformer import TransformerEncoder

from ..errors import UserError
from ..kernels.transpose import transposed
from ..nn import batch_norm_without_decay, recomputed, silu
from ..registry import register_over, serializable
from .self_attention import MultiHeadAttention

#: a map of any shape -> of the same shape
Activation = Callable[[paddle.Tensor], paddle.Tensor]


class NeckConv(BaseConv):
    """ppdet's BaseConv with the activation as one operation instead of x * sigmoid(x): fewer passes over memory."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, act: Activation):
        super().__init__(in_channels, out_channels, kernel_size, stride)
        self.act = act

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H/stride, W/stride]."""
        return self.act(self.bn(self.conv(x)))


class CSPRepLayer(nn.Layer):
    """Two 1x1 branches, one through RepVGG blocks, added and projected."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, act: Activation, expansion: float = 1.0):
        super().__init__()
        hidden = int(out_channels * expansion)
        self.conv1: nn.Layer = NeckConv(in_channels, hidden, 1, 1, act)
        self.conv2: nn.Layer = NeckConv(in_channels, hidden, 1, 1, act)
        self.bottlenecks = nn.Sequential(*[RepVggBlock(hidden, hidden, act=act) for _ in range(num_blocks)])
        self.conv3 = nn.Identity() if hidden == out_channels else NeckConv(hidden, out_channels, 1, 1, act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]; after ``take_two_maps`` x is what ``join`` gives."""
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))

    def join(self, coarse: paddle.Tensor, fine: paddle.Tensor) -> paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor]:
        """The input of forward that two maps make, [B, C, H/2, W/2] and [B, C, H, W]."""
        return (coarse, fine) if isinstance(self.conv1, JoinedConv) else paddle.concat([double_size(coarse), fine], 1)

    def take_two_maps(self) -> None:
        """For inference: take the two maps as they are, see JoinedConv."""
        self.conv1, self.conv2 = JoinedConv(self.conv1), JoinedConv(self.conv2)


class JoinedConv(nn.Layer):
    """act(norm(conv1x1(concat(double_size(coarse), fine)))), with nothing doubled or concatenated on the way.

    The convolution's columns for the coarse map are a transposed one with four equal taps. oneDNN has no up-sampling in
    its own memory order: R18 spends 4 % of its time on going there and back (Paddle 3.3.1, 640x640).

    Args:
        conv: a NeckConv with a 1x1 convolution; half of its input channels are the coarse map's.
    """

    def __init__(self, conv: nn.Layer):
        super().__init__()
        self.act = conv.act
        scale = conv.bn.weight / paddle.sqrt(conv.bn._variance + conv.bn._epsilon)
        weight = conv.conv.weight * scale.reshape([-1, 1, 1, 1])
        coarse, fine = weight.split(2, axis=1)
        self.taps = self._kept(coarse.transpose([1, 0, 2, 3]).tile([1, 1, 2, 2]))
        self.weight = self._kept(fine)
        self.bias = self._kept(conv.bn.bias - conv.bn._mean * scale)

    def _kept(self, value):
        return self.create_parameter(value.shape, default_initializer=nn.initializer.Assign(value.numpy()))

    def forward(self, maps: tuple[paddle.Tensor, paddle.Tensor]) -> paddle.Tensor:
        """[B, C, H/2, W/2] and [B, C, H, W] -> [B, out, H, W]."""
        coarse, fine = maps
        return self.act(F.conv2d(fine, self.weight, self.bias) + F.conv2d_transpose(coarse, self.taps, stride=2))


@register_over
class TransformerLayer(nn.Layer):
    """One encoder layer: self-attention and a feed-forward network, [B, L, d_model] -> [B, L, d_model].

    Args:
        d_model, nhead, dim_feedforward: channels, heads of the attention, width of the feed-forward network.
        dropout: after each part.
        activation: of the feed-forward network, a name of paddle.nn.functional.
        attn_dropout, act_dropout: of the attention's weights and after the activation; None: as dropout.
        normalize_before: LayerNorm before each part instead of after.
    """

    def __init__(self,
                 d_model: int = 256,
                 nhead: int = 8,
                 dim_feedforward: int = 1024,
                 dropout: float = 0.,
                 activation: str = 'relu',
                 attn_dropout: float | None = None,
                 act_dropout: float | None = None,
                 normalize_before: bool = False):
        super().__init__()
        self.normalize_before = normalize_before
        self.self_attn = MultiHeadAttention(d_model, nhead, dropout if attn_dropout is None else attn_dropout)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.dropout = nn.Dropout(dropout if act_dropout is None else act_dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)
        self.activation = activation  # a name of paddle.nn.functional, looked up when it is used
        linear_init_(self.linear1)
        linear_init_(self.linear2)

    def forward(self, src: paddle.Tensor, src_mask: paddle.Tensor | None = None,
                pos_embed: paddle.Tensor | None = None) -> paddle.Tensor:
        """src and pos_embed [B or 1, L, d_model], src_mask as MultiHeadAttention's attn_mask -> [B, L, d_model]."""
        if self.normalize_before:
            src = src + self._attend(self.norm1(src), src_mask, pos_embed)
            return src + self._feed_forward(self.norm2(src))
        src = self.norm1(src + self._attend(src, src_mask, pos_embed))
        return self.norm2(src + self._feed_forward(src))

    def _attend(self, src, mask, pos_embed):
        query = src if pos_embed is None else src + pos_embed
        return self.dropout1(self.self_attn(query, query, value=src, attn_mask=mask))

    def _feed_forward(self, src):
        return self.dropout2(self.linear2(self.dropout(getattr(F, self.activation)(self.linear1(src)))))


@register_over
@serializable
class HybridEncoder(nn.Layer):
    """Neck of RT-DETR: features of doubling strides in, as many maps of ``hidden_dim`` channels out.

    Args:
        in_channels, feat_strides: of the backbone's features; filled from its ``out_shape``.
        use_encoder_idx: levels that get self-attention.
        encoder_layer: the layer cloned ``num_encoder_layers`` times.
        pe_temperature: of the position embeddings, see ``sincos_position_embedding``.
        expansion, depth_mult: width and depth of the CSP blocks.
        act, trt: the activation, by name or as a function; PaddleDetection's setting for names.
        eval_size: [H, W] for which position embeddings are kept; other sizes compute theirs.
        recompute: while training, run attention and CSP blocks again in the backward pass, for less memory.

    Raises:
        UserError: strides do not double from one level to the next, use_encoder_idx names a level that is not there,
            or hidden_dim is no multiple of 4.
    """

    __shared__ = ['depth_mult', 'act', 'trt', 'eval_size']
    __inject__ = ['encoder_layer']

    def __init__(self,
                 in_channels: Sequence[int] = [512, 1024, 2048],
                 feat_strides: Sequence[int] = [8, 16, 32],
                 hidden_dim: int = 256,
                 use_encoder_idx: Sequence[int] = [2],
                 num_encoder_layers: int = 1,
                 encoder_layer: Any = 'TransformerLayer',
                 pe_temperature: float = 10000,
                 expansion: float = 1.0,
                 depth_mult: float = 1.0,
                 act: str | Activation = 'silu',
                 trt: bool = False,
                 eval_size: Sequence[int] | None = None,
                 recompute: bool = False):
        super().__init__()
        _check_levels(feat_strides, in_channels, use_encoder_idx)
        self.in_channels = in_channels
        self.feat_strides = feat_strides
        self.hidden_dim = hidden_dim
        self.use_encoder_idx = use_encoder_idx
        self.num_encoder_layers = num_encoder_layers
        self.pe_temperature = pe_temperature
        self.eval_size = eval_size
        self.recompute = recompute

        self.input_proj = nn.LayerList([
            nn.Sequential(nn.Conv2D(channels, hidden_dim, kernel_size=1, bias_attr=False),
                          batch_norm_without_decay(hidden_dim))
            for channels in in_channels
        ])
        self.encoder = nn.LayerList([TransformerEncoder(encoder_layer, num_encoder_layers) for _ in use_encoder_idx])

        act = silu if act == 'silu' else get_act_fn(act, trt=trt) if not callable(act) else act
        steps = range(len(in_channels) - 1)
        self.lateral_convs = nn.LayerList([NeckConv(hidden_dim, hidden_dim, 1, 1, act) for _ in steps])
        self.downsample_convs = nn.LayerList([NeckConv(hidden_dim, hidden_dim, 3, 2, act) for _ in steps])
        self.fpn_blocks, self.pan_blocks = (nn.LayerList([
            CSPRepLayer(2 * hidden_dim, hidden_dim, round(3 * depth_mult), act, expansion) for _ in steps
        ]) for _ in range(2))
        if eval_size:
            for level in use_encoder_idx:
                h, w = (size // feat_strides[level] for size in eval_size)
                self.register_buffer(f'pos_embed{level}', self._make_position(h, w), persistable=False)

    @classmethod
    def from_config(cls, cfg: Mapping, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """What the backbone's ``out_shape`` says of its features."""
        return {
            'in_channels': [i.channels for i in input_shape],
            'feat_strides': [i.stride for i in input_shape],
        }

    @property
    def out_shape(self) -> list[ShapeSpec]:
        """Channels and stride of each map that forward gives."""
        return [ShapeSpec(channels=self.hidden_dim, stride=stride) for stride in self.feat_strides]

    def forward(self, feats: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        """List of [B, in_channels[i], H/stride, W/stride] -> list of [B, hidden_dim, H/stride, W/stride].

        Raises:
            UserError: the number of levels differs, or a level is not twice as large as the next (the image size is no
                multiple of the coarsest stride).
        """
        self._check_features(feats)
        feats = [project(feat) for project, feat in zip(self.input_proj, feats)]
        if self.num_encoder_layers > 0:
            for encoder, level in zip(self.encoder, self.use_encoder_idx):
                feats[level] = self._attend(encoder, level, feats[level])
        return self._bottom_up(self._top_down(feats))

    def convert_to_deploy(self) -> None:
        """Fewer steps for the same values, for inference; exporting calls it on a copy of the trained model."""
        for block in self.fpn_blocks:
            block.take_two_maps()

    def _attend(self, encoder, level, feat):
        h, w = feat.shape[2:]
        kept = getattr(self, f'pos_embed{level}', None)
        pos_embed = kept if kept is not None and self._is_eval_size(level, h, w) else self._make_position(h, w)
        pos_embed = pos_embed.astype(feat.dtype)
        memory = self._run(encoder, transposed(feat, [0, 2, 3, 1]).flatten(1, 2), pos_embed=pos_embed)
        return transposed(memory, [0, 2, 1]).reshape([-1, self.hidden_dim, h, w])

    def _run(self, layer, x, **fixed):
        if self.recompute and self.training:
            return recomputed(lambda value: layer(value, **fixed), [layer], x)
        return layer(x, **fixed)

    def _is_eval_size(self, level, h, w):
        return [h, w] == [size // self.feat_strides[level] for size in self.eval_size]

    def _make_position(self, h, w):
        return paddle.to_tensor(sincos_position_embedding(h, w, self.hidden_dim, self.pe_temperature))

    def _top_down(self, feats):
        """Coarse levels flow into finer ones; the laterals of the coarse ones go on to the bottom-up path."""
        outs = [feats[-1]]
        for lateral, block, finer in zip(self.lateral_convs, self.fpn_blocks, reversed(feats[:-1])):
            outs[0] = lateral(outs[0])
            outs.insert(0, self._run(block, block.join(outs[0], finer)))
        return outs

    def _bottom_up(self, feats):
        outs = [feats[0]]
        for down, block, coarser in zip(self.downsample_convs, self.pan_blocks, feats[1:]):
            outs.append(self._run(block, paddle.concat([down(outs[-1]), coarser], axis=1)))
        return outs

    def _check_features(self, feats):
        if len(feats) != len(self.in_channels):
            raise UserError(f"HybridEncoder was built for {len(self.in_channels)} feature maps (channels "
                            f"{self.in_channels}) but the backbone gave {len(feats)}; check the backbone's out_indices")
        given = [feat.shape[1] for feat in feats]
        if any(found != wanted for found, wanted in zip(given, self.in_channels) if found > 0):  # a graph's may be -1
            raise UserError(f"HybridEncoder was built for features of {list(self.in_channels)} channels, as the "
                            f"backbone's out_shape says, but gets {given}; mend out_shape (or leave it out of a class "
                            "of your own: it is found by itself)")
        sizes = [tuple(feat.shape[2:]) for feat in feats]
        if any(f != (2 * c[0], 2 * c[1]) for f, c in zip(sizes, sizes[1:]) if min(f + c) > 0):
            raise UserError(f"HybridEncoder needs every feature map twice as large as the next, got {sizes}; make the "
                            f"image height and width multiples of {self.feat_strides[-1]}")


def _check_levels(strides, channels, attended):
    if any(b != 2 * a for a, b in zip(strides, strides[1:])):
        raise UserError(f"HybridEncoder needs strides that double from level to level, such as [8, 16, 32], but the "
                        f"backbone gives strides {list(strides)} with channels {list(channels)}; choose out_indices "
                        "so that they do")
    if not all(-len(channels) <= level < len(channels) for level in attended):
        raise UserError(f"HybridEncoder.use_encoder_idx {list(attended)}: the backbone gives {len(channels)} levels, "
                        f"0 to {len(channels) - 1} (strides {list(strides)}); let an adapter make strides 8, 16 and 32 "
                        "(adapter: auto in the backbone's settings, adapter = 'auto' in a class of your own), or go "
                        f"on with these: HybridEncoder.use_encoder_idx: [{len(channels) - 1}]")


@functools.lru_cache(maxsize=32)
def sincos_position_embedding(h: int, w: int, embed_dim: int = 256, temperature: float = 10000.0) -> np.ndarray:
    """float32 array [1, h * w, embed_dim]: sine and cosine of row and column, row-major.

    PaddleDetection develop orders the tokens by column, which is the same for square maps only; for other maps this is
    what transformers' RTDetr does.
    """
    if embed_dim % 4:
        raise UserError(f"hidden_dim must be a multiple of 4 for the position embedding, got {embed_dim}")
    omega = 1.0 / temperature ** (np.arange(embed_dim // 4) / (embed_dim // 4))
    rows, columns = (grid.reshape(-1, 1) * omega for grid in np.meshgrid(np.arange(h), np.arange(w), indexing='ij'))
    parts = [np.sin(rows), np.cos(rows), np.sin(columns), np.cos(columns)]
    return np.concatenate(parts, axis=1).astype('float32')[None]


def double_size(x: paddle.Tensor) -> paddle.Tensor:
    """Nearest-neighbour up-sampling by two, [B, C, H, W] -> [B, C, 2H, 2W].

    Written without F.interpolate: its scale factors are stored as an array of doubles, on which Paddle Inference with
    oneDNN crashes and which paddle2onnx refuses (Paddle 3.3.1).
    """
    channels, h, w = x.shape[1:]
    x = x.reshape([-1, channels, h, 1, w, 1]).tile([1, 1, 1, 2, 1, 2])
    return x.reshape([-1, channels, 2 * h, 2 * w])
