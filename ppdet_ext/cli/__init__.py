# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The tools: a command line, the config that it means, one line for every mistake.

Each module here is one tool (``parse_args(argv)``, ``main(argv)``); ``commands`` is the list of them. Importing this
package loads neither Paddle nor numpy, so that ``--help`` and mistyped flags are answered at once; what needs Paddle is
in ``prepare``, whose names can be had from here.
"""
from __future__ import annotations

import sys
from collections.abc import Callable

from ..config.flags import add_slice_flags, add_switch, config_parser
from ..errors import UserError

TYPE_CHECKING = False  # typing itself would take a fifth of the time of --help
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .prepare import current_device, import_file, load_cfg, required_weights, set_device, start_workers

__all__ = ["add_slice_flags", "add_switch", "config_parser", "current_device", "import_file", "load_cfg",
           "required_weights", "run", "set_device", "start_workers"]


def __getattr__(name: str) -> Any:
    """The names of ``prepare``, which is loaded when the first of them is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import prepare
    return getattr(prepare, name)


def run(main: Callable[[], object]) -> None:
    """Call ``main()``. A user's mistake ends the process with ``error: ...`` and code 2, Ctrl-C with code 130.

    SIGTERM ends a training with code 143.

    Of several processes the launcher ends all when one fails. One that only notices the other's end (code 3) waits
    first, so that the launcher names the other one.

    Meanwhile ``startup.quiet`` leaves out what libraries say to nobody.
    """
    if {"-h", "--help"} & set(sys.argv):
        _run(main)  # it loads nothing that could say anything
        return
    from ..startup import quiet

    with quiet.Tool():
        _run(main)


def _run(main: Callable[[], object]) -> None:
    try:
        main()
    except UserError as error:
        _leave(2, f"error: {_process()}{error}")
    except KeyboardInterrupt as error:
        _leave(getattr(error, "code", 130), f"{_process()}{error}" if str(error) else "interrupted")
    except Exception as error:
        from ..data import worker_threads
        from ..deploy import DeployError
        from ..distributed import processes
        from ..files import cannot_write

        if isinstance(error, DeployError):
            _leave(2, f"error: {_process()}{error}")
        if cannot_write(error):
            _leave(2, f"error: {_process()}{cannot_write(error)}")
        if worker_threads.why_died(error):
            _leave(2, f"error: {_process()}{worker_threads.why_died(error)}")
        if not processes.is_rank_lost(error):
            raise
        processes.wait_for_launcher()
        where = "log/workerlog.N on its machine" if processes.nodes() > 1 else "log/workerlog.N"
        _leave(3, f"error: {_process()}another process ended too early; its log says why ({where})")


def _process() -> str:
    """Which process of several this is; before Paddle is loaded there is no need to load it for that."""
    processes = sys.modules.get("ppdet_ext.distributed.processes")
    return processes.label() if processes else ""


def _leave(code: int, line: str) -> NoReturn:
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)
