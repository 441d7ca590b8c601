# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A network as data (Graph), graph files, and the Paddle layer that is made from one."""
