# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From what a training script saved to the flat state of one network: wrappers, prefixes and other parts taken off."""
from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, printable
from .readers import NO_QUANTISED

# where training scripts put the state_dict in what they save, best first; a dot goes one level deeper
WRAPPERS = ("state_dict_ema", "model_ema", "ema.module", "ema_state_dict", "ema", "shadow", "state_dict",
            "model_state_dict", "model_state", "model", "module", "net", "params")
# what wrapping a module puts before every name; no network calls its own parts so
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "_checkpoint_wrapped_module.")
# what a network is called inside something larger (a detector, a training loop, a pair of student and teacher); taken
# off only where the names after it are those of the network that the weights are for
PARTS = (*PREFIXES, "model.", "backbone.", "encoder.", "conv_encoder.", "body.", "net.", "network.", "student.",
         "teacher.", "ema.", "ema_model.", "model_ema.", "encoder_q.", "encoder_k.", "target_encoder.", "base_encoder.",
         "momentum_encoder.", "visual.", "trunk.", "timm_model.", "base_model.", "feature_extractor.")
# last parts of names that only quantised layers have: torch.ao, GPTQ and AWQ, bitsandbytes
QUANTISED = ("_packed_params", "zero_point", "qweight", "qzeros", "absmax", "quant_map", "quant_state")
SHOWN = 20  # groups of names in a message
RIVAL = 0.5  # a part that fits at least this well, beside the best one, leaves the choice to the user

logger = logging.getLogger(__name__)


def unwrap(content: Any, path: str | Path = "", names: Collection[str] | None = None,
           part: str = "") -> dict[str, np.ndarray]:
    """The flat ``{name: array}`` in whatever a training script saved around it; a log line says what was left out.

    Args:
        content: what a reader gave.
        path: what messages call it.
        names: the names of the network that the weights are for (``layout_rules.known_names``). With them a network
            inside something larger (``PARTS``) is found; without, only ``PREFIXES`` are taken off.
        part: the one part wanted, with all that precedes its names, such as 'teacher.backbone.'; '' finds it.

    Raises:
        UserError: no tensors are found, the network is in it more than once, or its weights are quantised.
    """
    state = _part(content, part, path) if part else _state_dict(content, path)
    if not state:
        raise UserError(f"'{path}' holds no tensors under any of {', '.join(WRAPPERS)}; is it a weight file?")
    _refuse_quantised(state, path)
    state = _peel(state, path)
    prefix = "" if names is None or part else _find_part(state, names, path)
    if prefix:
        taken = _strip(state, prefix)
        logger.info("'%s': the %d tensors under '%s' are taken, the other %d are not", path, len(taken), prefix,
                    len(state) - len(taken))
        state = taken
    return _full_precision(state, path)


def groups(names: Iterable[str]) -> str:
    """What the names begin with, counted, as text: ``backbone. (98), neck. (12)``."""
    counts = Counter(name.partition(".")[0] + ("." if "." in name else "") for name in names)
    shown = [f"{printable(first)} ({count})" for first, count in counts.most_common(SHOWN)]
    return ", ".join(shown + ["..."] * (len(counts) > SHOWN))


def _state_dict(content, path):
    """The tensors in the best wrapper, or one level down under the names of their dictionaries."""
    content = _mapping(content)
    while True:
        inside = {key: found for key in WRAPPERS for found in [_descend(content, key)] if _everything(found)}
        if not inside:
            break
        best = next(iter(inside))
        others = [key for key in inside if not f"{best}.".startswith(f"{key}.")]
        if others:
            logger.info("'%s' holds %s; %s is taken", path, " and ".join([best, *others]), best)
        content = inside[best]
    return _direct(content) or _everything(content, depth=1)


def _mapping(content):
    """``content`` with pairs of a name and an array (``list(state.items())``) as the dictionary that they are of."""
    if isinstance(content, dict):
        return {key: _mapping(value) if key in WRAPPERS else value for key, value in content.items()}
    pairs = isinstance(content, list) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(
        pair[0], str) and isinstance(pair[1], np.ndarray) for pair in content)
    return dict(content) if pairs else content


def _everything(content, depth=4, before=""):
    """All arrays in nested dictionaries, their names joined by dots; only so deep."""
    if not isinstance(content, dict):
        return {}
    found = {f"{before}{key}": value for key, value in content.items() if isinstance(value, np.ndarray)}
    for key, value in content.items() if depth else ():
        found.update(_everything(value, depth - 1, f"{before}{key}."))
    return found


def _direct(content):
    """The arrays directly in ``content``."""
    return _everything(content, depth=0)


def _part(content, part, path):
    """The tensors after ``part``, counted from the file's top or from its state_dict."""
    part, state = part.rstrip(".") + ".", _state_dict(content, path)
    found = _strip(_everything(content), part) or _strip(state, part)
    if not found:
        raise UserError(f"'{path}' has no names that begin with '{part}'; it holds {groups(state)}")
    return found


def _strip(state, prefix):
    return {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}


def _peel(state, path):
    """``state`` without the PREFIXES that every name carries."""
    taken = ""
    while True:
        prefix = next((p for p in PREFIXES if all(name.startswith(taken + p) for name in state)), "")
        if not prefix:
            break
        taken += prefix
    if taken:
        logger.info("'%s': every name begins with '%s'; it is taken off", path, taken)
    return _strip(state, taken)


def _find_part(state, names, path):
    """The prefix after which the network's ``names`` come; '' where the tensors are the network's, or not known.

    Raises:
        UserError: they come after several.
    """
    fits = Counter()
    for name in state:
        for prefix in _prefixes(name):
            fits[prefix] += name[len(prefix):] in names
    best = max(fits.values(), default=0)
    rivals = [prefix for prefix, count in fits.items() if count and count >= RIVAL * best]
    if not rivals or "" in rivals:
        return ""
    if len(rivals) > 1:
        found = ", ".join(f"{prefix} ({fits[prefix]} names)" for prefix in rivals)
        raise UserError(f"'{path}' holds this network more than once: {found}; choose one (convert it with "
                        f"tools/convert_weights.py backbone --part {rivals[0]})")
    return rivals[0]


def _prefixes(name):
    """'' and each beginning of ``name`` that is made of PARTS."""
    prefix = ""
    while prefix is not None:
        yield prefix
        prefix = next((prefix + part for part in PARTS if name.startswith(part, len(prefix))), None)


def _refuse_quantised(state, path):
    for name, value in state.items():
        leaf = name.rpartition(".")[2]
        if leaf in QUANTISED or (leaf == "weight" and value.dtype in (np.int8, np.uint8)):
            raise UserError(f"'{path}' holds '{name}' ({value.dtype}): {NO_QUANTISED}")


def _full_precision(state, path):
    """``state`` with float16 widened to the float32 that training wants; said so, also of what readers widened."""
    half = [name for name, value in state.items() if value.dtype == np.float16]
    if half:
        logger.info("'%s': %d tensors are float16; widened to float32, exactly", path, len(half))
    elif _was_bfloat16(state.values()):
        logger.info("'%s': its numbers are bfloat16; widened to float32, exactly", path)
    return {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in state.items()}


def _was_bfloat16(arrays):
    """Whether every float32 is a bfloat16 (readers widen them, as numpy has no such type) and they are not trivial."""
    floats = [value for value in arrays if value.dtype == np.float32 and value.size]
    bits = (np.ascontiguousarray(value).view(np.uint32) for value in floats)
    return any(np.ptp(value) for value in floats) and not any((value & 0xFFFF).any() for value in bits)


def _descend(content, dotted):
    for key in dotted.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else None
