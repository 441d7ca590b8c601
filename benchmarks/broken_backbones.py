# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Backbones that are broken on purpose, for quick_families.py (``--import``): each looks fine until it is trained."""
from paddle import nn

from ppdet_ext.backbones import create_model
from rt_detr_paddle import register


class Small(nn.Layer):
    """A ResNet-18 at random values, whose features are as they should be."""

    def __init__(self):
        super().__init__()
        self.model = create_model("resnet18", features_only=True, out_indices=(2, 3, 4))

    def forward(self, image):
        return self.model(image)


@register
class PictureLost(Small):
    """The picture never gets in, so all pictures have the same features."""

    def forward(self, image):
        return self.model(image * 0)


@register
class GradientStopped(Small):
    """Features as they should be, and nothing to learn from."""

    def forward(self, image):
        return [feature.detach() for feature in self.model(image)]


@register
class DividesByZero(Small):
    """A normalisation of its own, without an epsilon: dead channels give 0 / 0."""

    def forward(self, image):
        fine, middle, coarse = self.model(image)
        return [fine, middle, coarse / coarse.clip(0, 0).sum(axis=1, keepdim=True)]


@register
class CoarseFirst(Small):
    """Features in the wrong order."""

    def forward(self, image):
        return self.model(image)[::-1]
