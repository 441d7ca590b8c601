# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where a detector is cut in two, so that half of it can be in bfloat16.

What sees the picture (backbone and encoder) may be; the decoder stays in float32, because it computes with positions.
bfloat16 tells 128 numbers between one power of two and the next, and the features of a picture of 640x640 have 8,400
rows: left to themselves, oneDNN under Paddle and OpenVINO look up the wrong ones, without a word.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

Key = TypeVar("Key")  # of a step: its name or number

#: the name of the tensor that goes from the first part to the second
TOKENS = "tokens"
#: kinds of steps: reads a shape only; chooses the best queries; gives several tensors; any other
SHAPE, CHOICE, SEVERAL, OTHER = "shape", "choice", "several", "other"


def bottleneck(steps: Sequence[tuple[Key, str, Sequence[Key]]], image: Key) -> Key | None:
    """The last step before the first CHOICE through whose output all goes that comes from the picture, or None.

    That is where the encoder's tokens of all levels are one tensor. Shapes do not count as what comes from the picture.

    Args:
        steps: list of (key, kind, keys of the steps whose outputs it takes), in an order in which they can run.
        image: the key of the picture.
    """
    uses = Counter(source for _, kind, sources in steps if kind != SHAPE for source in sources)
    from_picture, waiting, found = {image}, uses[image], None
    for key, kind, sources in steps:
        taken = sum(source in from_picture for source in sources)
        if not taken or kind == SHAPE:
            continue
        if kind == CHOICE:
            return found
        from_picture.add(key)
        waiting += uses[key] - taken
        if waiting == uses[key] > 0 and kind == OTHER:
            found = key
    return None
