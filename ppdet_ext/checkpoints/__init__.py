# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A whole detector's weights in the files of PaddleDetection, lyuwenyu/RT-DETR and transformers, one into the other.

name_rules (names, as data) · name_maps (one model's names in one project) · checkpoint_files (read, write) · models
(which network) · huggingface (config.json) · convert_detector · verify_detector · finetune (other classes).
"""

PROJECTS = ("paddledet", "torch", "hf")
TITLES = {"paddledet": "PaddleDetection", "torch": "lyuwenyu/RT-DETR (PyTorch)", "hf": "Hugging Face transformers"}
