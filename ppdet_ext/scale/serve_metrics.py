# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What Prometheus reads of a server: requests, seconds, pictures, batches, stages.

They are counted in the one process that all requests pass through. Ray's own metrics would need its agent on every node
and a scraper for each; these need one address.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from .served_model import Found

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one process.

    Args:
        running: how many requests are being answered now.
    """

    def __init__(self, running: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        by_model = {"labelnames": ("model",), "registry": self.registry}
        self.requests = Counter("ppdet_ext_requests", "requests that were answered", ("model", "code"),
                                registry=self.registry)
        self.seconds = Histogram("ppdet_ext_request_seconds", "from a request's start to its answer", buckets=SECONDS,
                                 **by_model)
        self.pictures = Counter("ppdet_ext_pictures", "pictures that were looked at", **by_model)
        self.unreadable = Counter("ppdet_ext_unreadable_pictures", "pictures that could not be read", **by_model)
        self.batches = Histogram("ppdet_ext_batch_pictures", "pictures in the batch that a picture was in",
                                 buckets=BATCHES, **by_model)
        self.stages = Counter("ppdet_ext_stage_seconds", "of each stage, a picture's share of its batch",
                              ("model", "stage"), registry=self.registry)
        Gauge("ppdet_ext_requests_running", "requests that are being answered", registry=self.registry
              ).set_function(running)

    def done(self, model: str, code: int, seconds: float) -> None:
        """A request was answered; ``model`` is empty where it named none that there is."""
        self.requests.labels(model, str(code)).inc()
        self.seconds.labels(model).observe(seconds)

    def add(self, model: str, found: Sequence[Found]) -> None:
        """The pictures of a request."""
        for one in found:
            if one.boxes is None:
                self.unreadable.labels(model).inc()
                continue
            self.pictures.labels(model).inc()
            self.batches.labels(model).observe(one.batch)
            for stage, value in one.milliseconds.items():
                self.stages.labels(model, stage).inc(value / 1000 / one.batch)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
