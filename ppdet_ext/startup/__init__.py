# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What must be set and checked before Paddle loads. Standard library only."""
