# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where things lie."""
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs"
TOOLS = REPO / "tools"
FILES = Path(__file__).with_name("files")  # small files that tests read
