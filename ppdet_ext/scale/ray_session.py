# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Ray for as long as a tool runs: on this machine alone unless an address is given, quiet, and telling nobody of it."""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import temporary_folder
from ..startup import quiet

# read when Ray is imported and when it starts, by its processes, too
VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
             "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_TQDM": "0", "RAY_DISABLE_IMPORT_WARNING": "1",
             # a note on a change of a later release
             "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
             # a small /dev/shm: what goes through Ray here is names and counts
             "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
             # milliseconds; its 30,000 are not enough where the machine has other work
             "RAY_agent_register_timeout_ms": "300000",
             # its 15 would put the workers after every other process of the machine
             "RAY_worker_niceness": "0"}
# for processes on this machine alone: as Ray does on Windows and macOS, all its ports are bound to 127.0.0.1
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
TRIES = 3  # Ray gives its processes 30 s to start
STORE_BYTES = 100 << 20  # of what goes between processes; Ray wants 75 MiB or more
# Ray's sockets lie there; the system allows 107 bytes for the whole path, Ray takes about 65
LONGEST_TEMPORARY = 12
LOG_BYTES = 1 << 20  # of each process's output that goes to the log file


def require_ray(*packages: str) -> None:
    """Raise UserError where Ray or one of ``packages`` is not installed, with what installs them."""
    missing = [name for name in ("ray", *packages) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"this needs Ray ({', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed): "
                        "pip install 'ppdet-ext[ray]'")


@contextlib.contextmanager
def started(address: str | None, cpus: int, log_file: Path, modules: Sequence[str] = ()) -> Iterator[Any]:
    """Yield the module ``ray``, started on this machine or connected; at the end its processes and files are gone.

    Args:
        address: of a cluster that runs, as Ray writes it; None: processes of this machine, bound to 127.0.0.1.
        cpus: what Ray may hand out on this machine.
        log_file: where what Ray and its processes say goes; with ``-v`` it is shown.
        modules: parts of Ray that will be used, such as ray.data; they bring loggers of their own.

    Raises:
        UserError: no cluster there, or Ray cannot start.
    """
    require_ray()
    os.environ.update({name: value for name, value in VARIABLES.items() if name not in os.environ})
    if address is None:
        # a secret of this run: else other users of the machine could join, and Ray would keep one in the home folder
        os.environ.update(ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    for module in modules:
        importlib.import_module(module)
    settings: dict[str, Any] = {"address": address, "log_to_driver": quiet.verbose(), "logging_level": logging.ERROR,
                                "configure_logging": False}
    with contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        stack.enter_context(_logged(log_file))
        if not quiet.verbose():
            stack.enter_context(_printed_by_cpp(log_file))
            stack.enter_context(_printed_by_listener(log_file))
        if address is None:
            folder = stack.enter_context(temporary_folder(_short_temporary() / "ray"))
            stack.callback(_keep_output, folder, log_file)
            stack.callback(ray.shutdown)
            settings.update(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES,
                            _temp_dir=str(folder))
        _init(ray, settings, 1 if address else TRIES, log_file)
        yield ray


def _init(ray: Any, settings: dict[str, Any], tries: int, log_file: Path) -> None:
    ours = signal.getsignal(signal.SIGTERM)
    said = log_file.stat().st_size if log_file.is_file() else 0  # by former starts
    for left in reversed(range(tries)):
        try:
            ray.init(**settings)
            signal.signal(signal.SIGTERM, ours)  # Ray puts its own there
            return
        except Exception as error:  # Ray has no common class for these
            ray.shutdown()
            if left:
                continue
            what = "Ray cannot start here"
            if settings["address"] != "local":
                what = f"--address {settings['address']}: no Ray cluster answers there"
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            if _wants_token(log_file, said):
                what = f"--address {settings['address']}"
                why = "the cluster asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or ..._PATH)"
            raise UserError(f"{what}: {why}") from None


def _wants_token(log_file: Path, begin: int) -> bool:
    """Whether Ray has said so since that byte of the file; its exception speaks of a connection only."""
    try:
        with open(log_file, "rb") as file:
            file.seek(begin)
            return b"InvalidAuthToken" in file.read()
    except OSError:  # there is none, or it is /dev/null
        return False


def _short_temporary() -> Path:
    folder = tempfile.gettempdir()
    return Path(folder if len(os.fsencode(folder)) <= LONGEST_TEMPORARY or sys.platform == "win32" else "/tmp")  # noqa: S108  a folder of ours is made in it


@contextlib.contextmanager
def _logged(log_file: Path) -> Iterator[None]:
    """Inside, what Ray's loggers say goes to the file; warnings of its own handlers are shown with -v only."""
    handler = logging.FileHandler(log_file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data", "ray.serve")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler, *(logger.handlers if quiet.verbose() else ())]
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before):
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()


@contextlib.contextmanager
def _printed_by_cpp(log_file: Path) -> Iterator[None]:
    """Inside, what is written past Python to standard error goes to the file: Ray's C++ has no other switch for it.

    Python's own ``sys.stderr`` is where it was.
    """
    with open(log_file, "ab") as log, contextlib.ExitStack() as stack:
        shown = os.dup(2)
        stack.callback(os.close, shown)
        before, own = sys.stderr, open(shown, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        if before is not None and before is sys.__stderr__:
            sys.stderr.flush()
            sys.stderr = own
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            own.flush()
            os.dup2(shown, 2)
            if sys.stderr is own:
                sys.stderr = before


@contextlib.contextmanager
def _printed_by_listener(log_file: Path) -> Iterator[None]:
    """Inside, what Ray prints of processes that ended goes to the file: ``log_to_driver`` does not hold for it."""
    from ray._private import worker

    printer = getattr(worker, "print_to_stdstream", None)  # not public: another Ray may have none

    def keep(data: dict[str, Any], **_: Any) -> None:
        with open(log_file, "a", encoding="utf-8") as log:
            log.writelines(f"({data.get('pid')}) {line}\n" for line in data["lines"])

    if printer is not None:
        worker.print_to_stdstream = keep
    try:
        yield
    finally:
        if printer is not None:
            worker.print_to_stdstream = printer


def _keep_output(folder: Path, log_file: Path) -> None:
    """What Ray's processes have printed, at most LOG_BYTES of each, at the end of the log file."""
    said = sorted(folder.glob("session_2*/logs/worker-*.*")) + sorted(folder.glob("session_2*/logs/raylet.err"))
    with open(log_file, "ab") as log:
        for path in said:
            if path.is_file() and path.stat().st_size:
                with open(path, "rb") as file:
                    log.write(f"---- {path.name}\n".encode() + file.read(LOG_BYTES))
