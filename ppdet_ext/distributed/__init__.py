# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The processes of one data-parallel run, and what they share."""
