# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Serves exported models by Ray Serve from the first line to the graceful end."""
from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..demo import page_address, page_server
from ..deploy import DeployError, engines
from ..errors import UserError
from ..startup import environment, quiet
from . import ray_session
from .serve_settings import named_models, read_token

PACKAGES = ("ray", "uvicorn", "fastapi", "python_multipart", "prometheus_client")
# read by Ray Serve's processes
VARIABLES = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "ppdet_ext.scale.request_guard.proxy_middlewares",
             # seconds; a proxy that takes longer is ended, and its 5 and 10 are few where the machine has other work
             "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60"}
END_SECONDS = 30.0  # for so long the end waits for what is being answered
# by other names this machine's server is not asked: a stranger's page whose name leads to 127.0.0.1 is not this server
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def run(args: Namespace) -> None:
    """Open the models, and serve them until Ctrl-C or SIGTERM; what is being answered then is answered.

    Args:
        args: what ``cli.serve.parse_args`` returned.

    Raises:
        UserError, DeployError: no Ray, no such model, the port is taken, or the token is none.
        SystemExit: some requests were not answered at the end (1).
    """
    _require_packages()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that Ray's processes end
    models, token = named_models(args.model_dir), read_token(args.token_file)
    settings = _settings(args, models)
    port = args.port if args.address else _free_port(args.host, args.port)
    if not page_address.is_this_machine(args.host) and token is None:
        print(f"warning: --host {args.host}: whoever reaches this machine can ask the models; there is no token "
              "(--token_file)", file=sys.stderr, flush=True)
    os.environ.update(VARIABLES)
    needed = sum(row["cpu_threads"] for row in settings.values()) * args.replicas.most
    log_file = Path(args.log_file or os.devnull)
    with ray_session.started(args.address, max(needed, environment.cores()), log_file, ("ray.serve",)):
        _serve(args, models, settings, token, port)
    print("ended", flush=True)


def _require_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"a server needs Ray Serve and FastAPI ({', '.join(missing)} not found): pip install "
                        "'ppdet-ext[serve]'")


def _settings(args: Namespace, models: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """{name: the fields of Options}; the cores are shared among all replicas that there may be."""
    given = {**engines.of_flags(args), "shared_cores": True}
    threads = args.cpu_threads or max(1, environment.cores() // (len(models) * args.replicas.most))
    return {name: {**given, "engine": engine, "cpu_threads": threads}
            for name, engine in zip(models, page_server.engines(args.engine, len(models)))}


def _free_port(host: str, port: int) -> int:
    """``port`` if it is free, or a free one for 0. Raises UserError."""
    listening, found = page_address.listen(host, port, another=False)
    listening.close()
    return found


def _serve(args: Namespace, models: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]], token: str | None,
           port: int) -> None:
    from ray import serve

    from . import ray_deployments as parts

    logging.getLogger("ray.serve").setLevel(logging.DEBUG if quiet.verbose() else logging.ERROR)
    facts = _facts(parts, models, settings)
    hosts = LOOPBACK if page_address.is_this_machine(args.host) else ()
    front = parts.FrontSettings(args.threshold, hosts, token, args.max_requests)
    log = {"log_level": "INFO" if quiet.verbose() else "ERROR", "enable_access_log": quiet.verbose()}
    wanted = parts.application(models, facts, settings, front, args.replicas, args.batch_wait / 1000)
    try:
        with _in_one_line():
            serve.start(proxy_location="EveryNode" if args.address else "HeadOnly", logging_config=log,
                        http_options={"host": args.host, "port": port, "request_timeout_s": args.timeout})
            handle = serve.run(wanted, name=parts.APP, route_prefix="/", logging_config=log)
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        print(f"serving at {page_address.address(args.host, port)} (POST /predict; Ctrl-C or SIGTERM ends it)",
              flush=True)
        ended.wait()
        print("ending: what is being answered is answered first", flush=True)
        left = handle.end.remote(END_SECONDS).result()
    finally:
        with contextlib.suppress(Exception):  # where starting failed there may be nothing
            serve.delete(parts.APP)
    if left:
        print(f"{left} requests were not answered within {END_SECONDS:.0f} s", file=sys.stderr, flush=True)
        sys.exit(1)


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Ray Serve has no common class for these
        reason = (str(error).strip() or type(error).__name__).splitlines()
        raise UserError(f"Ray Serve cannot start: {reason[0]} (-v, --log_file: what its processes say)") from error


def _facts(parts: Any, models: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Open the models in a process of their own, so that what is wrong with one is said before anything is served."""
    import ray

    print(f"loading {', '.join(models.values())}", flush=True)
    try:
        facts = ray.get(parts.facts_of.remote(models, settings))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DeployError):
            raise DeployError(str(error.cause)) from None
        raise
    for name, one in facts.items():
        print(f"model {name}: {models[name]} ({one.arch}, {len(one.labels)} classes, {one.program} by {one.engine})",
              flush=True)
    return facts
