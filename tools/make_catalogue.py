# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write ppdet_ext/choose/catalogue.csv: what each backbone of timm and torchvision costs and what is published of it.

Only for the package's authors, when timm or torchvision is updated. Networks are run without values, which takes about
half an hour on one core; --resume goes on. ImageNet top-1 is from a checkout of timm's repository, folder results/.
"""
import argparse
import csv
from pathlib import Path

import ppdet_ext

ppdet_ext.setup()

import timm
import torch
import torchvision

from ppdet_ext.backbones import list_models
from ppdet_ext.choose import catalogue, kinds
from ppdet_ext.errors import UserError
from ppdet_ext.files import atomic_path
from ppdet_ext.sweep import originals, rows, worker_pool
from ppdet_ext.sweep.run import run
from ppdet_ext.trace import on_demand
from ppdet_ext.trace.published import published

RESULTS = "results-imagenet.csv"


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, required=True, metavar="FOLDER", help="timm's folder results/")
    parser.add_argument("--revision", required=True, help="the revision of timm's repository that it is from")
    parser.add_argument("--filter", nargs="+", default=["*"], metavar="GLOB", help="names to measure (default: all)")
    parser.add_argument("--rows", type=Path, default=Path("output/catalogue/catalogue.jsonl"), help="measured rows")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--retry", action="store_true", help="with --resume: measure those again that failed")
    parser.add_argument("--measured", action="store_true", help="measure nothing; write the rows that are there")
    parser.add_argument("--file", type=Path, default=catalogue.FILE, help="the catalogue (default: the package's)")
    return parser.parse_args(argv)


def timm_top1(folder):
    """{'arch.tag': (top-1 in %, side of the images)} of timm's published results on ImageNet's validation set.

    Some are tested at two sizes; the better one counts, as it does at timm.
    """
    found = {}
    with open(folder / RESULTS, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            result = float(row["top1"]), int(row["img_size"])
            found[row["model"]] = max(result, found.get(row["model"], result))
    return found


def torchvision_top1(arch):
    """{tag: (top-1, side)} as torchvision publishes it."""
    return {one.name: (one.meta["_metrics"]["ImageNet-1K"]["acc@1"], one.transforms().crop_size[0])
            for one in torchvision.models.get_model_weights(arch) if "ImageNet-1K" in one.meta["_metrics"]}


def weights_of(name, top1):
    """The Weights of a name, the default first; tags without a file are left out."""
    package, _, arch = name.rpartition("/")
    found = published(name)
    tags = {tag: {**found["common"], **(fields or {})} for tag, fields in found["tags"].items()}
    scores = torchvision_top1(arch) if package else {tag: top1.get(f"{name}.{tag}") for tag in tags}
    for tag, fields in tags.items():
        if fields.get("hf_hub_id") or fields.get("url"):
            score, side = scores.get(tag) or (None, 0)
            yield catalogue.Weights(tag, fields.get("license", "apache-2.0") or "", score, side)


def row_of(facts, top1, native, shipped):
    """The catalogue's Row of a measured one."""
    name = facts["name"]
    classes = sorted({**facts["leaves"], **facts["modules"]}.items(), key=lambda one: -one[1])
    classes = [name for name, _ in classes]
    norm = kinds.first_of(kinds.NORMS, classes)
    return catalogue.Row(
        name=name, family=facts["family"], block=facts["block"],
        how="native" if name in native else "shipped" if name in shipped else "bridged",
        kind=kinds.kind_of(facts["shares"], facts["strides"], classes, norm), norm=norm,
        activation=kinds.first_of(kinds.ACTIVATIONS, classes), parameters=facts["parameters"],
        own_side=facts["own_side"], own_gmacs=facts["gmacs_own"], side=facts["side"],
        needs_size=facts["built_for_side"], gmacs=facts["gmacs"],
        backbone_parameters=facts["backbone_parameters"], channels=tuple(facts["channels"]),
        strides=tuple(facts["strides"]), kept_mb=facts["saved_mb"], peak_mb=facts["peak_mb"],
        operations=facts["operations"], shares=facts["shares"], weights=tuple(weights_of(name, top1)))


def main(argv=None):
    args = parse_args(argv)
    top1 = timm_top1(args.results)
    worker_pool.RECYCLE = 400  # without values nothing piles up
    plan = worker_pool.Plan(measure="ppdet_ext.choose.torch_costs:row", memory=12.0)
    measured = rows.read(args.rows) if args.measured else run(originals.names(args.filter), args.rows, plan,
                                                              args.resume, args.retry)
    failed = {name: row["reason"] for name, row in measured.items() if row["status"] != "ok"}
    native, shipped = set(list_models()), set(on_demand.shipped())
    made = [row_of(measured[name], top1, native, shipped) for name in sorted(measured) if name not in failed]
    versions = ", ".join(f"{one.__name__} {one.__version__.partition('+')[0]}" for one in (timm, torchvision, torch))
    facts = ["Written by tools/make_catalogue.py; columns: ppdet_ext/choose/catalogue.py, class Row.",
             f"Networks, weights and licences: {versions}.",
             f"ImageNet top-1: timm's results/{RESULTS} at {args.revision}; torchvision's weights' own."]
    with atomic_path(args.file) as path:
        catalogue.write(path, made, facts)
    print(f"{args.file}: {len(made)} rows, {args.file.stat().st_size} bytes")
    if failed:
        raise UserError("not in the catalogue: " + "; ".join(f"{name} ({why})" for name, why in failed.items()))


if __name__ == "__main__":
    from ppdet_ext import cli
    cli.run(main)
