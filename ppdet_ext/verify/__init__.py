# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A backbone held against what neck, weights, training and export need of it."""
