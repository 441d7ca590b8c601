# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Host memory while training."""
from ppdet.engine.callbacks import Callback

from ..startup import environment


class GiveBackOnce(Callback):
    """Gives the memory that the first training step has freed back to the system, see ``runtime``."""

    def __init__(self, model):
        super().__init__(model)
        self._due = True

    def on_step_end(self, status):
        if self._due and status["mode"] == "train":
            self._due = False
            environment.give_back_freed_memory()
