# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RT-DETR's decoder: query selection from the encoder's tokens, then layers that refine boxes step by step.

Source: https://arxiv.org/abs/2304.08069; names and parameters as PaddleDetection develop's
ppdet/modeling/transformers/rtdetr_transformer.py. RT-DETRv2 (https://arxiv.org/abs/2407.17140) is the same decoder with
another cross attention; rtdetr_transformerv2.py.
"""
import copy
import functools
import math

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from paddle import ParamAttr
from paddle.regularizer import L2Decay
from ppdet.modeling.heads.detr_head import MLP
from ppdet.modeling.initializer import bias_init_with_prob, constant_, linear_init_, normal_, xavier_uniform_

from ..errors import UserError
from ..kernels.transpose import transposed
from ..nn import recomputed
from ..registry import register_over
from .attention import SAMPLING, PPMSDeformableAttention, StoredScaleAttention, points_of_levels
from .boxes import inverse_sigmoid
from .denoising import contrastive_denoising
from .hybrid_encoder import batch_norm
from .self_attention import MultiHeadAttention

#: stands for "no anchor here": the sigmoid of it is 1 in every precision, and it stays finite in half precision
NO_ANCHOR = 1e4


def layer_norm(channels):
    """LayerNorm with L2Decay(0) on weight and bias, see batch_norm."""
    free = ParamAttr(regularizer=L2Decay(0.0))
    return nn.LayerNorm(channels, weight_attr=free, bias_attr=free)


class TransformerDecoderLayer(nn.Layer):
    """Self-attention among queries, deformable cross-attention to the memory, feed-forward; [B, Q, C] -> [B, Q, C]."""

    def __init__(self, d_model=256, n_head=8, dim_feedforward=1024, dropout=0., activation='relu',
                 cross_attn=None):
        super().__init__()
        self.self_attn = MultiHeadAttention(d_model, n_head, dropout=dropout)
        self.dropout1 = nn.Dropout(dropout)
        self.norm1 = layer_norm(d_model)
        self.cross_attn = cross_attn
        self.dropout2 = nn.Dropout(dropout)
        self.norm2 = layer_norm(d_model)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.activation = activation  # a name of paddle.nn.functional, looked up when it is used
        self.dropout3 = nn.Dropout(dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.dropout4 = nn.Dropout(dropout)
        self.norm3 = layer_norm(d_model)
        for linear in (self.linear1, self.linear2):
            linear_init_(linear)
            xavier_uniform_(linear.weight)

    def forward(self, tgt, reference_points, memory, spatial_shapes, attn_mask=None, memory_mask=None,
                query_pos_embed=None):
        query = tgt + query_pos_embed
        tgt = self.norm1(tgt + self.dropout1(self.self_attn(query, query, value=tgt, attn_mask=attn_mask)))
        found = self.cross_attn(tgt + query_pos_embed, reference_points, memory, spatial_shapes, memory_mask)
        tgt = self.norm2(tgt + self.dropout2(found))
        hidden = self.dropout3(getattr(F, self.activation)(self.linear1(tgt)))
        return self.norm3(tgt + self.dropout4(self.linear2(hidden)))


class TransformerDecoder(nn.Layer):
    """A stack of layers, each of which moves the boxes that the one before gave."""

    def __init__(self, decoder_layer, num_layers, eval_idx=-1, recompute=False):
        super().__init__()
        self.recompute = recompute
        self.layers = nn.LayerList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.eval_idx = eval_idx if eval_idx >= 0 else num_layers + eval_idx

    def forward(self, tgt, ref_points_unact, memory, spatial_shapes, bbox_head, score_head, query_pos_head,
                attn_mask=None, memory_mask=None, query_pos_head_inv_sig=False):
        """
        Args:
            tgt: [B, Q, C] content of the queries.
            ref_points_unact: [B, Q, 4] their boxes before the sigmoid.
            memory: [B, L, C].

        Returns:
            boxes [layers, B, Q, 4] (cx, cy, w, h in [0, 1]) and logits [layers, B, Q, classes]: of every layer in
            training, of layer eval_idx otherwise.
        """
        boxes, logits = [], []
        # gradients reach a layer's boxes through its own head and the head before it, not through all before
        ref_points, ref_points_detach = None, F.sigmoid(ref_points_unact)
        for i, layer in enumerate(self.layers):
            place = inverse_sigmoid(ref_points_detach) if query_pos_head_inv_sig else ref_points_detach
            fixed = spatial_shapes, attn_mask, memory_mask
            tgt = self._run(layer, fixed, tgt, ref_points_detach.unsqueeze(2), memory, query_pos_head(place))
            # boxes stay in float32 under mixed precision: half precision would place them to a third of a pixel at 640
            delta = bbox_head[i](tgt).astype('float32')
            refined = F.sigmoid(delta + inverse_sigmoid(ref_points_detach))
            if self.training:
                logits.append(score_head[i](tgt))
                boxes.append(refined if i == 0 else F.sigmoid(delta + inverse_sigmoid(ref_points)))
            elif i == self.eval_idx:
                return refined.unsqueeze(0), score_head[i](tgt).unsqueeze(0)
            ref_points = refined
            ref_points_detach = refined.detach() if self.training else refined
        return paddle.stack(boxes), paddle.stack(logits)

    def _run(self, layer, fixed, *values):
        def call(tgt, ref_points, memory, position):
            return layer(tgt, ref_points, memory, *fixed, position)
        return recomputed(call, [layer], *values) if self.recompute and self.training else call(*values)


@register_over
class RTDETRTransformer(nn.Layer):
    """Decoder of RT-DETR with its encoder heads and denoising queries.

    Args:
        backbone_feat_channels, feat_strides: of the neck's outputs; filled from its ``out_shape``.
        num_levels: levels that the deformable attention sees; more than the neck gives are made with strided
            convolutions.
        num_decoder_points: points that the deformable attention samples in a level, or a list of them, level by level.
        num_denoising, label_noise_ratio, box_noise_scale: see ``denoising.contrastive_denoising``.
        learnt_init_query: queries start from learnt content instead of the selected tokens.
        query_pos_head_inv_sig: query positions come from boxes before the sigmoid.
        eval_size: [H, W] for which the anchors are kept; other sizes compute theirs.
        eval_idx: decoder layer whose output counts outside training.
        eps: anchors closer than this to the border of [0, 1] are not used.
        cross_attn_sampling_method: default (bilinear), or discrete (the nearest pixel; nothing that a simple runtime
            lacks is exported).
        recompute: while training, run the decoder's layers again in the backward pass, for less memory.
    """

    CROSS_ATTENTION = PPMSDeformableAttention

    __shared__ = ['num_classes', 'hidden_dim', 'eval_size']

    def __init__(self,
                 num_classes=80,
                 hidden_dim=256,
                 num_queries=300,
                 position_embed_type='sine',
                 backbone_feat_channels=[512, 1024, 2048],
                 feat_strides=[8, 16, 32],
                 num_levels=3,
                 num_decoder_points=4,
                 nhead=8,
                 num_decoder_layers=6,
                 dim_feedforward=1024,
                 dropout=0.,
                 activation='relu',
                 num_denoising=100,
                 label_noise_ratio=0.5,
                 box_noise_scale=1.0,
                 learnt_init_query=True,
                 query_pos_head_inv_sig=False,
                 eval_size=None,
                 eval_idx=-1,
                 eps=1e-2,
                 cross_attn_sampling_method='default',
                 recompute=False):
        super().__init__()
        _check_arguments(position_embed_type, backbone_feat_channels, feat_strides, num_levels)
        _check_choice('cross_attn_sampling_method', cross_attn_sampling_method, SAMPLING)
        _check_sizes(hidden_dim, nhead, num_decoder_layers, eval_idx)
        self.hidden_dim = hidden_dim
        self.nhead = nhead
        extra_levels = num_levels - len(backbone_feat_channels)
        self.feat_strides = [*feat_strides, *(feat_strides[-1] * 2 ** (i + 1) for i in range(extra_levels))]
        self.num_levels = num_levels
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.eps = eps
        self.num_decoder_layers = num_decoder_layers
        self.eval_size = eval_size

        self.input_proj = self._build_input_proj(backbone_feat_channels, extra_levels)
        cross_attn = self.CROSS_ATTENTION(hidden_dim, nhead, points_of_levels(num_decoder_points, num_levels),
                                          cross_attn_sampling_method)
        layer = TransformerDecoderLayer(hidden_dim, nhead, dim_feedforward, dropout, activation, cross_attn)
        self.decoder = TransformerDecoder(layer, num_decoder_layers, eval_idx, recompute)

        self.denoising_class_embed = nn.Embedding(num_classes, hidden_dim)
        self.num_denoising = num_denoising
        self.label_noise_ratio = label_noise_ratio
        self.box_noise_scale = box_noise_scale

        self.learnt_init_query = learnt_init_query
        if learnt_init_query:
            self.tgt_embed = nn.Embedding(num_queries, hidden_dim)
        self.query_pos_head = MLP(4, 2 * hidden_dim, hidden_dim, num_layers=2)
        self.query_pos_head_inv_sig = query_pos_head_inv_sig
        self._build_heads()
        self._reset_parameters()
        if eval_size:
            for name, array in zip(('anchors', 'valid_mask'), make_anchors(tuple(self._eval_shapes()), eps)):
                self.register_buffer(name, paddle.to_tensor(array), persistable=False)

    @classmethod
    def from_config(cls, cfg, input_shape):
        return {
            'backbone_feat_channels': [i.channels for i in input_shape],
            'feat_strides': [i.stride for i in input_shape],
        }

    def _build_heads(self):
        """Score and box heads of the encoder's tokens and of every decoder layer."""
        hidden, layers = self.hidden_dim, range(self.num_decoder_layers)
        self.enc_output = nn.Sequential(nn.Linear(hidden, hidden), layer_norm(hidden))
        self.enc_score_head = nn.Linear(hidden, self.num_classes)
        self.enc_bbox_head = MLP(hidden, hidden, 4, num_layers=3)
        self.dec_score_head = nn.LayerList([nn.Linear(hidden, self.num_classes) for _ in layers])
        self.dec_bbox_head = nn.LayerList([MLP(hidden, hidden, 4, num_layers=3) for _ in layers])

    def _build_input_proj(self, channels, extra_levels):
        """1x1 convolutions for the given levels, strided 3x3 ones for the levels beyond them."""
        given = [(c, {'kernel_size': 1}) for c in channels]
        sources = [channels[-1], *[self.hidden_dim] * extra_levels][:extra_levels]
        made = [(c, {'kernel_size': 3, 'stride': 2, 'padding': 1}) for c in sources]
        return nn.LayerList([
            nn.Sequential(('conv', nn.Conv2D(c, self.hidden_dim, bias_attr=False, **window)),
                          ('norm', batch_norm(self.hidden_dim))) for c, window in given + made
        ])

    def reset_classes(self):
        """Make all that depends on the classes anew: score heads and the denoising queries' label embedding."""
        # a prior of one per cent keeps the focal-type losses of the many background queries small at the start
        prior = bias_init_with_prob(0.01)
        for score_head in (self.enc_score_head, *self.dec_score_head):
            linear_init_(score_head)
            constant_(score_head.bias, prior)
        normal_(self.denoising_class_embed.weight)

    def _reset_parameters(self):
        self.reset_classes()
        for bbox_head in (self.enc_bbox_head, *self.dec_bbox_head):
            constant_(bbox_head.layers[-1].weight)
            constant_(bbox_head.layers[-1].bias)
        linear_init_(self.enc_output[0])
        weights = [self.enc_output[0].weight, *(layer.weight for layer in self.query_pos_head.layers),
                   *(proj[0].weight for proj in self.input_proj)]
        if self.learnt_init_query:
            weights.append(self.tgt_embed.weight)
        for weight in weights:
            xavier_uniform_(weight)

    def forward(self, feats, pad_mask=None, gt_meta=None):
        """
        Args:
            feats: list of [B, C, H/stride, W/stride].
            gt_meta: in training the batch with gt_class (list of [n, 1]) and gt_bbox (list of [n, 4], cx cy w h in
                [0, 1]).

        Returns:
            boxes and logits of the decoder ([layers, B, Q, 4] and [layers, B, Q, classes]), boxes and logits of the
            selected tokens ([B, Q, ...]), and the meta of the denoising queries, which come first among Q (or None).
        """
        memory, spatial_shapes = self._encoder_input(feats)
        denoising = None
        if self.training:
            denoising = contrastive_denoising(gt_meta['gt_class'], gt_meta['gt_bbox'], self.num_classes,
                                              self.num_queries, self.denoising_class_embed.weight, self.num_denoising,
                                              self.label_noise_ratio, self.box_noise_scale)
        target, ref_points, enc_boxes, enc_logits = self._select_queries(memory, spatial_shapes)
        mask = None
        if denoising is not None:
            target = paddle.concat([denoising.content.astype(target.dtype), target], 1)
            ref_points = paddle.concat([denoising.boxes, ref_points], 1)
            # as numbers, once for all layers
            mask = paddle.where(denoising.mask, paddle.zeros([1]), paddle.full([1], -math.inf)).astype(target.dtype)
        boxes, logits = self.decoder(target, ref_points, memory, spatial_shapes, self.dec_bbox_head,
                                     self.dec_score_head, self.query_pos_head, attn_mask=mask,
                                     query_pos_head_inv_sig=self.query_pos_head_inv_sig)
        return boxes, logits, enc_boxes, enc_logits, denoising and denoising.meta

    def _encoder_input(self, feats):
        """All levels' tokens as one sequence [B, L, C], and the levels' (h, w)."""
        levels = [proj(feat) for proj, feat in zip(self.input_proj, feats)]
        for proj in self.input_proj[len(feats):]:
            levels.append(proj(levels[-1] if len(levels) > len(feats) else feats[-1]))
        spatial_shapes = [tuple(level.shape[2:]) for level in levels]
        return paddle.concat([transposed(level, [0, 2, 3, 1]).flatten(1, 2) for level in levels], 1), spatial_shapes

    def _select_queries(self, memory, spatial_shapes):
        """The tokens with the best class score become the first queries: content, boxes before the sigmoid, and the
        boxes and logits that the encoder heads gave them (the latter two carry gradients)."""
        if self.num_queries > memory.shape[1] > 0:
            raise UserError(f"num_queries is {self.num_queries} but the image has only {memory.shape[1]} feature "
                            "positions; lower RTDETRTransformer.num_queries or enlarge the image")
        anchors, valid = self._anchors(spatial_shapes)
        tokens = self.enc_output(memory * valid.astype(memory.dtype))
        logits = self.enc_score_head(tokens)
        _, index = paddle.topk(logits.max(-1), self.num_queries, axis=1)

        places = _places(index)
        chosen = paddle.gather_nd(tokens, places)
        boxes_unact = self.enc_bbox_head(chosen).astype('float32') + F.embedding(index, anchors)
        if self.learnt_init_query:
            content = self.tgt_embed.weight.unsqueeze(0) + paddle.zeros_like(chosen[:, :1])
        else:
            content = chosen.detach() if self.training else chosen
        start = boxes_unact.detach() if self.training else boxes_unact
        return content, start, F.sigmoid(boxes_unact), paddle.gather_nd(logits, places)

    def _anchors(self, spatial_shapes):
        if self.eval_size and spatial_shapes == self._eval_shapes():
            return self.anchors, self.valid_mask
        return tuple(paddle.to_tensor(a) for a in make_anchors(tuple(spatial_shapes), self.eps))

    def _eval_shapes(self):
        return [tuple(size // stride for size in self.eval_size) for stride in self.feat_strides]


@register_over
class RTDETRTransformerv2(RTDETRTransformer):
    """Decoder of RT-DETRv2; settings as in RTDETRTransformer.

    All that differs: checkpoints carry ``num_points_scale``, one over the number of a level's points.
    """

    CROSS_ATTENTION = StoredScaleAttention


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


def _places(index):
    """Numbers of tokens [B, Q] -> (image, token) [B, Q, 2], for ``gather_nd``; take_along_axis, slower, would want one
    for each channel."""
    images = paddle.arange(paddle.shape(index)[0], dtype=index.dtype).unsqueeze(1)
    return paddle.stack([paddle.zeros_like(index) + images, index], -1)


@functools.lru_cache(maxsize=32)
def make_anchors(spatial_shapes, eps=1e-2, grid_size=0.05):
    """One square anchor a token, 0.05 * 2**level of the image wide, centred on the token's cell.

    PaddleDetection develop divides both coordinates by (h, w) in this order, right for square maps only; this is the
    same there, and what transformers' RTDetr does for other maps.

    Args:
        spatial_shapes: tuple of (h, w) per level.

    Returns:
        arrays: float32 [L, 4], the inverse sigmoid of cx, cy, w, h (NO_ANCHOR where not valid), and bool [L, 1],
        whether all four lie in (eps, 1 - eps).
    """
    anchors = []
    for level, (h, w) in enumerate(spatial_shapes):
        y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing='ij')
        side = np.full_like(x, grid_size * 2.0**level)
        anchors.append(np.stack([x, y, side, side], -1).reshape(-1, 4))
    anchors = np.concatenate(anchors).astype('float32')
    valid = ((anchors > eps) & (anchors < 1 - eps)).all(-1, keepdims=True)
    return np.where(valid, np.log(anchors / (1 - anchors)), np.float32(NO_ANCHOR)), valid
