#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the processes of a data-parallel training send in one step, counted from the model; and how long that takes.

The times are reckoned: a ring's, 2 * (N - 1) / N of the gradients through the slowest link, nothing at the same time.
"""
import argparse
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
CONFIGS = ("configs/rtdetr/rtdetr_r18vd_6x_coco.yml", "configs/rtdetr/rtdetr_r50vd_6x_coco.yml")
LINKS = {"1 Gbit/s": 1, "10 Gbit/s": 10, "25 Gbit/s": 25, "100 Gbit/s": 100, "400 Gbit/s": 400}
BYTES = 4  # gradients travel as float32
SIZES = (8, 64)


def count(config):
    """A config's trainable numbers and tensors, pieces of a step, and what sync_bn sends: (layers, numbers)."""
    from paddle import nn
    from ppdet.core.workspace import create

    from ppdet_ext.config import config_file
    from ppdet_ext.distributed import gradients
    from ppdet_ext.registry.weights_wanted import without_pretrained

    cfg = config_file.load(REPO / config)
    with without_pretrained():
        model = create(cfg["architecture"])
    trainable = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
    norms = [layer for layer in nn.SyncBatchNorm.convert_sync_batchnorm(model).sublayers()
             if isinstance(layer, nn.SyncBatchNorm)]
    return {"numbers": sum(parameter.size for parameter in trainable), "tensors": len(trainable),
            "pieces": [sum(parameter.size for parameter in piece) for piece in gradients._pieces(trainable)],
            "norms": len(norms), "channels": sum(layer._num_features for layer in norms)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--configs", nargs="*", default=CONFIGS)
    args = parser.parse_args()
    import ppdet_ext

    ppdet_ext.setup()
    for config in args.configs:
        found = count(config)
        size = found["numbers"] * BYTES
        pieces = ", ".join(f"{piece * BYTES / 1e6:.1f}" for piece in found["pieces"])
        print(f"\n{Path(config).stem}: {found['numbers']:,} trainable numbers in {found['tensors']} tensors: "
              f"{size / 1e6:.1f} MB a step in {len(found['pieces'])} pieces ({pieces} MB)")
        print(f"sync_bn: {found['norms']} layers, {found['channels']:,} channels: {2 * found['norms']} messages, "
              f"{found['channels'] * 4 * BYTES / 1e6:.2f} MB")
        print("| link | " + " | ".join(f"{number} processes, ms" for number in SIZES) + " |")
        print("|---" * (len(SIZES) + 1) + "|")
        for name, gigabits in LINKS.items():
            times = [2 * (number - 1) / number * size * 8 / (gigabits * 1e9) * 1e3 for number in SIZES]
            print(f"| {name} | " + " | ".join(f"{time:.0f}" for time in times) + " |")


if __name__ == "__main__":
    main()
