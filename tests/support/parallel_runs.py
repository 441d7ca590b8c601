# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Runs whose curves are compared: what has to be fixed for that, and how near they must be."""
import json

# What differs otherwise. By chance: augmentation, order of images, denoising noise. By rounding, which an untrained
# network enlarges: which of nearly equal queries are selected (here all are), and where the steps of TINY lead.
FIXED = ["seed=0", "TrainReader.sample_transforms=[Decode: {}]", "TrainReader.shuffle=false", "norm_type=sync_bn",
         "RTDETRTransformer.label_noise_ratio=0.", "RTDETRTransformer.box_noise_scale=0.",
         "RTDETRTransformer.num_queries=84", "LearningRate.base_lr=0.0001"]


def rows_of(folder):
    return json.loads((folder / "curves.json").read_text())


def compare_curves(rows, expected, tolerance=1e-4):
    """Every term of every epoch's loss within ``tolerance`` of the whole loss."""
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected):
        given, wanted = ({"loss": part["loss"], **part["losses"]} for part in (row, wanted))
        assert given.keys() == wanted.keys()
        assert max(abs(given[name] - wanted[name]) for name in given) <= tolerance * wanted["loss"], (given, wanted)
