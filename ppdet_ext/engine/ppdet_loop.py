# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the ledger puts into ppdet's loop for several processes."""
from __future__ import annotations

import functools
from collections.abc import Callable

from ..distributed import processes
from . import parallel


def average_gradients(_own: Callable) -> Callable:
    """For ``fused_allreduce_gradients``."""
    return parallel.average_gradients


def read_share(read: Callable) -> Callable:
    """For ``EvalReader.__call__``: each process reads its part."""
    @functools.wraps(read)
    def share(self, dataset, worker_num, batch_sampler=None, return_list=False):
        if batch_sampler is not None and processes.count() > 1:
            batch_sampler = parallel.Share(batch_sampler)
        return read(self, dataset, worker_num, batch_sampler, return_list)
    return share
