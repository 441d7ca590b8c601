# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The processes of one data-parallel run (``python -m paddle.distributed.launch``): who this is, and what they share.

Every function works in a run of one process too, where it hands back what it was given. Those that say "all call" wait
for each other: a process that leaves one out stops the others.
"""
import os
import time
from multiprocessing.connection import Client, Listener

import paddle
import paddle.distributed as dist

from ..errors import UserError

# longest wait for the slowest process; NCCL's own limit
PATIENCE = 1800
# how long a process whose neighbour is gone waits for the launcher to end it, so that the launcher names the other one
GRACE = 30
_meeting = []


class NeighbourLost(Exception):
    """Another process of the run has ended; what went wrong is in its own message."""


def count():
    """Number of processes of this run."""
    return dist.get_world_size()


def rank():
    """Number of this process, from 0."""
    return dist.get_rank()


def is_main():
    """Whether this process writes the files and log lines of the run."""
    return rank() == 0


def label():
    """``process 1 of 2: `` for messages; empty where there is one process only."""
    return f"process {rank()} of {count()}: " if count() > 1 else ""


def start():
    """Connect the processes that the launcher started; all call, after the device is set.

    On a CPU they talk through gloo, also with a Paddle that could use a GPU (which by itself would take NCCL).
    """
    if count() < 2:
        return
    if not paddle.get_device().startswith("gpu"):
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
        _meeting.append(Meeting(paddle.base.core.create_or_get_global_tcp_store()))
        meet()
    dist.init_parallel_env()


class Meeting:
    """Where processes on CPUs wait for each other before they use gloo.

    Paddle's gloo gives up after 30 seconds and its limit cannot be set, but the main process may well need longer for
    the AP of a large data set. (Paddle's store could do it, at 70 ms a time.)
    """

    def __init__(self, store):
        host = os.environ["PADDLE_MASTER"].split(":")[0]
        if not is_main():
            port, key = bytes(store.get("ppdet_ext/meeting")).split(b" ")
            self.others = [Client((host, int(port)), authkey=key)]
            return
        key = os.urandom(16).hex().encode()
        listener = Listener((host, 0), backlog=count(), authkey=key)
        store.set("ppdet_ext/meeting", b"%d %s" % (listener.address[1], key))
        self.others = [listener.accept() for _ in range(count() - 1)]

    def wait(self):
        """Return once all have come. Raises NeighbourLost, or UserError after ``PATIENCE`` seconds."""
        try:
            if is_main():
                for other in self.others:
                    _hear(other)
            for other in self.others:
                other.send_bytes(b".")
            if not is_main():
                _hear(self.others[0])
        except (EOFError, OSError):
            raise NeighbourLost from None


def _hear(other):
    if not other.poll(PATIENCE):
        raise UserError(f"another process has not come within {PATIENCE // 60} minutes; see its log (log/workerlog.N)")
    other.recv_bytes()


def meet():
    """Wait here until all have come; all call. Does nothing where NCCL connects them, which waits by itself."""
    for meeting in _meeting:
        meeting.wait()


def is_loss(error):
    """Whether an exception says that another process has ended, in gloo's words or ours."""
    return isinstance(error, NeighbourLost) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def wait_for_the_end():
    """For a process whose neighbour is gone: let the launcher, which ends all, see that one's failure first."""
    time.sleep(GRACE)


def total(tensor):
    """Sum of a tensor over the processes, as a new tensor without gradient; all call."""
    return _reduced(tensor, dist.ReduceOp.SUM)


def largest(number):
    """The largest of the processes' integers; all call."""
    return int(_reduced(paddle.to_tensor([number]), dist.ReduceOp.MAX)) if count() > 1 else number


def _reduced(tensor, operation):
    tensor = tensor.detach().clone()
    if count() > 1:
        meet()
        dist.all_reduce(tensor, operation)
    return tensor


def gather(thing):
    """[each process's ``thing``], in their order; all call."""
    if count() < 2:
        return [thing]
    meet()
    things = []
    dist.all_gather_object(things, thing)
    return things


def copy_from_main(layer):
    """Give every process the main one's parameters and buffers; all call."""
    if count() > 1:
        meet()
        for tensor in layer.state_dict().values():
            dist.broadcast(tensor, 0)
