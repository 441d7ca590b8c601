# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``train --quick``: whether a config can learn 16 images by heart, and why not."""
