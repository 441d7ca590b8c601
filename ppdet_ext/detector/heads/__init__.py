# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What makes boxes and scores: one file a head, and a config names the one to use.

    RTDETRTransformer: {box_head: MLPBoxHead, score_head: LinearScoreHead}   # tokens -> boxes, tokens -> scores
    DETR: {detr_head: DINOHead}                                             # all of these -> losses or detections

The encoder's tokens have one box head and one score head, and so has every decoder layer. A box head is a BoxHead, a
score head a ScoreHead. ``detr_head`` takes a DecoderOutput. Every file of this folder is imported here, so another
head is one file with a registered class and one line of YAML; docs/heads.md shows one.
"""
import importlib
import pkgutil

from .box_head import BoxHead, MLPBoxHead
from .dino_head import DINOHead
from .score_head import LinearScoreHead, ScoreHead

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["BoxHead", "DINOHead", "LinearScoreHead", "MLPBoxHead", "ScoreHead"]
