# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A whole detector's weights in the files of PaddleDetection, lyuwenyu/RT-DETR and transformers, one into the other.

rules.py (names, as data) · names.py (one model's names in one project) · files.py (read, write) · models.py (which
network) · huggingface.py (config.json) · convert.py · verify.py · finetune.py (other classes).
"""
