# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Sections of a small RT-DETR on PaddleDetection's ResNet-18, for ``build_detector``."""
ENCODER = {"name": "TransformerLayer", "d_model": 32, "nhead": 2, "dim_feedforward": 32, "dropout": 0.1,
           "activation": "gelu"}
SMALL = {
    "hidden_dim": 32, "num_classes": 5, "eval_size": None, "norm_type": "bn",
    "ResNet": {"depth": 18, "freeze_at": -1, "freeze_norm": False, "lr_mult_list": [1.0] * 4},
    "HybridEncoder": {"hidden_dim": 32, "depth_mult": 0.34, "encoder_layer": ENCODER},
    "RTDETRTransformer": {"num_queries": 20, "num_decoder_layers": 2, "dim_feedforward": 32, "nhead": 2, "dropout": 0.1,
                          "num_denoising": 10},
}
# the same without dropout and denoising: two passes can be compared number by number
NO_CHANCE = {
    **SMALL, "RTDETRTransformer": {**SMALL["RTDETRTransformer"], "dropout": 0.0, "num_denoising": 0},
    "HybridEncoder": {**SMALL["HybridEncoder"], "encoder_layer": {**ENCODER, "dropout": 0.0}},
}
