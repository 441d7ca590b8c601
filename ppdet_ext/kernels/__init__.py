# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Eager operations on a CPU that Paddle computes slowly: oneDNN, products, copies."""
