# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The two-layer perceptron of transformers and ConvNeXt, with timm's names ``fc1`` and ``fc2``, and its parts."""
import paddle
from paddle import nn

SMALL_STD = 0.02
TINY = 1e-30  # under a square root: no value that float32 can tell from its own rounding, but a gradient at zero


def small_weights() -> paddle.ParamAttr:
    """ParamAttr of weights that start from N(0, 0.02), as transformers' do. (Paddle's biases start at zero.)"""
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, SMALL_STD))


def linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """nn.Linear, [..., in_features] -> [..., out_features], that starts from ``small_weights``."""
    return nn.Linear(in_features, out_features, small_weights(), None if bias else False)


class GlobalResponseNorm(nn.Layer):
    """Weighs each channel by its norm over the whole map, relative to the other channels (arXiv:2301.00808).

    Args:
        channels: C.
        channels_last: the map is [B, H, W, C], else [B, C, H, W].
    """

    def __init__(self, channels: int, channels_last: bool = True, epsilon: float = 1e-6):
        super().__init__()
        self.axes, self.channel_axis = ([1, 2], 3) if channels_last else ([2, 3], 1)
        self.epsilon = epsilon
        zeros = nn.initializer.Constant(0.0)
        self.weight = self.create_parameter([channels], default_initializer=zeros)
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, H, W, C] or [B, C, H, W] -> the same shape."""
        wide = x if x.dtype == paddle.float64 else x.astype("float32")  # squares leave float16's range
        # not wide.square(): Paddle 3.3.1's inference with oneDNN does that in place, in memory that x still needs
        norm = paddle.sqrt((wide * wide).sum(self.axes, keepdim=True) + TINY)
        relative = norm / (norm.mean(self.channel_axis, keepdim=True) + self.epsilon)
        return x + self._spread(self.bias) + self._spread(self.weight) * (x * relative)

    def _spread(self, parameter):
        return parameter if self.channel_axis == 3 else parameter.reshape([1, -1, 1, 1])


class Mlp(nn.Layer):
    """Widen, GELU, narrow, position by position.

    Args:
        channels, hidden: of the input and output, and between.
        conv: 1x1 convolutions on [B, C, H, W]; else linear layers on [B, ..., C].
        grn: a GlobalResponseNorm after the activation.
    """

    def __init__(self, channels: int, hidden: int, conv: bool = False, grn: bool = False):
        super().__init__()
        layer = _pointwise if conv else linear
        self.fc1 = layer(channels, hidden)
        self.act = nn.GELU()
        self.grn = GlobalResponseNorm(hidden, channels_last=not conv) if grn else nn.Identity()
        self.fc2 = layer(hidden, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, ..., C], or [B, C, H, W] with conv, -> the same shape."""
        return self.fc2(self.grn(self.act(self.fc1(x))))


def _pointwise(in_chs, out_chs):
    return nn.Conv2D(in_chs, out_chs, 1, weight_attr=small_weights())
