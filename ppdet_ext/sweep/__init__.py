# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every name of timm and torchvision through the bridge, each held against its original: tools/sweep_bridge.py."""
