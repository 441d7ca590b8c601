# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Writing weights: .pdparams with their metadata beside them, .safetensors with it in the header."""
from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_path
from . import metadata
from .mapped import release
from .readers import need

PICKLE_PROTOCOL = 4  # as paddle.save


def write_with_metadata(state: dict[str, np.ndarray], meta: dict[str, Any], path: str | Path) -> None:
    """Write ``state`` as .pdparams and ``meta`` beside it: both, or on an error neither."""
    with atomic_path(path) as weights, atomic_path(metadata.sidecar(path)) as about:
        write_paddle(state, weights)
        about.write_text(metadata.dump(meta), encoding="utf-8")


def write_paddle(state: dict[str, np.ndarray], path: str | Path) -> None:
    """Write ``{name: array}`` one by one as a file of ``paddle.save``, which itself holds copies of all to the end."""
    def reduce(array):
        reduced = np.require(array, requirements=["C", "A"]).__reduce__()
        release(array)
        return reduced

    with open(path, "wb") as file:
        pickler = pickle.Pickler(file, protocol=PICKLE_PROTOCOL)
        pickler.fast = True  # remembers nothing that it has written
        pickler.dispatch_table = {np.ndarray: reduce}
        pickler.dump(dict(state))


def write_safetensors(state: dict[str, np.ndarray], meta: dict[str, Any], path: str | Path) -> None:
    """Write ``state`` as .safetensors for torch; ``meta`` goes into the header, what is no text as JSON."""
    numpy = need("safetensors.numpy", f"writing '{path}'")
    header = {key: value if isinstance(value, str) else json.dumps(metadata.plain(value))
              for key, value in meta.items()}
    numpy.save_file({name: np.require(value, requirements="C") for name, value in state.items()}, str(path),
                    {"format": "pt", **header})
