# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One network through the bridge, held against its torch original: forward, gradients, statistics, export."""
from __future__ import annotations

import contextlib
import fnmatch
import time
from dataclasses import replace
from functools import partial

import numpy as np
import paddle
import timm
import torch
import torchvision

from ..backbones.traced import BridgedNet
from ..errors import UserError
from ..kernels import dispatch
from ..trace import from_torch
from ..trace.fx_nodes import AUGMENTATION
from ..weights.layout_rules import to_paddle
from ..weights.load_report import load_into
from ..weights.parity import relative_error

FORWARD, GRADIENT = 1e-4, 1e-3  # max|d|/max|ref| in float32
OPEN_SIZES = ((2, 96, 96), (2, 128, 64))  # where a network takes any size that its strides divide
FIXED_ONLY = "export with a fixed image size"  # how a layer says so
ROOMY = 320  # side of an image that networks take which refuse both sizes above and the one they were traced at
RESIZES_POSITIONS = "timm.layers.pos_embed"  # for a known size only
SMALLER = (256, 224, 192)  # sides of images that networks are built for which are made for larger ones
MAGNIFIED = 1e3  # times what one rounding of the image does to the original's gradients: a step rounds often
FILL_BUFFERS = ("_init_buffers", "reset_parameters")  # timm's names for what does
BOUND = 1.5  # of layers that clamp at buffers called *_min and *_max, without bounds until they are trained
TINY = 1e-2  # parameters that start below this are branches switched off, and would hide what is behind them


def names(filters=("*",), libraries=("timm", "torchvision")):
    """Sorted names of the installed timm's models and torchvision's classification models that match a pattern."""
    known = {"timm": timm.list_models,
             "torchvision": lambda: [f"torchvision/{n}" for n in torchvision.models.list_models(
                 module=torchvision.models)]}
    found = [name for library in libraries for name in known[library]()]
    return sorted(name for name in found if any(fnmatch.fnmatchcase(name, one) for one in filters))


def measure(name, reduce_above=50.0, trace_above=400.0):
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

    def __init__(self, name):
        self.values = dict(name=name, library="torchvision" if "/" in name else "timm", family=family(name),
                           parameters=0.0, trace_seconds=0.0, nodes=0, guards=[], sizes=[], depth="full", forward=[],
                           forward64=None, gradient=None, gradient64=None, statistics=None, export=None,
                           export_size="any", seconds=0.0, status="ok", reason="", note="", step="trace")
        self.name = name

    def fail(self, reason, status="failed"):
        self.values.update(status=status, reason="; ".join(filter(None, [self.values["reason"], reason])))

    def short(self, reason):
        self.fail(reason, "falls short")

    def run(self, reduce_above, trace_above):
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
        if not has_statistics(self.torch):
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


def traced(name, prepare=None, img_size=None):
    """A fresh Graph; ``prepare`` changes the torch network first, which is built for ``img_size``."""
    package, _, arch = name.rpartition("/")
    function = from_torch.trace_torchvision if package else from_torch.trace_timm
    return function(arch, img_size, prepare)


def count(graph):
    """Millions of values in parameters."""
    return sum(int(np.prod(shape)) for key, shape in graph.state.items() if key not in graph.buffers) / 1e6


def family(name):
    """The file that defines the network."""
    package, _, arch = name.rpartition("/")
    if package:
        return f"torchvision/{torchvision.models.get_model_builder(arch).__module__.rpartition('.')[2]}"
    return timm.models._registry.model_entrypoint(name).__module__.rpartition(".")[2]


