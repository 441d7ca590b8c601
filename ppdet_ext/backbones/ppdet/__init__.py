# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""PaddleDetection's own backbones that its RT-DETR configs name, as its develop branch has them."""
