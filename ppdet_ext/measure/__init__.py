# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a network costs: operations, memory, time."""
