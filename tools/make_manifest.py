# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write weights/manifest.yml from the installed timm's and torchvision's own tables, for our native networks.

Only for the package's authors, who read the diff: with names when archs are added, without when timm is updated.
"""
import argparse
from pathlib import Path

import timm
import torchvision
import yaml

import ppdet_ext

ppdet_ext.setup()

from ppdet_ext.backbones import list_models, model_entry
from ppdet_ext.errors import UserError
from ppdet_ext.files import atomic_path
from ppdet_ext.trace.published import DEFAULTS, published

MANIFEST = Path(__file__).parents[1] / "weights" / "manifest.yml"
HEADER = """\
# Weights that authors have published for our native networks: where they are and how their images were prepared.
# Facts from timm {timm} and torchvision {torchvision}, written by tools/make_manifest.py.
# A tag inherits its arch's `common`, which inherits `defaults`; the first tag is the one that a bare arch name means.
"""


def header():
    """The file's first lines, with the versions installed here."""
    versions = {module.__name__: module.__version__.partition("+")[0] for module in (timm, torchvision)}
    return HEADER.format(**versions)


def rows(old, archs=()):
    """{arch: row} of all native networks, sorted: those of ``archs`` anew (all without), the others from ``old``.

    Raises:
        UserError: an arch is not native; or ``old`` lacks a row that is not asked for.
    """
    for arch in archs:
        model_entry(arch)
    missing = [arch for arch in list_models() if archs and arch not in (*old, *archs)]
    if missing:
        raise UserError(f"the manifest has no row of {', '.join(missing)}; name these too")
    return {arch: published(arch) if arch in archs or not archs else old[arch] for arch in list_models()}


def text_of(models):
    """The whole file."""
    content = dict(defaults=DEFAULTS, models=models)
    return header() + yaml.safe_dump(content, sort_keys=False, width=110, default_flow_style=None)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archs", nargs="*", metavar="ARCH", help="write only these archs' rows and keep the others")
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the file is as it would be")
    parser.add_argument("--file", type=Path, default=MANIFEST, help="the manifest (default: weights/manifest.yml)")
    args = parser.parse_args(argv)
    before = args.file.read_text(encoding="utf-8")
    if args.archs and not before.startswith(header()):
        raise UserError(f"{args.file} was written with other versions of timm or torchvision than those installed "
                        "here; write it without names, so that all rows are of one version")
    old = yaml.safe_load(before)["models"]
    text = text_of(rows(old, args.archs))
    if not args.check:
        with atomic_path(args.file) as path:
            path.write_text(text, encoding="utf-8")
    elif text != before:
        new = yaml.safe_load(text)["models"]
        different = [arch for arch in sorted({*old, *new}) if old.get(arch) != new.get(arch)]
        raise UserError(f"{args.file} is not what tools/make_manifest.py would write: "
                        f"{', '.join(different) or 'only its first lines or its layout differ'}")


if __name__ == "__main__":
    from ppdet_ext import cli
    cli.run(main)
