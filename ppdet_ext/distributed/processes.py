# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The processes of one data-parallel run (``python -m paddle.distributed.launch``): who this is, and what they share.

Every function works in a run of one process too, where it hands back what it was given. Those that say "all call" wait
for each other: a process that leaves one out stops the others.
"""
from __future__ import annotations

import os
import socket
import time
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import paddle
import paddle.distributed as dist
from paddle import nn

from ..errors import UserError

# seconds to wait for the slowest process; NCCL's own limit
TIMEOUT = 1800
# seconds that a process waits after another has ended, so that the launcher names the one that failed
GRACE = 30
# of the connections between processes: a machine that is gone without a word (its power, its cable) is noticed after
# 10 + 3 * 5 seconds
SILENCE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
_barriers: list[Barrier] = []


class RankLost(Exception):
    """Another process of the run has ended; what went wrong is in its own message."""


def count() -> int:
    """Number of processes of this run."""
    return dist.get_world_size()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank()


def is_main() -> bool:
    """Whether this process writes the files and log lines of the run."""
    return rank() == 0


def nodes() -> int:
    """Number of launchers, one a machine, that this run has."""
    return int(os.environ.get("PADDLE_NNODES", 1))


def count_here() -> int:
    """Number of processes that this process's launcher has started."""
    return int(os.environ.get("PADDLE_LOCAL_SIZE", count()))


def label() -> str:
    """``process 1 of 2: `` for messages; empty where there is one process only."""
    return f"process {rank()} of {count()}: " if count() > 1 else ""


def start() -> None:
    """Connect the processes that the launchers started; all call, after the device is set. Once is enough.

    On a CPU they talk through gloo, also with a Paddle that could use a GPU (which by itself would take NCCL).
    """
    if count() < 2 or dist.is_initialized():
        return
    if not paddle.get_device().startswith("gpu"):
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
        _barriers.append(Barrier(paddle.base.core.create_or_get_global_tcp_store()))
        barrier()
    dist.init_parallel_env()


class Barrier:
    """Where processes on CPUs wait for each other before they use gloo.

    Paddle's gloo gives up after 30 seconds and its limit cannot be set, but the main process may well need longer for
    the AP of a large data set. (Paddle's store could do it, at 70 ms a time.)

    Args:
        store: Paddle's TCPStore, through which the main process tells the others where it listens.
    """

    def __init__(self, store: Any) -> None:
        host = os.environ["PADDLE_MASTER"].split(":")[0]
        if not is_main():
            port, key = bytes(store.get("ppdet_ext/barrier")).split(b" ")
            self.others = [Client((host, int(port)), authkey=key)]
            _notice_silence(self.others[0])
            return
        key = os.urandom(16).hex().encode()
        listener = Listener((host, 0), backlog=count(), authkey=key)
        store.set("ppdet_ext/barrier", b"%d %s" % (listener.address[1], key))
        self.others = [listener.accept() for _ in range(count() - 1)]
        for other in self.others:
            _notice_silence(other)

    def wait(self) -> None:
        """Return once all have come.

        Raises:
            RankLost: another process has ended.
            UserError: one has not come within ``TIMEOUT`` seconds.
        """
        try:
            if is_main():
                for other in self.others:
                    _receive(other)
            for other in self.others:
                other.send_bytes(b".")
            if not is_main():
                _receive(self.others[0])
        except (EOFError, OSError):
            raise RankLost from None


def _notice_silence(other: Connection) -> None:
    """Let the system end the connection to a machine that does not answer; a busy process's machine answers."""
    with socket.socket(fileno=os.dup(other.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in SILENCE.items():
            if hasattr(socket, name):  # Linux has them all
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _receive(other: Connection) -> None:
    if not other.poll(TIMEOUT):
        raise UserError(f"another process has not come within {TIMEOUT // 60} minutes; see its log (log/workerlog.N)")
    other.recv_bytes()


def barrier() -> None:
    """Wait here until all have come; all call. Does nothing where NCCL connects them, which waits by itself."""
    for started in _barriers:
        started.wait()


def is_rank_lost(error: BaseException) -> bool:
    """Whether an exception says that another process has ended, in gloo's words or ours."""
    return isinstance(error, RankLost) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def wait_for_launcher() -> None:
    """After another process has ended: let the launcher, which ends all, see that one's failure first.

    A launcher that has started this process alone cannot: the other one was on another machine.
    """
    if count_here() > 1:
        time.sleep(GRACE)


def all_reduce_sum(tensor: paddle.Tensor, wait: bool = True) -> paddle.Tensor:
    """Sum of a tensor over the processes, as a new tensor without gradient; all call.

    Args:
        wait: at the barrier first; not needed inside a training step, which begins there.
    """
    return _all_reduce(tensor, dist.ReduceOp.SUM, wait)


def all_reduce_max(number: int, wait: bool = True) -> int:
    """The largest of the processes' integers; all call. ``wait``: see :func:`all_reduce_sum`."""
    return int(_all_reduce(paddle.to_tensor([number]), dist.ReduceOp.MAX, wait)) if count() > 1 else number


def _all_reduce(tensor: paddle.Tensor, operation: Any, wait: bool = True) -> paddle.Tensor:
    tensor = tensor.detach().clone()
    if count() > 1:
        if wait:
            barrier()
        dist.all_reduce(tensor, operation)
    return tensor


def all_gather(value: Any) -> list:
    """[each process's ``value``], in their order; all call. ``value`` is anything that pickle takes."""
    if count() < 2:
        return [value]
    barrier()
    values: list = []
    dist.all_gather_object(values, value)
    return values


def broadcast_from_main(layer: nn.Layer) -> None:
    """Give every process the main one's parameters and buffers; all call."""
    if count() > 1:
        barrier()
        for tensor in layer.state_dict().values():
            dist.broadcast(tensor, 0)
