# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``Albumentations: {prob: 0.3}``: a few transforms of that library which change pixels and leave boxes as they are."""
from __future__ import annotations

import importlib
import importlib.util
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ppdet.data import transform
from ppdet.data.transform.operators import BaseOperator, register_op

from ..errors import UserError

LIBRARY = "albumentations"
#: its newest release for the numpy that PaddleDetection wants; by itself pip would bring a second OpenCV with it
INSTALL = "pip install --no-deps albumentations==1.3.1 qudida"
#: the library's transforms, of which chance takes one: what cameras do to a picture
KINDS: Mapping[str, Mapping[str, Any]] = {
    "Blur": {"blur_limit": (3, 5)}, "MotionBlur": {"blur_limit": (3, 7)}, "GaussNoise": {}, "CLAHE": {},
    "RandomGamma": {}, "Sharpen": {}, "ToGray": {}}


def is_installed() -> bool:
    """Whether the library is there."""
    return importlib.util.find_spec(LIBRARY) is not None


@register_op
class Albumentations(BaseOperator):
    """One of KINDS, with a chance.

    Args:
        prob: the share of pictures.

    Raises:
        UserError: the library is not there, or does not load.
    """

    def __init__(self, prob: float = 0.3) -> None:
        super().__init__()
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask a server for its newest release
        try:
            library = importlib.import_module(LIBRARY)
        except ImportError as error:
            raise UserError(f"the transform Albumentations needs the library of that name ({error}); {INSTALL}, or "
                            "take it out of TrainReader.sample_transforms") from None
        self.prob = prob
        self.kinds: list[Callable] = [getattr(library, name)(p=1.0, **settings) for name, settings in KINDS.items()]

    def apply(self, sample: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Change the sample's picture, RGB uint8 [H, W, 3], with the chance ``prob``."""
        if np.random.rand() < self.prob:
            kind = self.kinds[np.random.randint(len(self.kinds))]
            seed = int(np.random.randint(2 ** 31))
            if hasattr(kind, "set_random_seed"):  # from release 2 on each has numbers of its own
                kind.set_random_seed(seed)
            else:
                random.seed(seed)
            sample["image"] = kind(image=np.ascontiguousarray(sample["image"], np.uint8))["image"]
        return sample


transform.Albumentations = Albumentations
