# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A checkpoint made into a .pdparams file with its metadata, and the proof that both networks compute the same."""
import dataclasses

import numpy as np
import paddle

from ..errors import UserError
from . import metadata, parity
from .layout_rules import classes_of, classifiers, rename_table, to_torch
from .pretrained_weights import Converted, save
from .readers import need
from .source import locate_spec

# source library -> how it builds an untrained network of one of its names
TORCH_BUILDERS = {
    "timm": lambda lib, arch, classes: lib.create_model(arch, pretrained=False, num_classes=classes),
    "torchvision": lambda lib, arch, classes: lib.models.get_model(
        arch.rpartition("/")[2], weights=None, num_classes=classes),
}


def check_output(output):
    """Raise UserError where ``write`` could not or should not write ``output``; good to know before a download."""
    if not str(output).endswith(".pdparams"):
        raise UserError(f"the output '{output}' should end in .pdparams")
    metadata.require_free(output)


def convert(layer, cfg, spec, allow=(), rename="", part=""):
    """Convert the checkpoint ``spec`` for ``layer``, which is left filled with it; nothing is written yet.

    ``part`` as in ``source.unwrap``.

    Returns:
        ``(LoadReport, Converted)``, for ``verify`` and ``write``.

    Raises:
        UserError: the checkpoint cannot be had or read, or does not fit.
    """
    if rename:
        rename_table(rename)
    location = dataclasses.replace(locate_spec(spec, cfg=cfg), part=part)
    converted = Converted(layer, cfg, location, rename, use_cache=False)
    _check_classes(layer, cfg, converted, allow)
    return converted.load(layer, allow=allow), converted


def _check_classes(layer, cfg, converted, allow):
    """Raise UserError for a classifier of another size, unless some pattern was allowed: then loading decides."""
    given, wanted = classes_of(converted.tensors, layer), getattr(layer, "num_classes", None)
    if not allow and wanted and given not in (None, wanted):
        heads = " ".join(f"'{path}.*'" for path in classifiers(layer))
        raise UserError(f"{converted.location.source}: its classifier is for {given} classes, {cfg.arch}'s for "
                        f"{wanted}; --num-classes {given} keeps it, --allow {heads} leaves it out")


def write(report, converted, output):
    """Write what ``convert`` gave: the weights that fitted as ``output`` (.pdparams), and their metadata beside it."""
    check_output(output)
    save({name: converted.tensors[name] for name in report.matched}, converted.info, output)


def summary(report, output):
    """What a person wants to know of a conversion, as text."""
    info = report.meta
    rows = (("source", info["source"]), ("sha256", info["sha256"]), ("keys", report.counts()),
            ("normalisation", normalisation(info)),
            ("licence", info["license"]), ("written", f"{output} and {metadata.sidecar(output)}"))
    details = str(report).splitlines()[1:]
    return "\n".join([*(f"{name + ':':15}{value}" for name, value in rows), *details])


def normalisation(info):
    """mean, std and interpolation of weights' metadata, as text."""
    return (f"mean {_short(info.get('mean'))} std {_short(info.get('std'))}, "
            f"{info.get('interpolation', 'unknown')} resize")


def verify(layer, cfg, converted, build=None, seed=0):
    """Compare ``layer`` with the source library's own network on the same weights and one random image.

    The features of every stage (``layer.feature_info``) and the output, in eval mode. ``build(library)`` makes the
    library's network; None builds the one of ``cfg.arch``.

    Returns:
        list of parity.StageParity.

    Raises:
        UserError: torch or the source library is missing, or its network does not take the weights.
    """
    torch = need("torch", "--verify")
    library = getattr(cfg, "source", None) or "timm"
    if build is None:
        classes = getattr(layer, "num_classes", cfg.num_classes)
        reference = TORCH_BUILDERS[library](need(library, "--verify"), cfg.arch, classes).eval()
    else:
        reference = build(need(library, "--verify")).eval()
    _load_torch(torch, reference, converted, layer)
    image = np.random.RandomState(seed).randn(1, *cfg.input_size).astype(np.float32)
    layer.eval()
    with paddle.no_grad(), torch.no_grad():
        ours = layer_outputs(layer, paddle.to_tensor(image))
        theirs = torch_outputs(reference, layer.feature_info, torch.from_numpy(image))
    return parity.compare_stages(ours, theirs)


def layer_outputs(layer, image):
    """``{name: array}``: the features by the source's module names, and of a network with a head the 'output'."""
    output = layer(image)
    if isinstance(output, (list, tuple)):
        return _named(layer.feature_info, output)
    return {**_named(layer.feature_info, layer.forward_intermediates(image)), "output": parity.as_array(output)}


def torch_outputs(model, info, image):
    """The same of the torch network; ``info`` is the layer's feature_info."""
    if hasattr(model, "forward_intermediates"):
        indices = list(info.out_indices)
        found = _named(info, model.forward_intermediates(image, indices=indices, intermediates_only=True))
        return {**found, "output": parity.as_array(model(image))}
    modules = dict(model.named_modules())
    lacking = [name for name in info.module_name() if name not in modules]
    if not lacking:
        return _hooked(model, modules, info, image)
    output = model(image)
    if isinstance(output, (list, tuple)):  # timm's features_only, whose modules have names of their own
        return _named(info, output)
    raise UserError(f"{type(model).__name__} has no {', '.join(lacking)}: features cannot be compared by name")


def _named(info, features):
    return dict(zip(info.module_name(), map(parity.as_array, features)))


def _hooked(model, modules, info, image):
    found = {}

    def keeper(name):
        def keep(_module, _inputs, output):
            found[name] = parity.as_array(output).copy()  # what follows may work in place
        return keep
    hooks = [modules[name].register_forward_hook(keeper(name)) for name in info.module_name()]
    output = model(image)
    for hook in hooks:
        hook.remove()
    found = {name: found[name] for name in info.module_name()}
    return found if isinstance(output, (list, tuple)) else {**found, "output": parity.as_array(output)}


def _load_torch(torch, model, converted, layer):
    """Strict loading of the source's own tensors; only num_batches_tracked may be absent."""
    tensors = converted.source_tensors or to_torch(converted.tensors, layer)
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    result = model.load_state_dict(tensors, strict=False)
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise UserError(f"the torch model lacks {missing[:3]} and does not know {result.unexpected_keys[:3]} of these "
                        "weights; --verify wants a checkpoint that fits as it is")


def _short(values):
    return "unknown" if values is None else "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
