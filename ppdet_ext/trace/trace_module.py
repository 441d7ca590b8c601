# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One trace of a torch module: the tracer runs its forward, and once more as in training where that may differ."""
from __future__ import annotations

import contextlib
import traceback
from typing import Callable

import torch

from ..errors import UserError
from ..graph.graph import Graph
from .fx_to_graph import FxToGraph
from .tracer import Tracer
from .weightless import NeedsValues


def trace(name: str, model: torch.nn.Module, forward: Callable | None, shape: tuple[int, ...],
          add_features: Callable | None = None, build: Callable | None = None) -> Graph:
    """The Graph of what a module computes of a tensor of ``shape``, without values.

    Args:
        name: what messages call it.
        forward: a function of the module and the tensor that is run in place of its own forward; None for that.
        add_features: ``add_features(graph, tracer)`` fills in where the features are.
        build: ``build(real=True)`` makes the network with values, where a constant needs computing that lacks them.

    Raises:
        UserError: it cannot be followed; the line says where and why.
    """
    try:
        return _trace_once(name, model, forward, shape, add_features)
    except NeedsValues as error:
        if build is None:
            raise UserError(f"{name} cannot be traced: {error}") from None
        return _trace_once(name, build(real=True), forward, shape, add_features)


def _trace_once(name, model, forward, shape, add_features):
    tracer = Tracer(torch.empty(shape, device="meta"))
    with running(model, forward), _attributes_kept(model):
        fx_graph = _follow(tracer, model, name)
        recorded = FxToGraph(model, fx_graph).graph(name)
    with running(model, forward):
        if tracer.mode_branches:
            recorded.info["training_differs"] = _differs_in_training(model, name, shape, recorded, tracer)
    recorded.info["input_size"] = list(shape[1:])
    if add_features:
        add_features(recorded, tracer)
    return recorded


def _follow(tracer, model, name):
    try:
        return tracer.trace(model)
    except UserError as error:
        raise type(error)(f"{name} cannot be traced: {error}") from None
    except RecursionError:
        raise UserError(f"{name} cannot be traced: it calls itself without end") from None
    except NeedsValues:
        raise
    except Exception as error:
        raise UserError(f"{name} cannot be traced: {tracer.error(_one_line(error))}") from error


def _one_line(error):
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    place = f" at {'/'.join(frames[-1].filename.split('/')[-2:])}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{place}"


def _differs_in_training(model, name, shape, recorded, tracer):
    """Classes of modules whose ``if self.training`` leads to another graph; [] where both are the same."""
    try:
        with _attributes_kept(model):
            fx_graph = Tracer(torch.empty(shape, device="meta"), training=True).trace(model)
            other = FxToGraph(model, fx_graph).graph(name)
        same = [vars(node) for node in other.nodes if node.kind != "guard"] == [
            vars(node) for node in recorded.nodes if node.kind != "guard"]
    except Exception:  # what runs in evaluation only also differs
        same = False
    return [] if same else sorted(tracer.mode_branches)


class running:
    """While open, ``forward`` (a function of the model and the image) is what the model's class does when it is called.

    A changed class, not a wrapper around the model: module paths stay those of the checkpoint.
    """

    def __init__(self, model: torch.nn.Module, forward: Callable | None) -> None:
        self.model, self.forward, self.kind = model, forward, type(model)

    def __enter__(self) -> None:
        if self.forward is not None:
            self.model.__class__ = type(self.kind.__name__, (self.kind,), {"forward": self.forward,
                                                                           "__module__": self.kind.__module__})

    def __exit__(self, *_error: object) -> None:
        self.model.__class__ = self.kind


@contextlib.contextmanager
def _attributes_kept(model):
    """torch.fx hangs constants on the module, and some modules keep what they computed: afterwards all is as before."""
    tables = [vars(module) for module in model.modules()]
    tables += [table[key] for table in tables for key in ("_parameters", "_buffers")]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before):
            table.clear()
            table.update(entries)
