# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What timm and torchvision say of the weights they publish, as plain data. Needs these packages."""
from __future__ import annotations

from typing import Any

from ..weights.download import expected_hash

DEFAULTS = dict(input_size=[3, 224, 224], mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225],
                interpolation="bilinear", crop_pct=0.875, num_classes=1000, license="apache-2.0", source="timm")
COPIED = ("url", "license", "input_size", "test_input_size", "mean", "std", "interpolation", "crop_pct",
          "test_crop_pct", "num_classes", "first_conv", "classifier")


def published(name: str) -> dict[str, Any]:
    """``{"common": fields, "tags": {tag: fields}}`` of a timm name or 'torchvision/NAME', the default tag first.

    Fields that DEFAULTS have already are left out; hf_hub_id 'timm/' stands for 'timm/ARCH.TAG'.
    """
    package, _, arch = name.rpartition("/")
    return folded(torchvision_tags(arch) if package == "torchvision" else timm_tags(arch))


def timm_tags(arch: str) -> dict[str, dict]:
    """{tag: fields} of an arch, timm's default first."""
    import timm
    tags = [name.split(".", 1)[1] for name in timm.list_pretrained(f"{arch}.*")]
    default = _cfg(arch).tag or ""
    return {tag: timm_fields(arch, tag) for tag in [default] + [tag for tag in tags if tag != default]}


def timm_fields(arch: str, tag: str) -> dict[str, Any]:
    cfg = _cfg(f"{arch}.{tag}" if tag else arch).to_dict()
    fields = {key: plain(cfg[key]) for key in COPIED if cfg.get(key)}
    fields.update(num_classes=cfg["num_classes"], license=cfg.get("license") or "", **_sha256(cfg.get("url")))
    hub = cfg.get("hf_hub_id")
    if hub:
        fields["hf_hub_id"] = "timm/" if hub == f"timm/{arch}.{tag}" else hub
    return fields


def _cfg(name: str) -> Any:
    import timm
    return timm.models.get_pretrained_cfg(name)


def torchvision_tags(arch: str) -> dict[str, dict]:
    """{tag: fields} of a torchvision arch, its DEFAULT first."""
    import torchvision
    weights = torchvision.models.get_model_weights(arch)
    ordered = [weights.DEFAULT] + [one for one in weights if one is not weights.DEFAULT]
    return {one.name: torchvision_fields(arch, one) for one in ordered}


def torchvision_fields(arch: str, weights: Any) -> dict[str, Any]:
    from .torchvision_taps import ends
    transform = weights.transforms()
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    return dict(source="torchvision", url=weights.url, **_sha256(weights.url), license="bsd-3-clause",
                input_size=[3, crop, crop], mean=list(transform.mean), std=list(transform.std),
                interpolation=transform.interpolation.value, crop_pct=round(crop / resize, 4),
                num_classes=len(weights.meta["categories"] or ()),
                **{key: plain(value[0] if len(value) == 1 else value) for key, value in ends(arch).items()})


def _sha256(url: str | None) -> dict[str, str]:
    """{'sha256': its first digits} where the authors write them into the file's name."""
    digits = expected_hash(url or "")
    return {"sha256": digits} if digits else {}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def folded(tags: dict[str, dict]) -> dict[str, dict]:
    """Move what all tags share into `common`, and leave out what DEFAULTS say already."""
    kept = [{key: value for key, value in fields.items() if DEFAULTS.get(key) != value} for fields in tags.values()]
    common = {key: value for key, value in kept[0].items() if all(fields.get(key) == value for fields in kept)}
    rest = [{key: value for key, value in fields.items() if key not in common} for fields in kept]
    return dict(common=common, tags=dict(zip(tags, rest)))
