# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The rows about ppdet, and about Paddle's parts that only its readers use."""
ROWS = ()
