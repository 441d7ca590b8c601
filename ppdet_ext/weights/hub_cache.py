# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The Hugging Face cache of this machine, which other programs filled: where it has a repository's files.

Layout: huggingface_hub's guide "Understand caching": models--ORG--NAME/refs/main names a commit, and
snapshots/COMMIT holds links to the files. Nothing is written there.
"""
from __future__ import annotations

import os
import re
from pathlib import Path

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
YES = ("1", "on", "yes", "true")
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
REVISION = re.compile(r"\w[\w.-]*", re.ASCII)
MAIN = "main"


def root() -> Path:
    """The cache's folder: $HF_HUB_CACHE, $HF_HOME/hub, or ~/.cache/huggingface/hub."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.path.expanduser(named or os.path.join(home, "hub")))


def offline() -> str:
    """The variable that forbids to ask the hub; '' where none does."""
    return next((name for name in OFFLINE if os.environ.get(name, "").strip().lower() in YES), "")


def snapshot(repository: str, revision: str = MAIN) -> Path | None:
    """The folder of a repository's files ('timm/resnet18.a1_in1k') as the cache has them; None where it has not."""
    return snapshot_in(root() / f"models--{repository.replace('/', '--')}", revision)


def snapshot_in(folder: Path, revision: str = MAIN) -> Path | None:
    """The same of a repository's own folder of a cache, wherever it lies."""
    reference = folder / "refs" / revision
    commit = revision
    if reference.is_file():
        with open(reference, encoding="ascii", errors="replace") as file:
            commit = file.read(100).strip()
    found = folder / "snapshots" / commit
    if REVISION.fullmatch(commit) and found.is_dir():
        return found
    held = sorted(folder.glob("snapshots/*/")) if revision == MAIN else []
    return held[0] if len(held) == 1 else None