def sizes(graph):
    """Batch, height and width of the two images to compare on; the traced one alone where guards bind the size."""
    height, width = graph.info["input_size"][1:]
    multiple = np.lcm.reduce([32, *(int(np.ceil(feature["reduction"])) for feature in graph.features)])
    multiple = multiple if multiple <= 128 else max(int(np.ceil(feature["reduction"])) for feature in graph.features)
    open_sizes = [(2, *(-(-side // multiple) * multiple for side in one[1:])) for one in OPEN_SIZES]
    if graph.info["fixed"]:
        return [(2, height, width)]
    return [(2, height, width), open_sizes[1]] if branches(graph) else open_sizes


def branches(graph):
    """Whether the graph holds for some image sizes only (assertions aside, which the sizes here fulfil)."""
    return any(node.kind == "guard" and node.args[2] for node in graph.nodes)


def reference(name, graph, image, prepare=None):
    """The torch network with random weights that hide nothing, in eval mode; it has seen ``image``."""
    torch.manual_seed(0)
    package, _, arch = name.rpartition("/")
    settings = {key: value for key, value in graph.info["settings"].items() if key != "drop_path_rate"}
    build = partial(torchvision.models.get_model, arch, weights=None) if package else partial(timm.create_model, arch)
    if prepare:
        net = with_values(prepare(from_torch.weightless(build, settings, name)))  # it is cut before it gets values
    else:
        net = build(**settings)
    for module in net.modules():
        if type(module).__name__ in ("StochasticDepth", "DropPath") or "Dropout" in type(module).__name__:
            setattr(module, "drop_prob" if hasattr(module, "drop_prob") else "p", 0.0)
        if getattr(module, "aug_active", False):
            module.aug_active = False
    stir(net)
    settle(net, image)
    with torch.no_grad():
        features_of(net.eval(), torch.tensor(image[:1]), graph)  # a size that it refuses is found here
    return net


def with_values(net):
    """Normal values, scaled to the number of inputs, for parameters and buffers without storage.

    Buffers whose module has a function that fills them get what that gives.
    """
    seen = {}
    for module in net.modules():
        for key, value in module._parameters.items():
            if value is not None and value.is_meta:
                if id(value) not in seen:
                    seen[id(value)] = torch.nn.Parameter(_random_like(value))
                module._parameters[key] = seen[id(value)]
        _fill_buffers(module)
    return net


def _random_like(value):
    return torch.randn(value.shape) * (value[0].numel() if value.ndim else 1) ** -0.5


def _fill_buffers(module):
    empty = {key: value for key, value in module._buffers.items() if value is not None and value.is_meta}
    for key, value in empty.items():
        constant = {"running_mean": 0.0, "running_var": 1.0}.get(key, None if value.is_floating_point() else 0)
        module._buffers[key] = _random_like(value) if constant is None else torch.full(value.shape, constant,
                                                                                       dtype=value.dtype)
    if empty and not isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
        for name in FILL_BUFFERS:
            if hasattr(module, name):
                getattr(module, name)()
                return


def has_statistics(net):
    return any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
               for module in net.modules())


def stir(net):
    """Random values in place of ones, zeros and branches that start switched off."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim <= 1 or parameter.numel() == max(parameter.shape):
                small = parameter.abs().max() < TINY
                parameter.add_(noise * 0.1) if not small else parameter.copy_(0.1 + noise * 0.1)
            elif parameter.abs().max() < 1e-4:
                parameter.copy_(noise * 0.02)
        for name, buffer in net.named_buffers():
            if name.endswith(("_min", "_max")):
                buffer.fill_(BOUND if name.endswith("_max") else -BOUND)


def settle(net, image):
    """Half random, half measured BatchNorm statistics: values stay in the range of a trained network."""
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
             and module.running_mean is not None]
    if not norms:
        return
    for norm in norms:
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.5
    with torch.no_grad():
        net.train()(torch.tensor(image))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def copy_of(graph, theirs, dtype="float32"):
    """The graph's network with the torch network's weights, in eval mode."""
    nodes = [replace(node, args=node.args[:1], kwargs={}) if node.target == AUGMENTATION else node
             for node in graph.nodes]
    ours = BridgedNet(replace(graph, nodes=nodes), features_only=True)
    if dtype != "float32":
        ours._to_impl(dtype=dtype, floating_only=True)  # Layer.to would make floats of integer constants
    tensors = {key: value.detach().numpy() for key, value in theirs.state_dict().items()}
    load_into(ours, to_paddle(tensors, ours), unused=ours.unused_prefixes)
    for layer in ours.sublayers():
        if "Dropout" in type(layer).__name__ and hasattr(layer, "p"):
            layer.p = 0.0  # chance cannot be compared
    ours.eval()
    return ours


def picture(size):
    batch, height, width = size
    return np.random.RandomState(0).randn(batch, 3, height, width).astype("float32")


def compare(ours, theirs, image, graph):
    """The worst max|d|/max|ref| over the stages."""
    image = image.astype(dtype_of(theirs))
    with torch.no_grad():
        wanted = features_of(theirs, torch.tensor(image), graph)
    with paddle.no_grad():
        found = ours(paddle.to_tensor(image))
    assert len(found) == len(wanted)
    return max(relative_error(one.numpy(), other.numpy()) for one, other in zip(found, wanted))


def dtype_of(net):
    return str(next(net.parameters()).dtype).rpartition(".")[2]


def features_of(net, image, graph):
    """The torch network's own features; torchvision's are read off by hooks at the modules that the graph names."""
    if hasattr(net, "forward_intermediates"):
        return list(net.forward_intermediates(image, intermediates_only=True))
    found, modules = {}, dict(net.named_modules())
    paths = [feature["module"] for feature in graph.features]
    hooks = [modules[path].register_forward_hook(lambda _m, _i, out, path=path: found.__setitem__(path, out.clone()))
             for path in paths]
    net(image)
    for hook in hooks:
        hook.remove()
    return [as_map(found[feature["module"]], feature["num_chs"]) for feature in graph.features]


def as_map(feature, channels):
    """[B, C, H, W] from what torchvision's transformers give: [B, H, W, C], or [B, 1 + H*W, C] of a square image."""
    if feature.ndim == 3:
        side = int((feature.shape[1] - 1) ** 0.5)
        return feature[:, 1:].transpose(1, 2).reshape(feature.shape[0], channels, side, side)
    return feature if feature.shape[1] == channels else feature.permute(0, 3, 1, 2)


def train_step(ours, theirs, image, graph, training=True):
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


def torch_step(net, image, graph, training=True):
    """({name: gradient}, weights of the features in the loss) of a step of the torch network, then in eval mode."""
    net.train(training)
    features = features_of(net, torch.tensor(image), graph)
    weights = [np.random.RandomState(i).randn(*one.shape).astype(image.dtype) for i, one in enumerate(features)]
    net.zero_grad()
    sum((one * torch.tensor(weight)).mean() for one, weight in zip(features, weights)).backward()
    net.eval()
    return {key: value.grad.numpy().copy() for key, value in net.named_parameters(remove_duplicate=False)
            if value.grad is not None}, weights


def worst_gradient(found, wanted, dtype):
    """Gradients that are nothing but rounding (a bias before a BatchNorm) are measured by a floor; inf: one lacks."""
    floor = (1e-4 if dtype == "float32" else 1e-8) * max(abs(value).max() for value in wanted.values())
    if set(found) != set(wanted):
        return float("inf")
    return max(float(abs(found[key] - value).max() / max(abs(value).max(), floor)) for key, value in wanted.items())


class Statistics:
    """BatchNorm statistics of a torch network before a step, and what Paddle's should be after it.

    torch averages in the unbiased variance of n values, Paddle the biased one: (n - 1) / n of the step.
    """

    def __init__(self, net):
        self.norms = {path: module for path, module in net.named_modules()
                      if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_var is not None
                      and module.momentum}
        self.before = {path: (norm.running_mean.clone(), norm.running_var.clone())
                       for path, norm in self.norms.items()}
        self.counts = {}
        self.hooks = [norm.register_forward_hook(partial(self._count, path)) for path, norm in self.norms.items()]

    def _count(self, path, _module, args, _output):
        self.counts[path] = args[0].numel() // args[0].shape[1]

    def errors(self, ours):
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

    def restore(self):
        for hook in self.hooks:
            hook.remove()
        for path, (mean, variance) in self.before.items():
            self.norms[path].running_mean.copy_(mean)
            self.norms[path].running_var.copy_(variance)


def export_error(ours, size, image):
    """Features of the translated program, made for any batch (and any image size), against the layer's own.

    Both run the same kernels, so that a network that magnifies rounding is no excuse.
    """
    ours.eval()
    vars(ours).pop("forward", None)  # of a translation before
    with paddle.no_grad(), dispatch.left_to_paddle():
        wanted = [feature.numpy() for feature in ours(paddle.to_tensor(image))]
        spec = [paddle.static.InputSpec([None, 3, *size], "float32", "image")]
        program = paddle.jit.to_static(ours, input_spec=spec, full_graph=True)
        found = program(paddle.to_tensor(image))
    return max(relative_error(one.numpy(), other) for one, other in zip(found, wanted))


def shorten(net):
    """Cut runs of equal blocks to two: every kind of block stays, the depth goes."""
    for module in list(net.modules()):
        if isinstance(module, (torch.nn.Sequential, torch.nn.ModuleList)):
            kept = _kept(list(module.children()))
            if len(kept) < len(module):
                for index in reversed(range(len(module))):
                    if index not in kept:
                        del module[index]
    return net


def _kept(blocks):
    """Indices of blocks that are not the third or a later one of a run that is alike in class and shapes."""
    def kind(block):
        return type(block), tuple((key, tuple(value.shape)) for key, value in block.state_dict().items())
    kinds = [kind(block) for block in blocks]
    return [index for index in range(len(blocks))
            if index < 2 or not kinds[index][1] or not kinds[index] == kinds[index - 1] == kinds[index - 2]]
