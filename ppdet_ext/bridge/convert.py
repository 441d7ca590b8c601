# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A checkpoint made into a .pdparams file with its metadata, and the proof that both networks compute the same."""
import dataclasses

import numpy as np
import paddle

from ..errors import UserError
from . import meta, parity
from .load import Converted, save
from .readers import need
from .rules import rename_table, to_torch
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
    meta.require_free(output)


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
    return converted.load(layer, allow=allow), converted


def write(report, converted, output):
    """Write what ``convert`` gave: the weights that fitted as ``output`` (.pdparams), and their metadata beside it."""
    check_output(output)
    save({name: converted.tensors[name] for name in report.matched}, converted.info, output)


def summary(report, output):
    """What a person wants to know of a conversion, as text."""
    info = report.meta
    rows = (("source", info["source"]), ("sha256", info["sha256"]), ("keys", report.counts()),
            ("normalisation", normalisation(info)),
            ("licence", info["license"]), ("written", f"{output} and {meta.sidecar(output)}"))
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
    names = layer.feature_info.module_name() if hasattr(layer, "feature_info") else []
    layer.eval()
    with paddle.no_grad(), torch.no_grad():
        ours = features(layer, dict(layer.named_sublayers()), "register_forward_post_hook", names,
                        paddle.to_tensor(image))
        theirs = features(reference, dict(reference.named_modules()), "register_forward_hook", names,
                          torch.from_numpy(image))
    return parity.compare_stages(ours, theirs)


def features(model, modules, register, names, image):
    """``{name: array}`` of what the modules ``names`` and the model itself (as 'output') give on ``image``."""
    found = {}

    def keeper(name):
        def keep(_module, _inputs, output):
            found[name] = parity.as_array(output).copy()  # what follows may work in place
        return keep
    lacking = [name for name in names if name not in modules]
    if lacking:
        raise UserError(f"{type(model).__name__} has no {', '.join(lacking)}: features cannot be compared by name")
    hooks = [getattr(modules[name], register)(keeper(name)) for name in names]
    output = parity.as_array(model(image))
    for hook in hooks:
        hook.remove()
    return {**{name: found[name] for name in names}, "output": output}


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
