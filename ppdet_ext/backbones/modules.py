# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The backbones that YAML names: TimmBackbone and TorchvisionBackbone, with PaddleDetection's settings."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import paddle
from paddle import nn
from paddle.regularizer import L2Decay
from ppdet.modeling.shape_spec import ShapeSpec
from ppdet.utils.logger import setup_logger

from ..distributed import processes
from ..errors import UserError
from ..graph.ops.timm_norm_leaves import sync_batch_norms
from ..nn.norms import batch_norms
from ..registry import register, serializable
from ..registry.user_class import as_wanted
from ..registry.weights_wanted import weights_wanted
from ..weights import pretrained_weights
from .adapters import NECK_STRIDES, PatchSize, choose_adapter, make_adapter
from .features import FeatureInfo
from .manifest import PretrainedCfg, recognise
from .model_registry import create_model

logger = setup_logger("ppdet_ext")

NORM_TYPES = ("bn", "sync_bn")


class NamedBackbone(nn.Layer):
    """A network by name as a detector's backbone; see TimmBackbone for the settings.

    Attributes:
        model: the network, its parameters under the source's own names.
        to_strides: the adapter, see adapters.Adapter; None without one.
        to_size: what fits images to the network where there is an adapter, see adapters.PatchSize.
        out_shape: [ShapeSpec(channels, stride)] of the features, finest first.
        weights_source: where the weights came from; pretrained_weights.RANDOM for random initialisation.
        load_report: LoadReport of the load; None where nothing was loaded.
    """

    __shared__ = ["norm_type"]
    PREFIX = ""

    def __init__(self,
                 arch: str = "resnet50",
                 pretrained: bool | str = False,
                 out_indices: int | Sequence[int] | None = None,
                 return_idx: int | Sequence[int] | None = None,
                 freeze_at: int = -1,
                 freeze_stem_only: bool = False,
                 freeze_norm: bool = False,
                 norm_type: str = "bn",
                 norm_decay: float = 0.,
                 lr_mult_list: float | Sequence[float] | None = None,
                 drop_path_rate: float = 0.,
                 recompute: bool = False,
                 in_chans: int = 3,
                 allow: Sequence[str] | None = None,
                 adapter: str = "none",
                 adapter_channels: int | None = None,
                 img_size: int | Sequence[int] | None = None,
                 size: str = "error"):
        super().__init__()
        self.arch = arch
        self.pretrained = pretrained
        self.out_indices = out_indices
        self.return_idx = return_idx
        self.freeze_at = freeze_at
        self.freeze_stem_only = freeze_stem_only
        self.freeze_norm = freeze_norm
        self.norm_type = norm_type
        self.norm_decay = norm_decay
        self.lr_mult_list = lr_mult_list
        self.drop_path_rate = drop_path_rate
        self.recompute = recompute
        self.in_chans = in_chans
        self.allow = allow
        self.adapter = adapter
        self.adapter_channels = adapter_channels
        self.img_size = img_size
        self.size = size
        self._check_settings()
        self.model = self._create()
        self._adapt()
        self.model.recompute = bool(recompute)
        self._load_weights()
        self._set_learning_rates()
        self._freeze()
        self._sync_norms()
        self._log()

    def forward(self, inputs: Mapping[str, Any] | paddle.Tensor) -> list[paddle.Tensor]:
        """ppdet's batch (a dict with 'image') or an image [B, in_chans, H, W] -> list of [B, C, H/stride, W/stride]."""
        image = as_wanted(inputs["image"] if isinstance(inputs, Mapping) else inputs, self)
        if self.training:
            self.hold_frozen()
        if self.to_strides is None:
            return list(self.model(image))
        return self.to_strides(self.model(self.to_size(image)))

    @property
    def out_shape(self) -> list[ShapeSpec]:
        info = self.model.feature_info
        given = (info.channels(), info.reduction()) if self.to_strides is None else (
            self.to_strides.channels(), self.to_strides.strides())
        return [ShapeSpec(channels=c, stride=s) for c, s in zip(*given)]

    @property
    def pretrained_cfg(self) -> PretrainedCfg:
        """PretrainedCfg of the arch and tag: mean, std, interpolation, input size, licence."""
        return self.model.pretrained_cfg

    @property
    def full_arch(self) -> str:
        """The arch as create_model takes it: torchvision's have a prefix."""
        return f"{self.PREFIX}{self.arch}"

    def _check_settings(self):
        where = type(self).__name__
        if self.norm_type not in NORM_TYPES:
            raise UserError(f"{where}: norm_type is {self.norm_type!r}; it takes {' or '.join(NORM_TYPES)}")
        if not isinstance(self.arch, str) or not self.arch:
            raise UserError(f"{where}: arch is {self.arch!r}; write a name such as resnet50 or resnet50.a1_in1k")
        if not isinstance(self.pretrained, (bool, str)):
            raise UserError(f"{where}: pretrained is {self.pretrained!r}; it takes true, false, auto, or a path or URL")
        if isinstance(self.freeze_at, bool) or not isinstance(self.freeze_at, Integral) or self.freeze_at < -1:
            raise UserError(f"{where}: freeze_at is {self.freeze_at!r}; it takes -1 (nothing) or the last frozen stage")
        both = [_as_tuple(value) for value in (self.out_indices, self.return_idx)]
        if None not in both and both[0] != both[1]:
            raise UserError(f"{where}: out_indices {list(both[0])} and return_idx {list(both[1])} differ; they are two "
                            "names of one setting, write one of them")

    def _create(self):
        chosen = _as_tuple(self.return_idx if self.out_indices is None else self.out_indices)
        if chosen is not None:
            return self._network(chosen)
        model = self._network(None)
        chosen = self._default_indices(model.feature_info)
        if chosen[-1] + 1 == len(model.feature_info):
            model.feature_info = model.feature_info.from_other(chosen)
            return model
        return self._network(chosen)

    def _default_indices(self, info):
        if self.adapter == "none":
            return default_indices(info, self.full_arch)
        return choose_adapter(self.adapter, info.channels(), info.reduction())[1]

    def _network(self, out_indices):
        size = tuple(self.img_size) if isinstance(self.img_size, (list, tuple)) else self.img_size
        return create_model(self.full_arch, features_only=True, out_indices=out_indices, in_chans=self.in_chans,
                            drop_path_rate=self.drop_path_rate, img_size=size)

    def _adapt(self):
        """Make ``to_strides``, and ``to_size`` for the images that network and adapter can take together."""
        self.to_strides = self.to_size = None
        info = self.model.feature_info
        if self.adapter != "none":
            self.to_strides = make_adapter(self.adapter, info.channels(), info.reduction(),
                                           out_channels=self.adapter_channels)
            strides = [int(stride) for stride in (*info.reduction(), self.to_strides.multiple)]
            self.to_size = PatchSize(math.lcm(*strides), self.size)

    def _load_weights(self):
        self.weights_source, self.load_report = pretrained_weights.RANDOM, None
        if not self.pretrained or not weights_wanted():
            return
        # a file or an address may be another tag's than the arch's
        self.model.pretrained_cfg = recognise(self.pretrained, self.model.pretrained_cfgs.values()) or \
            self.pretrained_cfg
        report = pretrained_weights.load_pretrained(self.model, self.pretrained_cfg, self.pretrained,
                                                    in_chans=self.in_chans, allow=self.allow or ())
        if report.source != pretrained_weights.RANDOM:
            self.weights_source, self.load_report = report.source, report

    def _set_learning_rates(self):
        """ParamAttr's way: the optimizer multiplies its learning rate by optimize_attr['learning_rate']."""
        for norm in self._norms():
            for parameter in (norm.weight, norm.bias):
                if parameter is not None:
                    parameter.regularizer = L2Decay(self.norm_decay)
        if self.lr_mult_list is None:
            return
        stages = self.model.stage_layers()
        rates = self.lr_mult_list
        rates = [rates] * len(stages) if isinstance(rates, Real) else [*rates[:1], *rates]
        if len(rates) != len(stages):
            raise UserError(f"{type(self).__name__}: lr_mult_list is {self.lr_mult_list}, but {self.full_arch} has "
                            f"{len(stages) - 1} stages after its stem (which shares the first entry); give one each")
        for layers, rate in zip(stages, rates):
            for parameter in _parameters(layers):
                parameter.optimize_attr["learning_rate"] = float(rate)

    def _freeze(self):
        for parameter in _parameters(self._frozen_stages()):
            parameter.stop_gradient = True
        if self.freeze_norm:
            norms = self._norms()
            if not norms:
                logger.warning("freeze_norm has no effect: %s has no BatchNorm", self.full_arch)
            for parameter in _parameters(norms):
                parameter.stop_gradient = True
        self.hold_frozen()
        frozen = self.freeze_norm or self.freeze_at >= 0
        if frozen and self.weights_source == pretrained_weights.RANDOM and weights_wanted():
            logger.warning("%s is frozen in part (freeze_at: %s, freeze_norm: %s) at random values, which never change",
                           self.full_arch, self.freeze_at, self.freeze_norm)

    def _frozen_stages(self):
        """Sublayers of the stages that freeze_at names, as they are now."""
        if self.freeze_at < 0:
            return []
        stages = self.model.stage_layers()
        count = 1 if self.freeze_stem_only else self.freeze_at + 2
        if count > len(stages):
            raise UserError(f"{type(self).__name__}: freeze_at is {self.freeze_at}, but {self.full_arch} has "
                            f"{len(stages) - 1} stages after its stem, counted from 0")
        return [layer for layers in stages[:count] for layer in layers]

    def hold_frozen(self) -> None:
        """Frozen parts run in eval mode, so their statistics stay.

        Done at every training step, by looking: Layer.train() sets the flag of each sublayer, and SyncBatchNorm's
        conversion exchanges layers and forgets use_global_stats.
        """
        for layer in self._frozen_stages():
            for part in layer.sublayers(include_self=True):
                part.training = False
        for norm in self._norms() if self.freeze_norm else ():
            norm.training = False

    def _norms(self):
        return batch_norms(self.model)

    def _sync_norms(self):
        if self.norm_type == "sync_bn" and processes.count() > 1:
            self.model = sync_batch_norms(self.model)

    def _log(self):
        if not weights_wanted():
            start = "weights come with the detector's checkpoint"
        elif self.weights_source == pretrained_weights.RANDOM:
            start = f"{pretrained_weights.RANDOM} (pretrained: {str(self.pretrained).lower()})"
        else:
            start = f"weights from {self.weights_source}"
        strides = ", ".join(f"{spec.stride} ({spec.channels})" for spec in self.out_shape)
        logger.info("backbone %s: %s; features at strides (channels) %s", self.full_arch, start, strides)


