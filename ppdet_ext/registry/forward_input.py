# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a network's forward takes: PaddleDetection's batch (a dict with 'image'), or the image alone."""
from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any


class ProbeBatch(dict):
    """A batch that notes whether it is read as a dict; the run ends there."""

    was_read = False

    def _read(self, *_: object) -> None:
        self.was_read = True
        raise _ReadAsDict

    get = pop = keys = values = items = _read  # type: ignore[assignment]  # none of them returns

    def __getitem__(self, key: object) -> None:
        if isinstance(key, str):
            self._read()
        raise TypeError("a batch has no positions")

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self._read()
        return False


class _ReadAsDict(BaseException):
    """Ends a dry run; no Exception, so that forward's own ``except Exception`` lets it pass."""


def declares_batch(cls: type[Any]) -> bool | None:
    """Whether the first parameter of ``cls.forward`` is annotated as a dict; None without an annotation."""
    parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
    annotation = parameters[0].annotation if parameters else inspect.Parameter.empty
    if annotation is inspect.Parameter.empty:
        return None
    text = str(annotation).lower()
    return "dict" in text or "mapping" in text


def takes_batch(network: Any, gives_features: Callable[[], bool] = lambda: False) -> bool:
    """Whether ``network.forward`` wants the batch: its annotation says so, else a dry run does.

    The dry run hands forward an empty batch and sees whether it asks for a key. A forward that asks for one may still
    take an image as well, if a network inside it takes both. Then it gets the image.

    Args:
        network: a Paddle layer or a torch module, in eval mode.
        gives_features: tries forward on an image; asked only where forward reads a key.
    """
    declared = declares_batch(type(network))
    if declared is not None:
        return declared
    batch = ProbeBatch()
    with contextlib.suppress(Exception, _ReadAsDict):  # whatever a user's forward may raise
        type(network).forward(network, batch)  # the class's: a static graph puts another on the instance
    return batch.was_read and not gives_features()
