# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One network through the bridge, held against its torch original: a row of the sweep's table."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np
import torch

from .. import kernels
from ..errors import UserError
from ..graph.graph import Graph
from ..trace import from_torch
from ..verify.exported_program import export_error
from ..weights.layout_rules import to_paddle
from .comparison import compare, copy_of, torch_step, train_step, worst_gradient
from .originals import batch_norms, family, picture, reference, shorten

FORWARD, GRADIENT = 1e-4, 1e-3  # max|d|/max|ref| in float32
OPEN_SIZES = ((2, 96, 96), (2, 128, 64))  # where a network takes any size that its strides divide
FIXED_ONLY = "export with a fixed image size"  # how a layer says so
ROOMY = 320  # side of an image that networks take which refuse both sizes above and the one they were traced at
RESIZES_POSITIONS = "timm.layers.pos_embed"  # for a known size only
SMALLER = (256, 224, 192)  # sides of images that networks are built for which are made for larger ones
MAGNIFIED = 1e3  # times what one rounding of the image does to the original's gradients: a step rounds often


@kernels.enabled()
def measure(name: str, reduce_above: float = 50.0, trace_above: float = 400.0) -> dict:
    """A row of the sweep's table.

    Args:
        reduce_above: millions of parameters above which equal blocks in a row are cut to two of them.
        trace_above: millions, after the cut, above which nothing but the trace is done.

    Returns:
        dict, see ``Row`` for its keys.
    """
    row, start = Row(name), time.perf_counter()
    try:
        row.run(reduce_above, trace_above)
    except UserError as error:
        row.fail(str(error))
    except Exception as error:  # whatever a network of 1,400 may do: a row that says so
        row.fail(f"{row.values['step']}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    row.values["seconds"] = round(time.perf_counter() - start, 2)
    return row.values


class Row:
    """Measures one network; ``values`` is the table's row."""

    def __init__(self, name: str):
        self.values: dict = dict(name=name, library="torchvision" if "/" in name else "timm", family=family(name),
                           parameters=0.0, trace_seconds=0.0, nodes=0, guards=[], sizes=[], depth="full", forward=[],
                           forward64=None, gradient=None, gradient64=None, statistics=None, export=None,
                           export_size="any", seconds=0.0, status="ok", reason="", note="", step="trace")
        self.name = name

    def fail(self, reason: str, status: str = "failed") -> None:
        """The row says why the network failed."""
        self.values.update(status=status, reason="; ".join(filter(None, [self.values["reason"], reason])))

    def short(self, reason: str) -> None:
        """The row says in what the network falls short."""
        self.fail(reason, "falls short")

    def run(self, reduce_above: float, trace_above: float) -> None:
        """All steps, see ``measure``."""
        self._trace_full()
        reduced = self.values["parameters"] > reduce_above and self._reduce()
        if count(self.graph) > trace_above:
            self.values["depth"] = "trace only"
            return
        self.values["step"] = "build"
        self.torch, self.inputs = self._original(shorten if reduced else None)
        self.values["sizes"] = ["x".join(map(str, one.shape[2:])) for one in self.inputs]
        for step in ("forward", "gradient", "export"):
            self.values["step"] = step
            getattr(self, f"_{step}")()

    def _trace_full(self):
        start = time.perf_counter()
        self.graph = traced(self.name)
        self.values.update(trace_seconds=round(time.perf_counter() - start, 3), nodes=len(self.graph.nodes),
                           guards=self.graph.guards(), parameters=round(count(self.graph), 3))
        if self.graph.info.get("training_differs"):
            self.short(f"computes something else in training: {', '.join(self.graph.info['training_differs'])}")

    def _reduce(self):
        """Take the network at reduced depth, where it works like that (concatenating blocks do not)."""
        try:
            self.graph = traced(self.name, shorten)
        except UserError:
            return False
        self.values["depth"] = "reduced"
        return True

    def _make_smaller(self, prepare):
        """Build it for a smaller image, where it has that setting."""
        for side in SMALLER:
            with contextlib.suppress(UserError):
                self.graph = traced(self.name, prepare, side)
                return

    def _original(self, prepare):
        """The torch network and the pictures for it; of the traced size where it takes no other."""
        if max(sizes(self.graph)[0][1:]) > SMALLER[0]:
            self._make_smaller(prepare)
        with contextlib.suppress(AssertionError, RuntimeError):
            return self._original_at(sizes(self.graph)[0], prepare)
        if max(self.graph.info["input_size"][1:]) > SMALLER[0]:
            self._make_smaller(prepare)
        with contextlib.suppress(AssertionError, RuntimeError):
            return self._original_at((2, *self.graph.info["input_size"][1:]), prepare)
        return self._original_at((2, ROOMY, ROOMY), prepare)

    def _original_at(self, first, prepare):
        pictures = [picture(size) for size in (first, *sizes(self.graph)[1:])]
        return reference(self.name, self.graph, pictures[0], prepare), pictures

    def _forward(self):
        self.ours = self._copy()
        for image in list(self.inputs):
            try:
                self.values["forward"].append(compare(self.ours, self.torch, image, self.graph))
            except (UserError, AssertionError, RuntimeError, ValueError):
                if not self.values["forward"]:
                    raise
                self.values["sizes"].pop()  # a guard, or the original itself: it holds at the first size only
                self.inputs.pop()
        if max(self.values["forward"]) > FORWARD:
            self.values["forward64"] = self._compare64()
            self.torch.float()
            if self.values["forward64"] > FORWARD:
                self.short(f"forward {max(self.values['forward']):.1e}, in float64 {self.values['forward64']:.1e}")

    def _compare64(self):
        ours = self._copy("float64")
        return compare(ours, self.torch.double(), self.inputs[0], self.graph)

    def _gradient(self):
        """In float32; in float64 where BatchNorm and kinks magnify rounding, or float32 exceeds the tolerance."""
        if not batch_norms(self.torch):
            self.values["gradient"], _ = train_step(self.ours, self.torch, self.inputs[0], self.graph)
            if self.values["gradient"] <= GRADIENT:
                return
        ours, theirs = self._copy("float64"), self.torch.double()
        found = train_step(ours, theirs, self.inputs[0], self.graph)
        self.values["gradient64"], self.values["statistics"] = found
        self.torch.float()
        if max(value or 0.0 for value in found) > GRADIENT and not self._is_rounding(found):
            self.short(f"in float64: gradient {found[0]:.1e}, statistics {found[1]}")

    def _is_rounding(self, found):
        """Whether torch's own gradients change as much when its image does by rounding; then it is measured calmly.

        Random weights and batch statistics of few pixels can magnify rounding beyond any precision. With the running
        statistics in their place nothing is magnified, and what is compared is the same network.
        """
        theirs, image = self.torch.double(), self.inputs[0].astype("float64")
        one, other = (torch_step(theirs, image * factor, self.graph)[0] for factor in (1.0, 1.0 + 1e-15))
        moved = worst_gradient(to_paddle(one, self.ours), to_paddle(other, self.ours), "float64")
        calm, _ = train_step(self._copy("float64"), theirs, self.inputs[0], self.graph, training=False)
        self.torch.float()
        if found[0] > MAGNIFIED * moved or max(calm, found[1] or 0.0) > GRADIENT:
            return False
        self.values.update(gradient64=calm, note=f"gradient with running statistics; with those of the batch "
                           f"{found[0]:.0e}, where the original's own moves by {moved:.0e} if its image does by 1e-15")
        return True

    def _export(self):
        fixed = branches(self.graph) or len(self.inputs) == 1 or any(
            node.target.startswith(RESIZES_POSITIONS) for node in self.graph.nodes)
        try:
            self._export_at(fixed)
        except Exception as error:  # what Paddle makes of a UserError while it translates
            if fixed or FIXED_ONLY not in str(error):
                raise
            self._export_at(True)
        if self.values["export"] > FORWARD:
            self.short(f"export {self.values['export']:.1e}")

    def _export_at(self, fixed):
        size = self.inputs[0].shape[2:] if fixed else (None, None)
        image = self.inputs[0] if fixed else self.inputs[-1]
        self.values["export"] = export_error(self.ours, size, image)
        self.values["export_size"] = "x".join(map(str, size)) if fixed else "any"

    def _copy(self, dtype="float32"):
        return copy_of(self.graph, self.torch, dtype)


def traced(name: str, prepare: Callable[[torch.nn.Module], torch.nn.Module] | None = None,
           img_size: int | None = None) -> Graph:
    """A fresh Graph; ``prepare`` changes the torch network first, which is built for ``img_size``."""
    package, _, arch = name.rpartition("/")
    function = from_torch.trace_torchvision if package else from_torch.trace_timm
    return function(arch, img_size, prepare)


def count(graph: Graph) -> float:
    """Millions of values in parameters."""
    return sum(int(np.prod(shape)) for key, shape in graph.state.items() if key not in graph.buffers) / 1e6


def sizes(graph: Graph) -> list[tuple[int, ...]]:
    """Batch, height and width of the two images to compare on; the traced one alone where guards bind the size."""
    height, width = graph.info["input_size"][1:]
    multiple = np.lcm.reduce([32, *(int(np.ceil(feature["reduction"])) for feature in graph.features)])
    multiple = multiple if multiple <= 128 else max(int(np.ceil(feature["reduction"])) for feature in graph.features)
    open_sizes = [(batch, *(-(-side // multiple) * multiple for side in sides)) for batch, *sides in OPEN_SIZES]
    if graph.info["fixed"]:
        return [(2, height, width)]
    return [(2, height, width), open_sizes[1]] if branches(graph) else open_sizes


def branches(graph: Graph) -> bool:
    """Whether the graph holds for some image sizes only (assertions aside, which the sizes here fulfil)."""
    return any(node.kind == "guard" and node.args[2] for node in graph.nodes)
