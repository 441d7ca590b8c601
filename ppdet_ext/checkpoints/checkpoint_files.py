# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detectors' checkpoint files: reading any project's, and writing them as each project expects them."""
from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Callable

import numpy as np

from ..errors import UserError
from ..files import atomic_path
from ..weights import hub_config, metadata, shards, source
from ..weights.json_file import read_json
from ..weights.readers import need
from ..weights.source import Checkpoint, Location
from ..weights.writers import write_safetensors, write_with_metadata
from . import stamp

HF_CONFIG, HF_PROCESSOR, HF_FILES = hub_config.CONFIG, hub_config.PROCESSOR, hub_config.HUB_FILES
HF_WEIGHTS = HF_FILES[0]
PPDET_HOST = "https://paddledet.bj.bcebos.com/"  # what PaddleDetection's ppdet:// stands for


def locate(spec: str | Path) -> Location:
    """The Location of ``spec``: a file (.pdparams may be left out), a URL, or a folder of transformers'.

    Its ``meta`` has the ``classes`` where a .pdparams' stamp (which has mean, std, backbone and swaps, too),
    transformers' config.json or our own .yml names them.

    Raises:
        UserError: it is not there, or the folder holds no weights.
    """
    spec = str(spec)
    if spec.startswith("ppdet://"):
        spec = PPDET_HOST + spec[len("ppdet://"):]
    elif "://" not in spec and not Path(spec).exists() and Path(f"{spec}.pdparams").is_file():
        spec = f"{spec}.pdparams"
    location = source.locate_spec(spec)
    own = stamp.read(location.path) if location.path.suffix == stamp.WEIGHTS else None
    if own and own.facts:
        known = {"classes": list(own.facts.classes), "mean": own.facts.mean, "std": own.facts.std,
                 "backbone": own.facts.backbone, "swaps": own.facts.swaps}
        return dataclasses.replace(location, meta={**location.meta, **{k: v for k, v in known.items() if v}})
    config = location.path.parent / HF_CONFIG
    if location.path.name.replace(shards.SUFFIX, "") not in HF_FILES or not config.is_file():
        return location
    return dataclasses.replace(location, meta={**location.meta, "classes": _labels(config) or None})


def _labels(config):
    """The class names of a config.json, by their numbers: files are found that list them sorted as text (0, 1, 10)."""
    labels = read_json(config).get("id2label") or {}
    numbers = {key: int(key) for key in labels if key.isdecimal()} if isinstance(labels, dict) else {}
    if not isinstance(labels, dict) or sorted(numbers.values()) != list(range(len(labels))) or \
            not all(isinstance(label, str) for label in labels.values()):
        raise UserError(f"'{config}': id2label is not an object of class names by number, from '0' on")
    return [labels[key] for key in sorted(numbers, key=numbers.get)]


def read(spec: str | Path, names: Collection[str] | None = None, part: str = "") -> Checkpoint:
    """Read a checkpoint; of several sets of weights in it the averaged one (ema) is preferred.

    Args:
        spec: see :func:`locate`.
        names: names that the network may have in it, see ``weights.unwrap``.
        part: the one set of weights wanted, such as 'model' or 'ema.module'.

    Raises:
        UserError: it cannot be had, is damaged, holds code, or holds no such part.
    """
    return source.read(locate(spec), names=names, part=part)


def write_paddledet(state: dict[str, np.ndarray], output: str | Path, meta: dict[str, Any]) -> None:
    """A .pdparams, and what is known of it in a .yml beside it."""
    metadata.require_free(output)
    write_with_metadata(state, meta, output)


def write_torch(state: dict[str, np.ndarray], output: str | Path, meta: dict[str, Any]) -> None:
    """A .pth that lyuwenyu's tools take (weights under 'model'), or a flat .safetensors."""
    with atomic_path(output) as temporary:
        if str(output).endswith(".safetensors"):
            return write_safetensors(state, meta, temporary)
        torch = need("torch", f"writing '{output}' (a .safetensors needs none)")
        # arrays of their own: what was read lies in its file and cannot be written, of which torch warns
        tensors = {name: torch.from_numpy(np.array(value, order="C")) for name, value in state.items()}
        torch.save({"model": tensors}, temporary)


def write_hf(state: dict[str, np.ndarray], output: str | Path, meta: dict[str, Any]) -> None:
    """A folder for ``from_pretrained``; ``meta`` holds 'config' and 'processor', the contents of its two JSON files.

    All files are complete before the first is renamed.
    """
    folder, meta = Path(output), dict(meta)
    with contextlib.ExitStack() as stack:
        for key, name in (("config", HF_CONFIG), ("processor", HF_PROCESSOR)):
            path = stack.enter_context(atomic_path(folder / name))
            path.write_text(json.dumps(meta.pop(key), indent=2) + "\n", encoding="utf-8")
        write_safetensors(state, meta, stack.enter_context(atomic_path(folder / HF_WEIGHTS)))


#: project -> (suffixes of its output, '' for a folder; writer)
WRITERS: dict[str, tuple[tuple[str, ...], Callable[..., None]]] = {
    "paddledet": ((".pdparams",), write_paddledet),
    "torch": ((".pth", ".safetensors"), write_torch),
    "hf": (("",), write_hf),
}


def check_output(project: str, output: str | Path) -> None:
    """Raise UserError where ``output`` is not what the project's checkpoints are called; good to know before work."""
    suffixes, _ = WRITERS[project]
    if suffixes == ("",):
        if Path(output).is_file() or str(output).endswith((".safetensors", ".bin", ".json")):
            raise UserError(f"the output '{output}' should be a folder (--to {project}): transformers reads the "
                            "weights together with their config.json")
    elif not str(output).endswith(suffixes):
        raise UserError(f"the output '{output}' should end in {' or '.join(suffixes)} (--to {project})")
    if project == "paddledet":
        metadata.require_free(output)
