# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""BatchNorm over the images of all processes, on a CPU; Paddle's SyncBatchNorm has a GPU kernel only."""
import paddle
import paddle.distributed as dist
import paddle.nn.functional as F
from paddle.autograd import PyLayer


class _Total(PyLayer):
    """Sum over the processes; the gradient of every process's loss comes back to every summand."""

    @staticmethod
    def forward(ctx, value):
        return _sum(value)

    @staticmethod
    def backward(ctx, gradient):
        return _sum(gradient)


def _sum(value):
    value = value.clone()
    if dist.get_world_size() > 1:
        dist.all_reduce(value)
    return value


def forward(norm, x):
    """What ``norm`` (a SyncBatchNorm) gives for ``x`` [B, C, ...] or, in its NHWC format, [B, ..., C].

    In training mode every process calls this with as many norms in the same order; sizes of their batches may differ.
    """
    if not norm.training:
        return F.batch_norm(x, norm._mean, norm._variance, norm.weight, norm.bias, training=False,
                            epsilon=norm._epsilon, data_format=_layout(norm, x))
    channel = x.ndim - 1 if norm._data_format == "NHWC" else 1
    axes = [axis for axis in range(x.ndim) if axis != channel]
    shape = [-1 if axis == channel else 1 for axis in range(x.ndim)]
    values = x.astype("float32")
    summed = _Total.apply(paddle.concat([values.sum(axes), paddle.full([1], x.size // x.shape[channel], "float32")]))
    number = summed[-1].detach()
    mean = summed[:-1] / number
    centred = values - mean.reshape(shape)
    # squares of what is centred already: E[x²] - E[x]² loses digits
    variance = _Total.apply((centred * centred).sum(axes)) / number
    _remember(norm, mean.detach(), variance.detach())
    scale = norm.weight.astype("float32") * (variance + norm._epsilon).rsqrt()
    return (centred * scale.reshape(shape) + norm.bias.astype("float32").reshape(shape)).astype(x.dtype)


def _remember(norm, mean, variance):
    """Move the running statistics as Paddle's BatchNorm does."""
    for kept, new in ((norm._mean, mean), (norm._variance, variance)):
        kept.set_value((kept * norm._momentum + new * (1 - norm._momentum)).astype(kept.dtype))


def _layout(norm, x):
    """F.batch_norm's name of the layout; SyncBatchNorm shortens its own to NCHW or NHWC."""
    last = norm._data_format == "NHWC"
    return {2: "NC", 3: "NLC" if last else "NCL", 4: "NHWC" if last else "NCHW",
            5: "NDHWC" if last else "NCDHW"}[x.ndim]
