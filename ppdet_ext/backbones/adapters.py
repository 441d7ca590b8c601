# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What stands between a network's features and a neck that wants strides 8, 16 and 32, and images of any size."""
from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdet.utils.logger import setup_logger

from ..errors import UserError, nearest
from ..nn import LayerNorm2d, pad_image, uniform_
from ..nn.window import map_size
from ..registry import user_class
from ..registry.user_class import NECK_STRIDES

logger = setup_logger("ppdet_ext")


# --- blocks ----------------------------------------------------------------------------------------------------------

def _start(layer, fan_in):
    """torch's own random start of convolutions, which is what detectron2's pyramid begins with."""
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            uniform_(parameter, fan_in ** -0.5)
    return layer


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, then LayerNorm over channels."""
    layer = nn.Conv2D(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias_attr=False)
    return nn.Sequential(_start(layer, in_channels * kernel ** 2), LayerNorm2d(out_channels))


def doubling(in_channels: int, out_channels: int) -> nn.Layer:
    """2x2 deconvolution of stride 2: [B, in, H, W] -> [B, out, 2H, 2W]."""
    return _start(nn.Conv2DTranspose(in_channels, out_channels, 2, stride=2), out_channels * 4)


def doublings(channels: int, count: int) -> nn.Sequential:
    """``count`` deconvolutions, each halving the channels, with LayerNorm and GELU between; 0 gives an identity."""
    layers = []
    for step in range(count):
        width = channels >> step
        layers += [LayerNorm2d(width), nn.GELU()] if step else []
        layers.append(doubling(width, width // 2))
    return nn.Sequential(*layers)


def finer(in_channels: int, out_channels: int) -> nn.Sequential:
    """A level of half the stride: deconvolution, LayerNorm, GELU."""
    return nn.Sequential(doubling(in_channels, out_channels), LayerNorm2d(out_channels), nn.GELU())


def coarser(in_channels: int, out_channels: int) -> nn.Sequential:
    """A level of twice the stride: 3x3 convolution of stride 2, LayerNorm."""
    return conv(in_channels, out_channels, 3, stride=2)


def bilinear(x: paddle.Tensor, size: Sequence[Any]) -> paddle.Tensor:
    """[B, C, H, W] -> [B, C, *size], as torch's F.interpolate without antialias or aligned corners.

    Written as two matrix products on [B * C, H, W]. Paddle Inference 3.3.1 with oneDNN crashes on F.interpolate (a list
    of doubles is stored with it), and multiplies a convolution's 4-D output wrongly.
    """
    height, width = map_size(x, (2, 3))
    rows, columns = (_bilinear_matrix(*sizes).astype(x.dtype) for sizes in zip((height, width), size))
    maps = paddle.matmul(x.reshape([-1, height, width]), columns, transpose_y=True)
    return paddle.matmul(rows, maps).reshape([-1, x.shape[1], *size])


def _bilinear_matrix(n_in, n_out):
    """float32 [n_out, n_in]; the sizes are ints or tensors."""
    last, step = _number(n_in) - 1, _number(n_in) / _number(n_out)
    position = (paddle.arange(n_out, dtype="float32") + 0.5) * step - 0.5
    position = paddle.minimum(F.relu(position), last).unsqueeze(1)
    return F.relu(1 - (position - paddle.arange(n_in, dtype="float32")).abs())


def _number(size):
    return paddle.full([1], size, "float32")


# --- adapters --------------------------------------------------------------------------------------------------------

class Adapter(nn.Layer):
    """Features of a network -> features at the ``wanted`` strides, finest first.

    Args:
        channels, strides: of the features that forward gets.
        wanted: strides of the features it gives, ascending.

    Attributes:
        indices: of the features that it reads.
        multiple: the image's height and width must be multiples of it for levels of exactly the wanted strides.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], wanted: Sequence[int]):
        super().__init__()
        self.indices = self.needed(strides, wanted)
        self.multiple = max(wanted)
        self._wanted = list(wanted)
        self._channels = [channels[index] for index in self.indices]

    @classmethod
    def needed(cls, strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
        """Indices of the features it reads; an empty tuple where it does not fit."""
        raise NotImplementedError

    def channels(self) -> list[int]:
        """Channels of each feature given."""
        return list(self._channels)

    def strides(self) -> list[int]:
        """Stride to the image of each feature given."""
        return list(self._wanted)

    def forward(self, features: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        """List of [B, channels[i], H/strides[i], W/strides[i]] -> list of maps, one for each wanted stride."""
        return [features[index] for index in self.indices]


class PassOn(Adapter):
    """The features as they are, at exactly the wanted strides."""

    @classmethod
    def needed(cls, strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
        return tuple(range(len(strides))) if list(strides) == list(wanted) else ()


class Select(Adapter):
    """The last feature at each wanted stride."""

    @classmethod
    def needed(cls, strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
        last = _last_at(strides)
        return tuple(last[stride] for stride in wanted) if set(wanted) <= set(last) else ()


class Resample(Adapter):
    """The wanted strides that exist, the missing ones made from the nearest level, step by step by a factor of two.

    Channels: the source level's, or ``out_channels`` in the levels made here.
    """

    FACTORS = {2: finer, 0.5: coarser}  # size of the level made over size of its source -> block

    def __init__(self, channels: Sequence[int], strides: Sequence[int], wanted: Sequence[int],
                 out_channels: int | None = None):
        super().__init__(channels, strides, wanted)
        level_channels = {strides[index]: channels[index] for index in self.indices}
        self._sources = {strides[index]: index for index in self.indices}
        self._made = self._plan(level_channels, wanted)
        self.blocks = nn.LayerList()
        for source, stride in self._made:
            level_channels[stride] = out_channels or level_channels[source]
            self.blocks.append(self.FACTORS[source / stride](level_channels[source], level_channels[stride]))
        self._channels = [level_channels[stride] for stride in wanted]

    @classmethod
    def needed(cls, strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
        last = _last_at(strides)
        exponents = [math.log2(stride / wanted[0]) for stride in last]
        if not last or any(exponent != round(exponent) for exponent in exponents):
            return ()
        sources = {source for source, _ in cls._plan(last, wanted)} | set(wanted)
        return tuple(index for stride, index in last.items() if stride in sources)

    @staticmethod
    def _plan(have: Iterable[int], wanted: Sequence[int]) -> list[tuple[int, int]]:
        """[(stride of the source, stride of the level made from it)] in the order of making."""
        have, steps = set(have), []
        for target in wanted:
            source = min(sorted(have), key=lambda stride: abs(math.log2(stride / target)))
            while source != target:
                level = source // 2 if source > target else source * 2
                steps.append((source, level))
                have.add(level)
                source = level
        return steps

    def forward(self, features: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        levels = {stride: features[index] for stride, index in self._sources.items()}
        for (source, stride), block in zip(self._made, self.blocks):
            levels[stride] = block(levels[source])
        return [levels[stride] for stride in self._wanted]


class SimpleFPN(Adapter):
    """ViTDet's simple feature pyramid: every level from the last map of a network whose features have one stride.

    A level is that map enlarged by deconvolutions, as it is, or shrunk by max pooling, then a 1x1 and a 3x3
    convolution, each with LayerNorm. Where no power of two leads from the stride to the wanted one (DINOv2's 14), the
    pyramid goes to the nearest (7, 14, 28) and is interpolated bilinearly before the convolutions. Its levels then span
    the whole image and are exactly twice as large as the next: n = ceil(H / 32) cells at the coarsest, 2n and 4n above,
    so the strides are exact where H is a multiple of 32 (224: 28, 14, 7), and H/4n, H/2n, H/n elsewhere (280: 36, 18,
    9).

    Source: Li et al. 2022, https://arxiv.org/abs/2203.16527, section 3; blocks and random start as in detectron2's
    SimpleFeaturePyramid (there without interpolation).
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], wanted: Sequence[int],
                 out_channels: int | None = None):
        super().__init__(channels, strides, wanted)
        out_channels = out_channels or 256
        self._stride = strides[-1]
        exponents = [math.log2(self._stride / stride) for stride in wanted]
        steps = [round(exponent) for exponent in exponents]
        self._exact = steps == exponents
        self.multiple = max(wanted) if self._exact else self._stride
        self._halvings = [max(-step, 0) for step in steps]
        self.enlarge = nn.LayerList([doublings(channels[-1], max(step, 0)) for step in steps])
        self.project = nn.LayerList([
            nn.Sequential(conv(channels[-1] >> max(step, 0), out_channels, 1), conv(out_channels, out_channels, 3))
            for step in steps
        ])
        self._channels = [out_channels for _ in wanted]

    @classmethod
    def needed(cls, strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
        spans = all(max(wanted) % stride == 0 for stride in wanted)
        return (len(strides) - 1,) if len(set(strides)) == 1 and spans else ()

    def forward(self, features: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        source = features[self.indices[0]]
        outs = []
        for stride, enlarge, halvings, project in zip(self._wanted, self.enlarge, self._halvings, self.project):
            x = enlarge(source)
            if not self._exact:
                cells = self._wanted[-1] // stride * 2 ** halvings
                x = bilinear(x, self._size(source, cells))
            for _ in range(halvings):
                x = F.max_pool2d(x, 2, 2)
            outs.append(project(x))
        return outs

    def _size(self, source, cells):
        """[height, width] with ``cells`` cells to one of the coarsest level."""
        coarsest = self._wanted[-1]
        return [(size * self._stride + coarsest - 1) // coarsest * cells for size in map_size(source, (2, 3))]


def _last_at(strides):
    """{stride: index of the last feature there}, finest first."""
    return dict(sorted({stride: index for index, stride in enumerate(strides)}.items()))


ADAPTERS = {"none": PassOn, "select": Select, "simple_fpn": SimpleFPN, "resample": Resample}
AUTO = ("select", "simple_fpn", "resample")  # 'auto' takes the first that fits


def choose_adapter(name: str, channels: Sequence[int], strides: Sequence[int],
                   wanted: Sequence[int] = NECK_STRIDES) -> tuple[str, tuple[int, ...]]:
    """(name in ADAPTERS, indices of the features it reads) for features of these channels and strides.

    Args:
        name: a name in ADAPTERS, or auto.

    Raises:
        UserError: unknown name, or the features do not suit it.
    """
    if name != "auto" and name not in ADAPTERS:
        raise UserError(f"adapter is {name!r}; it takes auto, {', '.join(ADAPTERS)}{nearest(name, ADAPTERS)}")
    fitting = {known: indices for known, cls in ADAPTERS.items() if (indices := cls.needed(strides, wanted))}
    chosen = next((known for known in AUTO if known in fitting), name) if name == "auto" else name
    if chosen not in fitting:
        hint = f"adapters that fit: {', '.join(fitting)}" if fitting else "no adapter fits, choose other out_indices"
        raise UserError(f"adapter '{name}' cannot make strides {list(wanted)} from features at strides {list(strides)} "
                        f"(channels {list(channels)}); {hint}")
    return chosen, fitting[chosen]


def make_adapter(name: str, channels: Sequence[int], strides: Sequence[int], wanted: Sequence[int] = NECK_STRIDES,
                 out_channels: int | None = None, **settings: Any) -> Adapter:
    """The layer between features of these channels and strides and a neck that wants ``wanted``.

    Args:
        name: a name in ADAPTERS, or auto: select where the wanted strides exist, simple_fpn where all features have one
            stride, else resample.
        out_channels: channels of the levels made; None: 256 for simple_fpn, the source level's for resample. Adapters
            that make none refuse it.
        settings: further arguments of the adapter; none of those here has any.

    Returns:
        Adapter (nn.Layer).

    Raises:
        UserError: unknown name or setting, or the features do not suit it.
    """
    chosen, indices = choose_adapter(name, channels, strides, wanted)
    if out_channels is not None:
        settings["out_channels"] = out_channels
    known = inspect.signature(ADAPTERS[chosen].__init__).parameters
    for key in settings:
        if key not in known:
            raise UserError(f"adapter '{chosen}' has no setting '{key}'{nearest(key, known)}")
    adapter = ADAPTERS[chosen](channels, strides, wanted, **settings)
    logger.info("adapter %s%s: strides (channels) %s -> %s", chosen, " (auto)" if name == "auto" else "",
                _listed([strides[index] for index in indices], [channels[index] for index in indices]),
                _listed(adapter.strides(), adapter.channels()))
    return adapter


user_class.adapters["make"] = make_adapter


def _listed(strides, channels):
    return ", ".join(f"{stride} ({count})" for stride, count in zip(strides, channels))


# --- image sizes -----------------------------------------------------------------------------------------------------

def _refuse(image, multiple):
    sizes = [size for size in map_size(image, (2, 3)) if isinstance(size, int)]
    if any(size % multiple for size in sizes):
        below, above = ([max(rounded(size / multiple), 1) * multiple for size in sizes]
                        for rounded in (math.floor, math.ceil))
        raise UserError(f"image {_sides(sizes)} (height x width) is not a multiple of {multiple}; nearest: "
                        f"{_sides(below)} or {_sides(above)}; or set size: pad")
    return image


def _sides(sizes):
    return "x".join(str(size) for size in sizes)


def _pad(image, multiple):
    return pad_image(image, multiple)


def _resize(image, multiple):
    size = [(size + multiple - 1) // multiple * multiple for size in map_size(image, (2, 3))]
    return bilinear(image, size)


SIZE_POLICIES = {"error": _refuse, "pad": _pad, "resize": _resize}


def fit_image(image: paddle.Tensor, multiple: int, policy: str = "error") -> paddle.Tensor:
    """An image [B, C, H, W] whose height and width are multiples of ``multiple``.

    Args:
        policy: error (refuse others), pad (zeros at the bottom and right), or resize (bilinear, to the next multiple).

    With pad, features cover the padded image: those of the pads are computed like all others, and positions relative to
    the feature maps are relative to the padded image. With resize they stay relative to the image. In a static graph
    sizes may be unknown: error then cannot check them, pad and resize compute theirs when the graph runs.

    Raises:
        UserError: a size is no multiple and the policy is error; unknown policy.
    """
    fit = _policy(policy)
    fits = all(isinstance(size, int) and size % multiple == 0 for size in map_size(image, (2, 3)))
    return image if fits else fit(image, multiple)


def _policy(name):
    if name not in SIZE_POLICIES:
        raise UserError(f"size is {name!r}; it takes {', '.join(SIZE_POLICIES)}{nearest(name, SIZE_POLICIES)}")
    return SIZE_POLICIES[name]


class PatchSize(nn.Layer):
    """``fit_image`` as a layer."""

    def __init__(self, multiple: int, policy: str = "error"):
        super().__init__()
        self.multiple, self.policy = multiple, policy
        _policy(policy)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return fit_image(image, self.multiple, self.policy)
