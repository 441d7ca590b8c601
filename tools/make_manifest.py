# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write weights/manifest.yml anew from the installed timm's and torchvision's own tables, for our native networks.

Only for the package's authors: run it when a native arch is added or timm is updated, and read the diff.
"""
from pathlib import Path

import timm
import torchvision
import yaml

from ppdet_ext.backbones import list_models
from ppdet_ext.files import atomic_path

MANIFEST = Path(__file__).parents[1] / "weights" / "manifest.yml"
HEADER = """\
# Weights that authors have published for our native networks: where they are and how their images were prepared.
# Facts from timm {timm} and torchvision {torchvision}, written by tools/make_manifest.py.
# A tag inherits its arch's `common`, which inherits `defaults`; the first tag is the one that a bare arch name means.
"""
DEFAULTS = dict(input_size=[3, 224, 224], mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225],
                interpolation="bilinear", crop_pct=0.875, num_classes=1000, license="apache-2.0", source="timm")
COPIED = ("url", "license", "input_size", "test_input_size", "mean", "std", "interpolation", "crop_pct",
          "test_crop_pct", "num_classes", "first_conv", "classifier")


def timm_tags(arch):
    """{tag: fields} of an arch, timm's default first."""
    tags = [name.split(".", 1)[1] for name in timm.list_pretrained(f"{arch}.*")]
    default = timm.models.get_pretrained_cfg(arch).tag
    return {tag: timm_fields(arch, tag) for tag in [default] + [tag for tag in tags if tag != default]}


def timm_fields(arch, tag):
    cfg = timm.models.get_pretrained_cfg(f"{arch}.{tag}").to_dict()
    fields = {key: plain(cfg[key]) for key in COPIED if cfg.get(key)}
    fields.update(num_classes=cfg["num_classes"], license=cfg.get("license") or "")
    if cfg.get("hf_hub_id"):
        assert cfg["hf_hub_id"] == f"timm/{arch}.{tag}", cfg["hf_hub_id"]
        fields["hf_hub_id"] = "timm/"
    return fields


def torchvision_tags(arch):
    """{tag: fields} of a torchvision arch, its DEFAULT first."""
    weights = torchvision.models.get_model_weights(arch)
    ordered = [weights.DEFAULT] + [one for one in weights if one is not weights.DEFAULT]
    return {one.name: torchvision_fields(one) for one in ordered}


def torchvision_fields(weights):
    transform = weights.transforms()
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    return dict(source="torchvision", url=weights.url, license="bsd-3-clause", input_size=[3, crop, crop],
                mean=list(transform.mean), std=list(transform.std), interpolation=transform.interpolation.value,
                crop_pct=round(crop / resize, 4), num_classes=len(weights.meta["categories"]),
                first_conv="conv1", classifier="fc")


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def folded(tags):
    """Move what all tags share into `common`, and leave out what `defaults` say already."""
    kept = [{key: value for key, value in fields.items() if DEFAULTS.get(key) != value} for fields in tags.values()]
    common = {key: value for key, value in kept[0].items() if all(fields.get(key) == value for fields in kept)}
    rest = [{key: value for key, value in fields.items() if key not in common} for fields in kept]
    return dict(common=common, tags=dict(zip(tags, rest)))


def main():
    models = {}
    for name in list_models():
        is_torchvision = name.startswith("torchvision/")
        models[name] = folded(torchvision_tags(name.split("/")[1]) if is_torchvision else timm_tags(name))
    text = yaml.safe_dump(dict(defaults=DEFAULTS, models=models), sort_keys=False, width=110, default_flow_style=None)
    with atomic_path(MANIFEST) as path:
        header = HEADER.format(timm=timm.__version__, torchvision=torchvision.__version__)
        path.write_text(header + text, encoding="utf-8")


if __name__ == "__main__":
    main()
