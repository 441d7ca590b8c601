# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""SyncBatchNorm on a CPU in one process: BatchNorm's values and gradients. Several processes: tests/distributed."""
import numpy as np
import paddle
import pytest
from paddle import nn


@pytest.mark.parametrize("layout, shape", [("NCHW", [3, 4, 5, 6]), ("NHWC", [3, 5, 6, 4])])
def test_in_one_process_it_is_batch_norm(layout, shape):
    results = []
    for kind in (nn.BatchNorm2D, nn.SyncBatchNorm):
        norm = kind(4, data_format=layout)
        x = paddle.to_tensor(np.random.RandomState(0).randn(*shape), "float32", stop_gradient=False)
        y = norm(x)
        (y * y * x.detach()).sum().backward()
        trained = [y, x.grad, norm.weight.grad, norm.bias.grad, norm._mean, norm._variance]
        norm.eval()
        results.append([*trained, norm(x)])
    for one, other in zip(*results):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-5, atol=2e-5)


def test_a_weight_changed_before_the_backward_pass_is_an_error():
    norm, x = nn.SyncBatchNorm(4), paddle.randn([2, 4, 3, 3])
    y = norm(x)
    with paddle.no_grad():
        norm.weight.add_(paddle.ones([4]))
    with pytest.raises(OSError, match="SyncBatchNorm was changed in place"):
        y.sum().backward()
