# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every change to an installed ppdet or Paddle, one row each."""
