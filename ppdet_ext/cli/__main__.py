# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``python -m ppdet_ext.cli``: the command ``ppdet-ext``."""
from .commands import main

main()
