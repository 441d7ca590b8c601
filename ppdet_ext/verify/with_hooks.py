# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Hooks, of Paddle's layers or torch's modules, that are there for one run."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import paddle
from paddle import nn


@contextlib.contextmanager
def removing(hooks: Iterable[Any]) -> Iterator[None]:
    """Inside, the hooks are there; afterwards they are removed."""
    made = list(hooks)
    try:
        yield
    finally:
        for hook in made:
            hook.remove()


def called(network: nn.Layer, run: Callable[[], Any]) -> list[str]:
    """Paths of the sublayers that ``run()`` calls, each once, in the order in which they end."""
    found: dict[str, None] = {}

    def note(path):
        def add(*_):
            found.setdefault(path)
        return add
    hooks = (layer.register_forward_post_hook(note(path)) for path, layer in network.named_sublayers())
    with removing(hooks), paddle.no_grad():
        run()
    return list(found)
