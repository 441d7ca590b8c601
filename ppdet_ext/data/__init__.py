# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Data sets and readers: the sample set, checks before anything is built, normalisation that follows the weights."""
