# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A network whose detections are known beforehand, exported, and pictures for it: cheap tests of deployment."""
import numpy as np
import paddle
import yaml

from ppdet_ext.deploy import media
from ppdet_ext.engine import export

from .known_onnx import SETTINGS, SHARES, SIDE, boxes_of


class Known(paddle.nn.Layer):
    """One detection per channel: its mean is the score, SHARES of the picture the box."""

    def __init__(self):
        super().__init__()
        self.shares = self.create_parameter([4], default_initializer=paddle.nn.initializer.Assign(SHARES))

    def score(self, mean):
        return mean

    def forward(self, inputs):
        score = self.score(inputs["image"].mean([2, 3]))
        label = paddle.zeros_like(score) + paddle.arange(3, dtype="float32")
        size = paddle.floor(inputs["im_shape"] / inputs["scale_factor"] + 0.5).flip(1).tile([1, 2])
        boxes = (size * self.shares).unsqueeze(1).tile([1, 3, 1])
        found = paddle.concat([paddle.stack([label, score], -1), boxes], -1)
        return {"bbox": found.reshape([-1, 6]), "bbox_num": paddle.full_like(score[:, 0], 3, dtype="int32")}


def save(folder, shape=(SIDE, SIDE), network=Known, **settings):
    """Export the known network for inputs of ``shape`` (-1: free) to a new ``folder``; returns it."""
    folder.mkdir()
    export._save(network(), list(shape), folder / "model")
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump({**SETTINGS, **settings}))
    return folder


def paint(folder):
    """a.png 60x40, b.png 33x57, broken.jpg, c.png 60x40 (height x width): flat red, green, blue of a known share."""
    colours = {"a": ((60, 40), (230, 0, 0)), "b": ((33, 57), (0, 204, 51)), "c": ((60, 40), (0, 0, 255))}
    for name, (size, colour) in colours.items():
        media.write_image(folder / f"{name}.png", np.full((*size, 3), colour, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def expected(path):
    """The known network's detections on one of these pictures."""
    return boxes_of(media.read_image(path))
