# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Data-parallel training and evaluation that give what one process with all the images gives.

the ledger and the Trainer put these parts in the place of ppdet's.
"""
import numpy as np
import paddle
from paddle.io import BatchSampler
from ppdet.engine.callbacks import Callback
from ppdet.metrics import Metric
from ppdet.utils.stats import TrainingStats

from ..distributed import processes

# gradients travel in pieces of this many numbers
PIECE = 16 * 2**20


def average_gradients(parameters, _=None):
    """Average the gradients over the processes, in place; all call, between backward and the optimizer's step.

    Which parameters have a gradient may differ: a process whose batch has no boxes has none for the denoising labels.
    It counts as zero there, and a parameter that no process has used stays without one. (Paddle's
    ``fused_allreduce_gradients``, whose place and signature this takes, sends what there is, and the processes wait
    for ever or mix up parameters. Its ``DataParallel`` with ``find_unused_parameters`` can do it, but sends while
    backward runs, whose order then differs among the processes: with ``sync_bn`` they can block each other.)

    Args:
        parameters: the model's, in the same order everywhere.
    """
    trainable = [parameter for parameter in parameters if not parameter.stop_gradient]
    used = processes.total(paddle.to_tensor([int(parameter.grad is not None) for parameter in trainable])).numpy()
    for piece in _pieces([parameter for parameter, users in zip(trainable, used) if users]):
        _average(piece)


def _pieces(parameters):
    """The parameters in lists of up to ``PIECE`` numbers (a larger one is alone)."""
    piece, size = [], 0
    for parameter in parameters:
        if piece and size + parameter.size > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(parameter)
        size += parameter.size
    if piece:
        yield piece


@paddle.no_grad()
def _average(parameters):
    """In float32, which every backend can send."""
    own = [paddle.zeros(p.shape) if p.grad is None else p.grad.astype("float32") for p in parameters]
    mean = processes.total(paddle.concat([gradient.reshape([-1]) for gradient in own])) / processes.count()
    for parameter, value in zip(parameters, paddle.split(mean, [parameter.size for parameter in parameters])):
        value = value.reshape(parameter.shape).astype(parameter.dtype)
        if parameter.grad is None:
            parameter.grad = value
        else:
            parameter.grad.set_value(value.astype(parameter.grad.dtype))


class MeanStats(TrainingStats):
    """Losses averaged over the processes, so that the curve is the whole batch's."""

    def update(self, stats):
        own = paddle.stack([value.detach().astype("float32").reshape([]) for value in stats.values()])
        super().update(dict(zip(stats, processes.total(own) / processes.count())))


class WholeBatch(Callback):
    """Puts MeanStats in the place of ppdet's statistics, which are one process's own; steps start together."""

    def on_train_begin(self, status):
        status["training_staus"] = MeanStats(self.model.cfg.log_iter)

    def on_step_begin(self, status):
        if status["mode"] == "train":  # reading data can take one process long
            processes.meet()


class Share(BatchSampler):
    """This process's part of an evaluation's batches: whole ones, each in one process, none added to fill up."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return (batch for number, batch in enumerate(self.batches)
                if number % processes.count() == processes.rank())

    def __len__(self):
        return len(range(processes.rank(), len(self.batches), processes.count()))


class Gathered(Metric):
    """Metrics of all processes: each keeps what its batches gave, and the main one feeds all of it to ``metrics`` in
    the order that one process has (of ``Share``).

    Args:
        metrics: ppdet's metrics; ``get_results`` is the first one's, on every process.
        status: the trainer's; its sample_num becomes that of all processes.
    """

    def __init__(self, metrics, status):
        self.metrics = metrics
        self.status = status
        self.reset()

    def reset(self):
        self.seen, self.results = [], {}
        for metric in self.metrics:
            metric.reset()

    def update(self, inputs, outputs):
        inputs = {key: _as_numpy(value) for key, value in inputs.items() if key != "image"}
        self.seen.append((inputs, {key: _as_numpy(value) for key, value in outputs.items()}))

    def accumulate(self):
        parts = processes.gather(self.seen)
        self.status["sample_num"] = sum(len(inputs["im_id"]) for part in parts for inputs, _ in part)
        if processes.is_main():
            self._score(parts)
        self.results = processes.gather(self.results)[0]

    def _score(self, parts):
        for step in range(max(map(len, parts))):
            for part in parts:
                for metric in self.metrics if step < len(part) else ():
                    metric.update(*part[step])
        for metric in self.metrics:
            metric.accumulate()
        self.results = self.metrics[0].get_results() or {}

    def log(self):
        for metric in self.metrics if processes.is_main() else ():
            metric.log()

    def get_results(self):
        return self.results


def _as_numpy(value):
    if isinstance(value, (list, tuple)):
        return [_as_numpy(item) for item in value]
    return np.asarray(value)