@register
@serializable
class TimmBackbone(NamedBackbone):
    """A timm network by name.

    Args:
        arch (str): timm's name, with or without a tag: resnet50, resnet50.a1_in1k.
        pretrained (bool|str): true (must be had), false, auto (if it can be had, else random with a warning), or a path
            or URL of a torch or Paddle file.
        out_indices (list): features to return, numbered as timm's features_only numbers them; None takes those of
            stride 8, 16 and 32. timm counts the stem's feature (stride 2) as 0, so a ResNet's [2, 3, 4] are what
            ppdet's ResNet calls return_idx [1, 2, 3].
        return_idx (list): another name of out_indices, with the same meaning.
        freeze_at (int): as in ppdet's ResNet: -1 freezes nothing, k the stem and stages 0 to k. Stage 0 works at
            stride 4; the stem is all before it. Frozen parts run in eval mode and keep their statistics.
        freeze_stem_only (bool): freeze_at >= 0 freezes the stem alone, as in RT-DETR's configs.
        freeze_norm (bool): weights, biases and statistics of every BatchNorm stay as they are.
        norm_type (str): bn, or sync_bn: statistics over all processes (GPUs); the same as bn in one process.
        norm_decay (float): L2 factor of BatchNorm's weights and biases, in place of the optimizer's regularizer. The
            decoupled weight_decay of AdamW does not look at it.
        lr_mult_list (list|float): factor on the learning rate, one for each stage after the stem (which shares the
            first), or one for all.
        drop_path_rate (float): stochastic depth of the last block.
        recompute (bool): recompute stages in the backward pass, for less memory.
        in_chans (int): channels of the image; the first convolution's pretrained weights are fitted to it. With 1, a
            picture of three channels is averaged. Readers give three; a detector takes 3 or 1.
        allow (list): patterns of parameter names that may be missing or of another shape in the weights.
        adapter (str): what makes strides 8, 16 and 32 where the network does not have them: none (such a network is an
            error), simple_fpn (networks of one stride: ViT, DINO, ...), resample (other strides), select, or auto (what
            fits; a log line says which). See backbones.adapters.
        adapter_channels (int): channels of what the adapter makes.
        img_size (int|list): side or [height, width] of the images, for networks made for one size. Position parameters
            are resized to it as timm does.
        size (str): what happens to an image whose sides network and adapter cannot divide: error, pad (below and to the
            right; boxes are relative to the padded image, so a little off) or resize.
    """


@register
@serializable
class TorchvisionBackbone(NamedBackbone):
    """A torchvision classification network by name, such as resnet50; settings as in TimmBackbone.

    Args:
        arch (str): torchvision's name, with or without its weights' name: resnet50, resnet50.IMAGENET1K_V2.
    """

    PREFIX = "torchvision/"


def default_indices(feature_info: FeatureInfo, name: str) -> tuple[int, ...]:
    """Indices of the last feature at each of the strides 8, 16 and 32.

    Raises:
        UserError: the network has no such feature.
    """
    by_stride = {reduction: index for index, reduction in enumerate(feature_info.reduction())}
    if not set(NECK_STRIDES) <= set(by_stride):
        raise UserError(f"{name} has features at strides {sorted(by_stride)}, not at 8, 16 and 32; let an adapter "
                        "make them (adapter: auto), or choose some with out_indices")
    return tuple(by_stride[stride] for stride in NECK_STRIDES)


def _as_tuple(indices):
    return None if indices is None else (indices,) if isinstance(indices, Integral) else tuple(indices)


def _parameters(layers):
    return [parameter for layer in layers for parameter in layer.parameters()]
