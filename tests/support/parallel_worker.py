# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One of two processes that paddle.distributed.launch starts for test_parallel: checks what they do together."""
import time

import numpy as np

import ppdet_ext

ppdet_ext.setup()

import paddle  # noqa: E402  after setup()
from paddle import nn  # noqa: E402

from ppdet_ext import cli  # noqa: E402
from ppdet_ext.distributed import processes  # noqa: E402
from ppdet_ext.distributed.gradients import average_gradients  # noqa: E402

SLOW_SECONDS = 35  # gloo gives up after 30


def patience():
    if processes.is_main():
        time.sleep(SLOW_SECONDS)
    assert float(processes.all_reduce_sum(paddle.to_tensor([1.0 + processes.rank()]))) == 3
    assert processes.all_reduce_max(5 - processes.rank()) == 5
    assert processes.all_gather({"rank": processes.rank(), "text": "x" * 10**processes.rank()}) == [
        {"rank": 0, "text": "x"}, {"rank": 1, "text": "x" * 10}]


def random_numbers():
    cli.start_workers({"seed": 3})
    for draw in (np.random.rand, lambda: float(paddle.rand([1]))):
        numbers = processes.all_gather(draw())
        assert numbers[0] != numbers[1]


def gradients():
    """Of four parameters: used by both, by process 0, by process 1, by none."""
    layers = [nn.Linear(2, 1) for _ in range(4)]
    users = [(0, 1), (0,), (1,), ()]
    used = [layer for layer, ranks in zip(layers, users) if processes.rank() in ranks]
    sum(layer(paddle.ones([1, 2])).sum() * (processes.rank() + 1) for layer in used).backward()
    average_gradients([parameter for layer in layers for parameter in layer.parameters()])
    assert layers[3].weight.grad is None
    assert [float(layer.bias.grad) for layer in layers[:3]] == [1.5, 0.5, 1.0]


def initial_weights():
    paddle.seed(processes.rank())
    layer = nn.Linear(3, 3)
    before = processes.all_gather(layer.weight.numpy())
    processes.broadcast_from_main(layer)
    assert np.abs(before[0] - before[1]).max() > 0
    np.testing.assert_array_equal(layer.weight.numpy(), before[0])


def whole_batch_norm():
    """Of 3 + 1 images: outputs, gradients and statistics are those of BatchNorm2D on all four."""
    paddle.seed(0)
    images, factors = paddle.randn([4, 5, 6, 7]) * 3 + 2, paddle.randn([4, 5, 6, 7])
    mine = slice(0, 3) if processes.is_main() else slice(3, 4)
    single, together = nn.BatchNorm2D(5), nn.SyncBatchNorm(5)
    single.weight.set_value(paddle.rand([5]) + 0.5)
    together.set_state_dict(single.state_dict())
    found = []
    for norm, part in ((single, slice(0, 4)), (together, mine)):
        x = images[part].clone().detach()
        x.stop_gradient = False
        y = norm(x)
        (y * y * factors[part]).sum().backward()
        found.append((y, x.grad, norm.weight.grad, norm.bias.grad, norm._mean, norm._variance))
    wanted, given = found
    given = [value.numpy() for value in given]
    given[2:4] = [processes.all_reduce_sum(paddle.to_tensor(value)).numpy() for value in given[2:4]]
    wanted = [value.numpy()[mine] if value.ndim == 4 else value.numpy() for value in wanted]
    for a, b in zip(given, wanted):
        assert np.abs(a - b).max() <= 2e-6 * np.abs(b).max(), np.abs(a - b).max()


paddle.set_device("cpu")
processes.start()
for check in (patience, random_numbers, gradients, initial_weights, whole_batch_norm):
    check()
    print(f"process {processes.rank()}: {check.__name__} passed", flush=True)
