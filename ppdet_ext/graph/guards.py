# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The conditions under which a graph holds, asked while its layer runs: an image of another size is an error."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import paddle

from ..errors import UserError

if TYPE_CHECKING:
    from .layer import GraphLayer


class Guard(NamedTuple):
    """What a value must be; ``words`` says it as an expression, ``branch`` whether the network decides by it."""
    expected: bool | int | float
    words: str
    branch: bool


def check(layer: GraphLayer, guard: Guard, value: Any) -> None:
    """What a guard becomes.

    Raises:
        UserError: the image has a size for which the network would compute something else than what was traced.
    """
    name = layer.graph.name
    if isinstance(value, paddle.Tensor) or hasattr(value, "block"):
        if paddle.in_dynamic_mode():
            value = value.item()
        elif guard.branch:
            raise UserError(f"{name} decides by the image's size ({guard.words}): export with a fixed image size")
        else:
            return
    if value != guard.expected:
        size = "x".join(map(str, layer.graph.info.get("input_size", [])[1:]))
        raise UserError(f"{name} was traced at {size}, where {guard.words} holds; for this image it does not: use a "
                        "size for which it does, or trace the network for yours (img_size)")


def check_size(layer: GraphLayer, image: paddle.Tensor) -> None:
    """UserError where a network that is made for one size sees another; a static graph may not know."""
    wanted, given = list(layer.graph.info["input_size"][1:]), list(image.shape[2:])
    if any(isinstance(side, int) and side not in (-1, want) for side, want in zip(given, wanted)):
        raise UserError(f"{layer.graph.name} is made for images of {wanted[0]}x{wanted[1]}, this one is "
                        f"{given[0]}x{given[1]}; build it for yours with img_size, where it has that setting")
