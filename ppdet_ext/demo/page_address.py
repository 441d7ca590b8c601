# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where a page is served: this machine alone unless told otherwise, and a free port where the wanted one is taken."""
from __future__ import annotations

import errno
import ipaddress
import socket

from ..errors import UserError

HOST, PORT = "127.0.0.1", 7860


def is_this_machine(host: str) -> bool:
    """Whether only programs on this machine reach what is bound to ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: only this one is known without asking the network
        return host == "localhost"


def listen(host: str, port: int, another: bool = True) -> tuple[socket.socket, int]:
    """A socket that listens, and its port: ``port``, or a free one where that is 0 or taken.

    Args:
        another: False: where ``port`` is taken no other one will do.

    Raises:
        UserError: the host is not this machine's, the port needs rights, or it is taken and no other one will do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (port, 0):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, wanted))
            found.listen(128)
            return found, found.getsockname()[1]
        except (OSError, OverflowError, UnicodeError) as error:
            found.close()
            if getattr(error, "errno", None) == errno.EADDRINUSE and not another:
                raise UserError(f"--port {port} is taken at {host}; name another one, 0 takes a free one") from None
            if getattr(error, "errno", None) != errno.EADDRINUSE or not wanted:
                raise UserError(f"cannot serve a page at --host {host} --port {port} "
                                f"({getattr(error, 'strerror', None) or error}); --host is an address of this machine, "
                                "--port 0 takes a free one") from None
    raise AssertionError("port 0 is never taken")


def address(host: str, port: int) -> str:
    """What to open in a browser on this machine."""
    shown = {"": HOST, "0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104  "all addresses" is none that can be opened
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
