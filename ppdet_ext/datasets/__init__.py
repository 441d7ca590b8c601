# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Data sets as people have them: layouts read into one form, splits, conversion, checks."""
