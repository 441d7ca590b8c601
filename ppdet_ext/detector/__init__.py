# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RT-DETR under PaddleDetection develop's names; importing registers it."""
from .detr import DETR
from .heads import DINOHead
from .hybrid_encoder import HybridEncoder, TransformerLayer
from .loss import DINOLoss
from .matcher import HungarianMatcher
from .postprocess import DETRPostProcess
from .rtdetr_transformer import RTDETRTransformer, RTDETRTransformerv2

__all__ = [
    "DETR", "DETRPostProcess", "DINOHead", "DINOLoss", "HungarianMatcher", "HybridEncoder", "RTDETRTransformer",
    "RTDETRTransformerv2", "TransformerLayer",
]
