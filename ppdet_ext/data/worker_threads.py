# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reader workers are forked while no thread of an earlier reader is ending.

Paddle 3.3.1: the thread that took a reader's batches from its workers lives on for up to five seconds after the last
one (it waits for more that long), and when it ends it locks Paddle's memory statistics for a moment. A worker that is
forked while someone holds that lock has it for ever: it hangs at its first batch, and the training with it (see
docs/startup_and_loading.md).
"""
from typing import Any

# seconds between the thread's looks at whether all is over
INTERVAL = 0.1


def look_often(interval: float) -> float:
    """For Paddle's ``MP_STATUS_CHECK_INTERVAL``: at most INTERVAL seconds."""
    return min(INTERVAL, interval)


def wait_for_the_end(batches: Any) -> None:
    """Wait for the thread of an exhausted iterator of a DataLoader; a matter of INTERVAL."""
    thread = getattr(batches, "_thread", None)
    if thread is not None and getattr(batches, "_thread_done_event", None) is not None:
        batches._thread_done_event.set()
        thread.join(timeout=10)


def stop(batches: Any) -> None:
    """End an iterator of a DataLoader that is not exhausted, with its workers: nothing reads after it."""
    event, queue = getattr(batches, "_thread_done_event", None), getattr(batches, "_blocking_queue", None)
    if event is not None and queue is not None and not getattr(batches, "_num_workers", 0):
        event.set()
        queue.close()
        batches._thread.join(timeout=10)
    if hasattr(batches, "_try_shutdown_all"):
        batches._try_shutdown_all()
