# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Running a detector: the Trainer and its callbacks (one a file), weights, export, evaluation and prediction.

Imports nothing here: what runs exported models alone must not load the training side.
"""
