# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is known of published weights: weights/manifest.yml, read once."""
from __future__ import annotations

import dataclasses
import functools
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import yaml

from ..errors import UserError
from ..files import data_path


@dataclasses.dataclass(frozen=True)
class PretrainedCfg:
    """Where weights come from and how their training prepared images.

    Attributes:
        arch, tag: as in 'resnet50.a1_in1k'; the arch is create_model's name ('torchvision/resnet50').
        source: the package that defines names and layout, 'timm' or 'torchvision'.
        hf_hub_id: repository on the Hugging Face Hub, such as 'timm/resnet50.a1_in1k'; '' for none.
        url: direct address of a torch file; '' for none.
        sha256: of the file at url, or its first digits; '' where its authors do not say.
        num_classes: of the weights' classifier; 0 where they have none.
        input_size: (3, H, W) of training; test_input_size where the authors test larger.
        mean, std: of RGB in 0..1.
        crop_pct: centre crop over resized side in the authors' evaluation.
        first_conv, classifier: state dict paths, adapted to other in_chans / num_classes.
    """
    arch: str
    tag: str = ""
    source: str = "timm"
    hf_hub_id: str = ""
    url: str = ""
    sha256: str = ""
    license: str = ""
    input_size: tuple = (3, 224, 224)
    test_input_size: tuple = ()
    mean: tuple = (0.485, 0.456, 0.406)
    std: tuple = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    test_crop_pct: float = 0.0
    num_classes: int = 1000
    first_conv: str = ""
    classifier: str = ""

    @property
    def name(self) -> str:
        """'arch.tag', or the arch alone."""
        return f"{self.arch}.{self.tag}" if self.tag else self.arch

    @property
    def has_weights(self) -> bool:
        return bool(self.hf_hub_id or self.url)


@functools.cache
def _manifest() -> tuple[dict[str, Any], dict[str, Any]]:
    path = data_path("weights/manifest.yml")
    if not path.is_file():
        raise UserError(f"{path} is missing: install from a full checkout (pip install -e .)")
    with open(path, encoding="utf-8") as file:
        content = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
    return content["defaults"], content["models"]


def manifest_cfgs(arch: str) -> dict[str, PretrainedCfg]:
    """{tag: PretrainedCfg} of an arch, the default tag first; {} where the manifest does not know it."""
    return cfgs_of(arch, _manifest()[1].get(arch, {}))


def cfgs_of(arch: str, entry: Mapping[str, Any]) -> dict[str, PretrainedCfg]:
    """{tag: PretrainedCfg} from an entry of the manifest, or of a graph's info['published']."""
    common = {**_manifest()[0], **entry.get("common", {})}
    return {tag: _cfg(arch, tag, {**common, **(fields or {})}) for tag, fields in entry.get("tags", {}).items()}


def _cfg(arch: str, tag: str, fields: Mapping[str, Any]) -> PretrainedCfg:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    if values.get("hf_hub_id", "").endswith("/"):
        values["hf_hub_id"] += f"{arch}.{tag}"
    return PretrainedCfg(arch=arch, tag=tag, **values)


def recognise(spec: object, cfgs: Iterable[PretrainedCfg]) -> PretrainedCfg | None:
    """The published weights that ``pretrained: spec`` names; None where none of ``cfgs``, or no file or address.

    An address names them by the hub's repository or the published file's name; a path by that file's name, or as file
    or folder by 'arch.tag', which is how the hub's tools call folders.
    """
    if not isinstance(spec, str):
        return None
    path = urllib.parse.unquote(urllib.parse.urlsplit(spec).path) if "://" in spec else PurePath(spec).as_posix()
    name = path.rpartition("/")[2]
    for cfg in cfgs:
        published = cfg.url.rpartition("/")[2]
        if (published and name == published) or (cfg.hf_hub_id and f"/{cfg.hf_hub_id}/" in path):
            return cfg
        called = {cfg.name, f"models--{cfg.hf_hub_id.replace('/', '--')}"} if cfg.tag else set()
        if "://" not in spec and called & {*path.split("/"), PurePath(name).stem}:
            return cfg
    return None
