# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights, images and targets that depend on nothing but names and shapes.

Filled with these, PaddleDetection's develop branch (commit 666f597, Paddle 3.3.1, CPU) gave the outputs that stand in
tests/data: whoever is filled with them can be compared, without any checkpoint.
"""
import zlib

import numpy as np


def golden_array(name, shape):
    """float32 array for one parameter or buffer, from its name and shape alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("_variance"):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if name.endswith("_mean"):
        return (0.1 * rng.standard_normal(shape)).astype("float32")
    if name.endswith("bias") and ("enc_output" in name or "score_head" in name):
        # a low prior and no offset before it, as in training: border anchors, whose memory is zero, are never selected
        return np.full(shape, -4.0 if "score_head" in name else 0.0, "float32")
    if len(shape) <= 1:
        base = 1.0 if name.endswith("weight") else 0.0
        return (base + 0.1 * rng.standard_normal(shape)).astype("float32")
    # convolutions are [out, in, kh, kw]; linear and embedding weights are [in, out]
    fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else int(shape[0])
    return (rng.standard_normal(shape) * (1.0 / np.sqrt(fan_in))).astype("float32")


def golden_state(state):
    """{name: array} for a state dict's names and shapes; integer buffers are left out."""
    return {k: golden_array(k, tuple(v.shape)) for k, v in state.items() if "float" in str(v.dtype)}


def golden_image(height, width, batch=1):
    """[batch, 3, height, width] float32 in [0, 1]: smooth structure plus a little noise."""
    y, x = np.mgrid[0:height, 0:width].astype("float32")
    planes = [np.sin(x / 17 + c) * np.cos(y / (11 + 3 * c)) for c in range(3)]
    noise = np.random.default_rng(7).standard_normal((batch, 3, height, width)) * 0.05
    return np.clip(0.5 + 0.4 * np.stack(planes)[None] + noise, 0, 1).astype("float32")


def golden_targets(num_classes, batch):
    """Ground truth per image: boxes as cx, cy, w, h in [0, 1] (float32) and classes (int32, shape [n, 1])."""
    rng = np.random.default_rng(11)
    boxes, classes = [], []
    for n in [5, 1, 9, 3][:batch]:
        centre, size = rng.uniform(0.25, 0.75, (n, 2)), rng.uniform(0.05, 0.4, (n, 2))
        boxes.append(np.concatenate([centre, size], 1).astype("float32"))
        classes.append(rng.integers(0, num_classes, (n, 1)).astype("int32"))
    return boxes, classes
