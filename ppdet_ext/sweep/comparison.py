# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A bridged network against its torch original: features, a training step, the exported program."""
from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import paddle
import torch

from ..backbones.traced import TracedNet
from ..graph.graph import Graph
from ..trace.fx_nodes import AUGMENTATION
from ..weights.layout_rules import to_paddle
from ..weights.load_report import load_into
from ..weights.parity import relative_error
from .originals import batch_norms, dtype_of, features_of


def copy_of(graph: Graph, theirs: torch.nn.Module, dtype: str = "float32") -> TracedNet:
    """The graph's network with the torch network's weights, in eval mode."""
    nodes = [replace(node, args=node.args[:1], kwargs={}) if node.target == AUGMENTATION else node
             for node in graph.nodes]
    ours = TracedNet(replace(graph, nodes=nodes), features_only=True)
    if dtype != "float32":
        # Layer.to would make floats of integer constants
        ours._to_impl(dtype=dtype, floating_only=True)  # type: ignore[arg-type]  # a name is one
    tensors = {key: value.detach().numpy() for key, value in theirs.state_dict().items()}
    load_into(ours, to_paddle(tensors, ours), unused=ours.unused_prefixes)
    for layer in ours.sublayers():
        if "Dropout" in type(layer).__name__ and hasattr(layer, "p"):
            layer.p = 0.0  # chance cannot be compared
    ours.eval()
    return ours


def compare(ours: TracedNet, theirs: torch.nn.Module, image: np.ndarray, graph: Graph) -> float:
    """The worst max|d|/max|ref| over the stages."""
    image = image.astype(dtype_of(theirs))
    with torch.no_grad():
        wanted = features_of(theirs, torch.tensor(image), graph)
    with paddle.no_grad():
        found = ours(paddle.to_tensor(image))
    if len(found) != len(wanted):
        raise ValueError(f"{len(found)} features, not the original's {len(wanted)}")
    return max(relative_error(one.numpy(), other.numpy()) for one, other in zip(found, wanted))


def train_step(ours: TracedNet, theirs: torch.nn.Module, image: np.ndarray, graph: Graph,
               training: bool = True) -> tuple[float, float | None]:
    """(worst gradient, worst BatchNorm statistic) of one step in training mode, relative to each tensor's largest."""
    dtype = dtype_of(theirs)
    ours.train() if training else ours.eval()
    expected = Statistics(theirs)
    wanted, weights = torch_step(theirs, image.astype(dtype), graph, training)
    found = ours(paddle.to_tensor(image.astype(dtype)))
    sum((one * paddle.to_tensor(weight)).mean() for one, weight in zip(found, weights)).backward()
    gradients = {key: value.grad.numpy() for key, value in ours.named_parameters() if value.grad is not None}
    names = {key for key, _ in ours.named_parameters()}  # a tied one has several in torch
    wanted = {key: value for key, value in to_paddle(wanted, ours).items() if key in names}
    worst = worst_gradient(gradients, wanted, dtype)
    statistics = expected.errors(ours) if training else {}
    expected.restore()
    return worst, max(statistics.values(), default=None)


def torch_step(net: torch.nn.Module, image: np.ndarray, graph: Graph,
               training: bool = True) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """({name: gradient}, weights of the features in the loss) of a step of the torch network, then in eval mode."""
    net.train(training)
    features = features_of(net, torch.tensor(image), graph)
    weights = [np.random.RandomState(i).randn(*one.shape).astype(image.dtype) for i, one in enumerate(features)]
    net.zero_grad()
    torch.stack([(one * torch.tensor(weight)).mean() for one, weight in zip(features, weights)]).sum().backward()
    net.eval()
    return {key: value.grad.numpy().copy() for key, value in net.named_parameters(remove_duplicate=False)
            if value.grad is not None}, weights


def worst_gradient(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], dtype: str) -> float:
    """Gradients that are nothing but rounding (a bias before a BatchNorm) are measured by a floor; inf: one lacks."""
    floor = (1e-4 if dtype == "float32" else 1e-8) * max(abs(value).max() for value in wanted.values())
    if set(found) != set(wanted):
        return float("inf")
    return max(float(abs(found[key] - value).max() / max(abs(value).max(), floor)) for key, value in wanted.items())


class Statistics:
    """BatchNorm statistics of a torch network before a step, and what Paddle's should be after it.

    torch averages in the unbiased variance of n values, Paddle the biased one: (n - 1) / n of the step.
    """

    def __init__(self, net: torch.nn.Module):
        self.norms = {path: norm for path, norm in batch_norms(net).items() if norm.momentum}
        self.before = {path: (norm.running_mean.clone(), norm.running_var.clone())
                       for path, norm in self.norms.items()}
        self.counts: dict[str, int] = {}
        self.hooks = [norm.register_forward_hook(partial(self._count, path)) for path, norm in self.norms.items()]

    def _count(self, path, _module, args, _output):
        self.counts[path] = args[0].numel() // args[0].shape[1]

    def errors(self, ours: TracedNet) -> dict[str, float]:
        """{name of a statistic: max|d|/max|ref|} after the step."""
        state, errors = ours.state_dict(), {}
        for path, count in self.counts.items():
            norm, momentum = self.norms[path], self.norms[path].momentum
            kept = (1 - momentum) * self.before[path][1]
            variance = kept + (norm.running_var - kept) * (count - 1) / count
            for suffix, wanted in (("_mean", norm.running_mean), ("_variance", variance)):
                key = f"{path}.{suffix}"
                if key in state:
                    errors[key] = relative_error(state[key].numpy(), wanted.numpy())
        return errors

    def restore(self) -> None:
        """The torch network's statistics as they were before the step."""
        for hook in self.hooks:
            hook.remove()
        for path, (mean, variance) in self.before.items():
            self.norms[path].running_mean.copy_(mean)
            self.norms[path].running_var.copy_(variance)
