# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RT-DETR's transformer: the encoder's best tokens become queries, which the decoder turns into boxes step by step.

Source: https://arxiv.org/abs/2304.08069; names and parameters as PaddleDetection develop's
ppdet/modeling/transformers/rtdetr_transformer.py. RT-DETRv2 (https://arxiv.org/abs/2407.17140) is the same with
another cross attention; rtdetr_transformerv2.py.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from ppdet.modeling.heads.detr_head import MLP
from ppdet.modeling.initializer import linear_init_, normal_, xavier_uniform_
from ppdet.modeling.shape_spec import ShapeSpec

from ..errors import NotFinite, UserError
from ..kernels.transpose import transposed
from ..nn import batch_norm_without_decay, layer_norm_without_decay
from ..registry import build, register_over
from .anchors import make_anchors
from .attention import SAMPLING, PPMSDeformableAttention, StoredScaleAttention, points_of_levels
from .decoder import TransformerDecoder, TransformerDecoderLayer
from .denoising import DenoisingQueries, contrastive_denoising
from .outputs import DecoderOutput


class Queries(NamedTuple):
    """The tokens that became queries: content [B, Q, C] and raw_boxes [B, Q, 4] (before the sigmoid) for the decoder,
    and the encoder's guess, boxes [B, Q, 4] and logits [B, Q, classes], which carries gradients."""
    content: paddle.Tensor
    raw_boxes: paddle.Tensor
    boxes: paddle.Tensor
    logits: paddle.Tensor


@register_over
class RTDETRTransformer(nn.Layer):
    """Query selection, denoising queries and decoder of RT-DETR.

    Args:
        num_classes, num_queries: of the scores, and boxes given for each image.
        hidden_dim: C, of tokens and queries.
        position_embed_type: PaddleDetection's setting, sine or learned; nothing depends on it.
        backbone_feat_channels, feat_strides: of the neck's outputs; filled from its ``out_shape``.
        num_levels: levels that the deformable attention sees; more than the neck gives are made with strided
            convolutions.
        num_decoder_points: points that the deformable attention samples in a level, or a list of them, level by level.
        nhead, num_decoder_layers, dim_feedforward, dropout, activation: of the decoder, see TransformerDecoderLayer.
        num_denoising, label_noise_ratio, box_noise_scale: see ``denoising.contrastive_denoising``.
        learnt_init_query: queries start from learnt content instead of the selected tokens.
        query_pos_head_inv_sig: query positions come from boxes before the sigmoid.
        eval_size: [H, W] for which the anchors are kept; other sizes compute theirs.
        eval_idx: decoder layer whose output counts outside training.
        eps: anchors closer than this to the border of [0, 1] are not used.
        cross_attn_sampling_method: default (bilinear), or discrete (the nearest pixel; nothing that a simple runtime
            lacks is exported).
        recompute: while training, run the decoder's layers again in the backward pass, for less memory.
        box_head, score_head: what makes boxes and scores of the encoder's tokens and of every decoder layer: a
            registered name, or a mapping with a name and settings; see ``heads``.

    Raises:
        UserError: settings that do not fit each other, or a head that is none.
    """

    CROSS_ATTENTION = PPMSDeformableAttention

    __shared__ = ['num_classes', 'hidden_dim', 'eval_size']

    def __init__(self,
                 num_classes: int = 80,
                 hidden_dim: int = 256,
                 num_queries: int = 300,
                 position_embed_type: str = 'sine',
                 backbone_feat_channels: Sequence[int] = [512, 1024, 2048],
                 feat_strides: Sequence[int] = [8, 16, 32],
                 num_levels: int = 3,
                 num_decoder_points: int | Sequence[int] = 4,
                 nhead: int = 8,
                 num_decoder_layers: int = 6,
                 dim_feedforward: int = 1024,
                 dropout: float = 0.,
                 activation: str = 'relu',
                 num_denoising: int = 100,
                 label_noise_ratio: float = 0.5,
                 box_noise_scale: float = 1.0,
                 learnt_init_query: bool = True,
                 query_pos_head_inv_sig: bool = False,
                 eval_size: Sequence[int] | None = None,
                 eval_idx: int = -1,
                 eps: float = 1e-2,
                 cross_attn_sampling_method: str = 'default',
                 recompute: bool = False,
                 box_head: str | Mapping[str, Any] = 'MLPBoxHead',
                 score_head: str | Mapping[str, Any] = 'LinearScoreHead'):
        super().__init__()
        _check_arguments(position_embed_type, backbone_feat_channels, feat_strides, num_levels)
        _check_choice('cross_attn_sampling_method', cross_attn_sampling_method, SAMPLING)
        _check_sizes(hidden_dim, nhead, num_decoder_layers, eval_idx)
        self.hidden_dim, self.nhead, self.num_decoder_layers = hidden_dim, nhead, num_decoder_layers
        self.num_classes, self.num_queries, self.num_levels = num_classes, num_queries, num_levels
        self.eval_size, self.eps = eval_size, eps
        extra_levels = num_levels - len(backbone_feat_channels)
        self.feat_strides = [*feat_strides, *(feat_strides[-1] * 2 ** (i + 1) for i in range(extra_levels))]
        self.input_proj = self._build_input_proj(backbone_feat_channels, extra_levels)
        cross_attn = self.CROSS_ATTENTION(hidden_dim, nhead, points_of_levels(num_decoder_points, num_levels),
                                          cross_attn_sampling_method)
        layer = TransformerDecoderLayer(hidden_dim, nhead, dim_feedforward, dropout, activation, cross_attn)
        self.decoder = TransformerDecoder(layer, num_decoder_layers, eval_idx, recompute)

        self.num_denoising, self.label_noise_ratio, self.box_noise_scale = (
            num_denoising, label_noise_ratio, box_noise_scale)
        self.denoising_class_embed = nn.Embedding(num_classes, hidden_dim)
        self.learnt_init_query = learnt_init_query
        if learnt_init_query:
            self.tgt_embed = nn.Embedding(num_queries, hidden_dim)
        self.query_pos_head = MLP(4, 2 * hidden_dim, hidden_dim, num_layers=2)
        self.query_pos_head_inv_sig = query_pos_head_inv_sig
        self._build_heads(box_head, score_head)
        self._reset_parameters()
        self._keep_anchors()

    @classmethod
    def from_config(cls, cfg: Mapping, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """What the neck's ``out_shape`` says of its maps."""
        return {
            'backbone_feat_channels': [i.channels for i in input_shape],
            'feat_strides': [i.stride for i in input_shape],
        }

    def _build_heads(self, box_head, score_head):
        """Score and box heads of the encoder's tokens and of every decoder layer, by PaddleDetection's names."""
        hidden, layers = self.hidden_dim, range(self.num_decoder_layers)
        box, score = {'hidden_dim': hidden}, {'hidden_dim': hidden, 'num_classes': self.num_classes}
        self.enc_output = nn.Sequential(nn.Linear(hidden, hidden), layer_norm_without_decay(hidden))
        self.enc_score_head = _build_head('score_head', score_head, 'reset_classes', score)
        self.enc_bbox_head = _build_head('box_head', box_head, 'decode', box)
        self.dec_score_head = nn.LayerList([build(score_head, **score) for _ in layers])
        self.dec_bbox_head = nn.LayerList([build(box_head, **box) for _ in layers])

    def _build_input_proj(self, channels, extra_levels):
        """1x1 convolutions for the given levels, strided 3x3 ones for the levels beyond them."""
        given = [(c, {'kernel_size': 1}) for c in channels]
        sources = [channels[-1], *[self.hidden_dim] * extra_levels][:extra_levels]
        made = [(c, {'kernel_size': 3, 'stride': 2, 'padding': 1}) for c in sources]
        return nn.LayerList([
            nn.Sequential(('conv', nn.Conv2D(c, self.hidden_dim, bias_attr=False, **window)),
                          ('norm', batch_norm_without_decay(self.hidden_dim))) for c, window in given + made
        ])

    def reset_classes(self) -> None:
        """Make all that depends on the classes anew: score heads and the denoising queries' label embedding."""
        for score_head in (self.enc_score_head, *self.dec_score_head):
            score_head.reset_classes()
        normal_(self.denoising_class_embed.weight)

    def _reset_parameters(self):
        self.reset_classes()
        linear_init_(self.enc_output[0])
        weights = [self.enc_output[0].weight, *(layer.weight for layer in self.query_pos_head.layers),
                   *(proj[0].weight for proj in self.input_proj)]
        if self.learnt_init_query:
            weights.append(self.tgt_embed.weight)
        for weight in weights:
            xavier_uniform_(weight)

    def forward(self, feats: Sequence[paddle.Tensor], pad_mask: paddle.Tensor | None = None,
                gt_meta: Mapping[str, Any] | None = None) -> DecoderOutput:
        """Boxes and scores of a batch; arguments are PaddleDetection's, in its order.

        Args:
            feats: list of [B, C, H/stride, W/stride].
            pad_mask: not used, RT-DETR's images are resized and not padded.
            gt_meta: in training the batch with gt_class (list of [n, 1]) and gt_bbox (list of [n, 4], cx cy w h in
                [0, 1]).

        Returns:
            DecoderOutput: in training all layers, denoising queries first; otherwise the layer eval_idx alone.
        """
        memory, spatial_shapes = self._encoder_input(feats)
        denoising = self._denoising_queries(gt_meta) if self.training else None
        chosen = self._select_queries(memory, spatial_shapes)
        content, raw_boxes, mask = chosen.content, chosen.raw_boxes, None
        if denoising is not None:
            content = paddle.concat([denoising.content.astype(content.dtype), content], 1)
            raw_boxes = paddle.concat([denoising.raw_boxes, raw_boxes], 1)
            # as numbers, once for all layers
            mask = paddle.where(denoising.mask, paddle.zeros([1]), paddle.full([1], -math.inf)).astype(content.dtype)
        boxes, logits = self.decoder(content, raw_boxes, memory, spatial_shapes, self.dec_bbox_head,
                                     self.dec_score_head, self.query_pos_head, attn_mask=mask,
                                     query_pos_head_inv_sig=self.query_pos_head_inv_sig)
        return DecoderOutput(boxes, logits, chosen.boxes, chosen.logits, denoising and denoising.meta)

    def _denoising_queries(self, gt_meta) -> DenoisingQueries | None:
        return contrastive_denoising(gt_meta['gt_class'], gt_meta['gt_bbox'], self.num_classes, self.num_queries,
                                     self.denoising_class_embed.weight, self.num_denoising, self.label_noise_ratio,
                                     self.box_noise_scale)

    def _encoder_input(self, feats):
        """All levels' tokens as one sequence [B, L, C], and the levels' (h, w)."""
        levels = [proj(feat) for proj, feat in zip(self.input_proj, feats)]
        for proj in self.input_proj[len(feats):]:
            levels.append(proj(levels[-1] if len(levels) > len(feats) else feats[-1]))
        spatial_shapes = [tuple(level.shape[2:]) for level in levels]
        return paddle.concat([transposed(level, [0, 2, 3, 1]).flatten(1, 2) for level in levels], 1), spatial_shapes

    def _select_queries(self, memory, spatial_shapes) -> Queries:
        """The tokens with the best class score."""
        if self.num_queries > memory.shape[1] > 0:
            raise UserError(f"num_queries is {self.num_queries} but the image has only {memory.shape[1]} feature "
                            "positions; lower RTDETRTransformer.num_queries or enlarge the image")
        anchors, valid = self._anchors(spatial_shapes)
        tokens = self.enc_output(memory * valid.astype(memory.dtype))
        logits = self.enc_score_head(tokens)
        _, index = paddle.topk(self._sortable(logits.max(-1)), self.num_queries, axis=1)

        places = _image_and_token(index)
        chosen = paddle.gather_nd(tokens, places)
        raw_boxes = self.enc_bbox_head.decode(self.enc_bbox_head(chosen), F.embedding(index, anchors))
        if self.learnt_init_query:
            content = self.tgt_embed.weight.unsqueeze(0) + paddle.zeros_like(chosen[:, :1])
        else:
            content = chosen.detach() if self.training else chosen
        start = raw_boxes.detach() if self.training else raw_boxes
        return Queries(content, start, F.sigmoid(raw_boxes), paddle.gather_nd(logits, places))

    def _sortable(self, scores):
        """Scores without NaN, among which topk finds numbers such as -2147483648 that are no index.

        In training the matcher says so a little later, without one more wait for the device.
        """
        if self.training:
            scores = scores.detach()
            return paddle.where(paddle.isfinite(scores), scores, paddle.zeros_like(scores))
        if paddle.in_dynamic_mode() and not bool(paddle.isfinite(scores).all()):
            raise NotFinite("the encoder's scores are NaN or infinite: the weights or the pictures' pixels are no "
                            "numbers; take another checkpoint")
        return scores

    def _keep_anchors(self):
        if self.eval_size:
            for name, array in zip(('anchors', 'valid_mask'), make_anchors(tuple(self._eval_shapes()), self.eps)):
                self.register_buffer(name, paddle.to_tensor(array), persistable=False)

    def _anchors(self, spatial_shapes):
        if self.eval_size and spatial_shapes == self._eval_shapes():
            return self.anchors, self.valid_mask
        anchors, valid = make_anchors(tuple(spatial_shapes), self.eps)
        # as numbers: paddle2onnx aborts at a constant of truth values
        return paddle.to_tensor(anchors), paddle.to_tensor(valid.astype('float32'))

    def _eval_shapes(self):
        return [tuple(size // stride for size in self.eval_size) for stride in self.feat_strides]


@register_over
class RTDETRTransformerv2(RTDETRTransformer):
    """Decoder of RT-DETRv2; settings as in RTDETRTransformer.

    All that differs: checkpoints carry ``num_points_scale``, one over the number of a level's points.
    """

    CROSS_ATTENTION = StoredScaleAttention


def _build_head(key, spec, method, settings):
    """The head that a config names under ``key``.

    Raises:
        UserError: it is not registered, has other settings, or is no head of this kind.
    """
    head = build(spec, **settings)
    if not hasattr(head, method):
        raise UserError(f"RTDETRTransformer.{key}: {type(head).__name__} has no {method}; derive it from "
                        "BoxHead or ScoreHead of ppdet_ext.detector.heads, see docs/heads.md")
    return head


def _check_choice(name, value, choices):
    if value not in choices:
        raise UserError(f"RTDETRTransformer.{name} must be {' or '.join(choices)}, got {value!r}")


def _check_arguments(position_embed_type, channels, strides, num_levels):
    _check_choice('position_embed_type', position_embed_type, ('sine', 'learned'))
    if not len(channels) == len(strides) <= num_levels:
        raise UserError(f"RTDETRTransformer has num_levels {num_levels} for neck outputs with channels {channels} and "
                        f"strides {strides}; set num_levels to at least {len(channels)}")


def _check_sizes(hidden_dim, nhead, layers, eval_idx):
    if hidden_dim % nhead:
        raise UserError(f"RTDETRTransformer: hidden_dim {hidden_dim} must be a multiple of nhead {nhead}")
    if not -layers <= eval_idx < layers:
        raise UserError(f"RTDETRTransformer: eval_idx {eval_idx} names no layer; there are {layers} decoder layers")


def _image_and_token(index):
    """Numbers of tokens [B, Q] -> (image, token) [B, Q, 2], for ``gather_nd``; take_along_axis, slower, would want one
    for each channel."""
    images = paddle.arange(paddle.shape(index)[0], dtype=index.dtype).unsqueeze(1)
    return paddle.stack([paddle.zeros_like(index) + images, index], -1)
