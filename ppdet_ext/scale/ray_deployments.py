# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The server's processes in Ray Serve: one that all requests pass through, and the replicas of each model."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.handle import DeploymentHandle

from .. import limits
from ..deploy import DeployError
from . import http_app
from .request_guard import App, BodyLimit, Guard
from .serve_metrics import Metrics
from .serve_settings import Replicas
from .served_model import Facts, Found, ServedModel

APP, FRONT, MODEL = "ppdet_ext", "front", "model-{}"
# batches of one replica at once: one is prepared while the engine runs the other
AT_ONCE = 2
# a request whose replica has died is asked again so often
AGAIN = 2
HEALTH_SECONDS = 1.0  # for so long an answer about the replicas holds

_app: list[App] = []


@dataclass(frozen=True)
class FrontSettings:
    """Of the process that all requests pass through; see ``http_app.build`` and ``request_guard.Guard``."""

    threshold: float
    hosts: Sequence[str]
    token: str | None
    most: int


class Replica:
    """A process with one model; requests that come together become a batch."""

    def __init__(self, model_dir: str, settings: Mapping[str, Any], wait_seconds: float) -> None:
        self.model = ServedModel(model_dir, settings)
        self._threads = ThreadPoolExecutor(AT_ONCE, "batch")
        batches: Any = self.detect  # what serve.batch makes of it has these two, too
        batches.set_max_batch_size(settings["batch_size"])
        batches.set_batch_wait_timeout_s(wait_seconds)

    @serve.batch(max_concurrent_batches=AT_ONCE)
    async def detect(self, files: list[tuple[bytes, str]]) -> list[Found]:
        """On the (bytes, name) of files."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.model.detect, files)


class Front:
    """The process that all requests pass through: HTTP, token, limits, metrics; it asks the replicas."""

    def __init__(self, facts: Mapping[str, Facts], handles: Mapping[str, DeploymentHandle],
                 settings: FrontSettings) -> None:
        self.facts, self._handles = facts, handles
        self._counts: tuple[float, dict[str, int]] = (0.0, {})
        metrics = Metrics(lambda: self.guard.running)
        app = http_app.build(self, settings.threshold, metrics, lambda: self.guard.ending)
        self.guard = Guard(BodyLimit(app, limits.limit("REQUEST_BYTES")), settings.token, settings.hosts, settings.most,
                           metrics.done)
        _app[:] = [self.guard]

    async def detect(self, model: str, data: bytes, name: str) -> Found:
        """On one picture. Where its replica dies meanwhile another one is asked, or the one that takes its place.

        Raises:
            DeployError: the model cannot be run on it.
        """
        for left in range(AGAIN, -1, -1):
            try:
                return await self._handles[model].detect.remote((data, name))
            except RayActorError:
                if not left:
                    raise
            except RayTaskError as error:
                if isinstance(error.cause, DeployError):
                    raise DeployError(str(error.cause)) from None
                raise
        raise AssertionError("the last time returns or raises")

    async def running(self) -> Mapping[str, int]:
        """How many replicas of each model answer now; asked of Ray once in HEALTH_SECONDS."""
        until, counts = self._counts
        if time.monotonic() >= until:
            status = await asyncio.to_thread(serve.status)
            states = status.applications[APP].deployments
            counts = {name: sum(count for state, count in states[MODEL.format(name)].replica_states.items()
                                if state == "RUNNING") for name in self.facts}
            self._counts = time.monotonic() + HEALTH_SECONDS, counts
        return counts

    async def end(self, seconds: float) -> int:
        """See ``Guard.end``."""
        return await self.guard.end(seconds)


def _application() -> App:
    return _app[0]


@ray.remote(max_calls=1, num_cpus=0)
def facts_of(models: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Facts]:
    """Open each model as its replicas will, one after the other, and say what it is; the process ends with that."""
    return {name: ServedModel(path, settings[name]).facts(name) for name, path in models.items()}


def application(models: Mapping[str, str], facts: Mapping[str, Facts], settings: Mapping[str, Mapping[str, Any]],
                front: FrontSettings, replicas: Replicas, wait_seconds: float) -> serve.Application:
    """What Ray Serve is to run.

    Args:
        models: {name: path}.
        facts: of each.
        settings: of each, the fields of ``deploy.Options``.
        replicas: of each.
        wait_seconds: for so long a batch that is not full waits for more.
    """
    # else Ray Serve looks for a replica that has died every ten seconds only, and waits for two where it ends one
    common: dict[str, Any] = {"health_check_period_s": 2, "graceful_shutdown_wait_loop_s": 0.1,
                              "graceful_shutdown_timeout_s": 10}
    handles = {}
    for name, path in models.items():
        options = settings[name]
        size, gpu = options["batch_size"], options["device"].lower() == "gpu"
        deployment = serve.deployment(name=MODEL.format(name), max_ongoing_requests=2 * AT_ONCE * size,
                                      ray_actor_options={"num_cpus": options["cpu_threads"], "num_gpus": int(gpu)},
                                      **scaling(replicas, AT_ONCE * size), **common)(Replica)
        handles[name] = deployment.bind(path, options, wait_seconds)
    entry = serve.deployment(name=FRONT, num_replicas=1, ray_actor_options={"num_cpus": 0},
                             # what is more than that is turned away by the guard, with a reason
                             max_ongoing_requests=front.most + 1000, **common)(serve.ingress(_application)(Front))
    return entry.bind(facts, handles, front)


def scaling(replicas: Replicas, target: int) -> dict[str, Any]:
    """Ray Serve's settings for so many replicas; ``target``: requests at once that keep one busy."""
    if replicas.least == replicas.most:
        return {"num_replicas": replicas.least}
    return {"autoscaling_config": {"min_replicas": replicas.least, "max_replicas": replicas.most,
                                   "target_ongoing_requests": target}}
