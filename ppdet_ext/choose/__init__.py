# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which backbone: the catalogue of all names, comparing them, suggesting one."""
