# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Annotation ids as pycocotools uses them: it notes a match by the annotation's id, so 0 means that there is none.

Many tools number annotations from 0. With six objects of one class, all found, AP was 0.693.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

OTHER = -1  # stands for 0: any number that is not 0 is a match


def without_zero(prepare: Callable[..., None]) -> Callable[..., None]:
    """For ``COCOeval._prepare``: an annotation of id 0 has another id while it is matched; the file's stays."""
    @functools.wraps(prepare)
    def prepared(self: Any) -> None:
        prepare(self)
        for wanted in self._gts.values():
            wanted[:] = [{**item, "id": OTHER} if item["id"] == 0 else item for item in wanted]
    return prepared
