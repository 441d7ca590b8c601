# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write weights/manifest.yml anew from the installed timm's and torchvision's own tables, for our native networks.

Only for the package's authors: run it when a native arch is added or timm is updated, and read the diff.
"""
import timm
import torchvision
import yaml

import ppdet_ext

ppdet_ext.setup()

from ppdet_ext.backbones import list_models
from ppdet_ext.files import atomic_path, data_path
from ppdet_ext.trace.published import DEFAULTS, published

HEADER = """\
# Weights that authors have published for our native networks: where they are and how their images were prepared.
# Facts from timm {timm} and torchvision {torchvision}, written by tools/make_manifest.py.
# A tag inherits its arch's `common`, which inherits `defaults`; the first tag is the one that a bare arch name means.
"""


def main():
    models = {name: published(name) for name in list_models()}
    text = yaml.safe_dump(dict(defaults=DEFAULTS, models=models), sort_keys=False, width=110, default_flow_style=None)
    with atomic_path(data_path("weights/manifest.yml")) as path:
        header = HEADER.format(timm=timm.__version__, torchvision=torchvision.__version__)
        path.write_text(header + text, encoding="utf-8")


if __name__ == "__main__":
    main()
