# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading configs: files, keys, flags."""
