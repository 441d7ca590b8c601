# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Networks with no more of a detector than alignment looks at: a backbone of two levels, the neck's projections."""
import itertools

import paddle
from paddle import nn

from ppdet_ext.swap.teacher import Teacher

SAME = ((0.0,) * 3, (1.0,) * 3)


class Backbone(nn.Layer):
    def __init__(self, width, stride=2):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2D(3, width, 3, stride=stride, padding=1), nn.BatchNorm2D(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2D(width, width, 3, stride=2, padding=1), nn.BatchNorm2D(width), nn.ReLU())

    def forward(self, inputs):
        fine = self.first(inputs["image"])
        return [fine, self.second(fine)]


class Neck(nn.Layer):
    def __init__(self, width, hidden, levels=2):
        super().__init__()
        self.hidden_dim = hidden
        self.input_proj = nn.LayerList([nn.Sequential(nn.Conv2D(width, hidden, 1, bias_attr=False),
                                                      nn.BatchNorm2D(hidden)) for _ in range(levels)])


class Net(nn.Layer):
    def __init__(self, width=6, hidden=4, stride=2, levels=2):
        super().__init__()
        self.backbone, self.neck = Backbone(width, stride), Neck(width, hidden, levels)
        self.head = nn.Linear(hidden, 2)


def teacher(seed=0, normalization=SAME, **settings):
    """A Teacher whose statistics are those of noise, and whose projections have outputs of unlike sizes."""
    paddle.seed(seed)
    net = Net(**settings)
    for number, projection in enumerate(net.neck.input_proj):
        projection[1].weight.set_value(paddle.linspace(0.2, 3.0, net.neck.hidden_dim))
        projection[1].bias.set_value(paddle.linspace(-1.0, 2.0, net.neck.hidden_dim) + number)
    net.eval()
    return Teacher(net, normalization, (16, 16))


def batches(of, seed=0, count=None):
    """Batches of noise with the teacher's features."""
    paddle.seed(seed)
    for _ in itertools.count() if count is None else range(count):
        image = paddle.randn([4, 3, 16, 16])
        yield image, of.features(image, SAME)
