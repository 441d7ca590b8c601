# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Exported models on many pictures or for many askers, by Ray; nothing here is needed to train or to predict."""
