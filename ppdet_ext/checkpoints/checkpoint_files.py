# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detectors' checkpoint files: reading any project's, and writing them as each project expects them."""
import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import atomic_path, sha256
from ..weights import metadata
from ..weights.pretrained_weights import write_tensors
from ..weights.readers import need, read_file
from ..weights.source import locate_spec, unwrap

log = logging.getLogger(__name__)
HF_CONFIG, HF_WEIGHTS, HF_PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
HF_FILES = (HF_WEIGHTS, "pytorch_model.bin")
PPDET_HOST = "https://paddledet.bj.bcebos.com/"  # what PaddleDetection's ppdet:// stands for


@dataclass(frozen=True)
class Checkpoint:
    """A file as it was read. ``classes`` are the names of its classes where it says so, else None; ``framework`` is
    whose file format it is ('torch' or 'paddle'), which says nothing of the names in it."""
    tensors: dict
    source: str
    path: Path
    framework: str
    classes: list = None


def locate(spec):
    """The bridge's Location of ``spec``: a file (.pdparams may be left out), a URL, or a folder of transformers'.

    Raises:
        UserError: it is not there, or the folder holds no weights.
    """
    spec = str(spec)
    if spec.startswith("ppdet://"):
        spec = PPDET_HOST + spec[len("ppdet://"):]
    if "://" not in spec and Path(spec).expanduser().is_dir():
        return locate_spec(_in_folder(Path(spec).expanduser()))
    if "://" not in spec and not Path(spec).is_file() and Path(f"{spec}.pdparams").is_file():
        spec = f"{spec}.pdparams"
    return locate_spec(spec)


def _in_folder(folder):
    for name in HF_FILES:
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise UserError(f"'{folder}' holds its weights in several files; save them as one: "
                            "model.save_pretrained(FOLDER, max_shard_size='10GB')")
    raise UserError(f"the folder '{folder}' holds none of {', '.join(HF_FILES)}; give a folder that transformers' "
                    "save_pretrained wrote, or a file")


def read(spec, names=None, part=""):
    """Read a checkpoint; of several sets of weights in it the averaged one (ema) is preferred.

    Args:
        spec: see :func:`locate`.
        names: names that the network may have in it, see ``bridge.source.unwrap``.
        part: the one set of weights wanted, such as 'model' or 'ema.module'.

    Raises:
        UserError: it cannot be had, is damaged, holds code, or holds no such part.
    """
    location = locate(spec)
    content, framework = read_file(location.path)
    tensors = unwrap(content, location.path, names, part)
    return Checkpoint(tensors, location.source, location.path, framework, class_names(location))


def class_names(location):
    """The classes that the weights' metadata names: transformers' config.json, or our own .yml; None for none."""
    config = location.path.parent / HF_CONFIG
    if location.path.name in HF_FILES and config.is_file():
        labels = read_json(config).get("id2label")
        return list(labels.values()) if labels else None
    return location.meta.get("classes")


def read_json(path):
    """A JSON object.

    Raises:
        UserError: it is none.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}' ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"'{path}' is not a JSON object")
    return content


def write_paddledet(tensors, output, info):
    """A .pdparams, and what is known of it in a .yml beside it."""
    metadata.require_free(output)
    with atomic_path(output) as weights, atomic_path(metadata.sidecar(output)) as about:
        write_tensors(tensors, weights)
        about.write_text(metadata.dump(info), encoding="utf-8")


def write_torch(tensors, output, info):
    """A .pth that lyuwenyu's tools take (weights under 'model'), or a flat .safetensors."""
    if str(output).endswith(".safetensors"):
        return _write_safetensors(tensors, output, info)
    torch = need("torch", f"writing '{output}' (a .safetensors needs none)")
    with atomic_path(output) as temporary:
        torch.save({"model": {name: torch.from_numpy(_contiguous(value)) for name, value in tensors.items()}},
                   temporary)


def write_hf(tensors, output, info):
    """A folder for ``from_pretrained``; ``info`` holds 'config' and 'processor', the contents of its two JSON files.

    All files are complete before the first is renamed.
    """
    folder, info = Path(output), dict(info)
    with contextlib.ExitStack() as stack:
        for name in ("config", "processor"):
            path = stack.enter_context(atomic_path(folder / (HF_CONFIG if name == "config" else HF_PROCESSOR)))
            path.write_text(json.dumps(info.pop(name), indent=2) + "\n", encoding="utf-8")
        weights = stack.enter_context(atomic_path(folder / HF_WEIGHTS))
        _save_safetensors(tensors, weights, info)


def _write_safetensors(tensors, output, info):
    with atomic_path(output) as temporary:
        _save_safetensors(tensors, temporary, info)


def _save_safetensors(tensors, path, info):
    numpy = need("safetensors.numpy", f"writing '{path}'")
    header = {key: value if isinstance(value, str) else json.dumps(metadata.plain(value))
              for key, value in info.items()}
    numpy.save_file({name: _contiguous(value) for name, value in tensors.items()}, str(path),
                    {"format": "pt", **header})


def _contiguous(value):
    """An array of its own; what is read lies in its file and cannot be written (torch warns of that)."""
    return np.array(value, order="C")


#: project -> (suffixes of its output, '' for a folder; writer)
WRITERS = {
    "paddledet": ((".pdparams",), write_paddledet),
    "torch": ((".pth", ".safetensors"), write_torch),
    "hf": (("",), write_hf),
}


def check_output(project, output):
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


def digest(checkpoint):
    """Hex digest of a checkpoint's file."""
    return sha256(checkpoint.path)
