# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""File suffix -> reader: one small function for each format, and the table that joins them."""
import collections
import importlib
import json
import re
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import numpy_pickle, torch_file
from .mapped import map_file
from .unpickle import AllowListUnpickler, Forbidden

# safetensors' type names; what is not here is quantised (8 bits and fewer) or complex
SAFETENSORS_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "BOOL": np.bool_,
}

# what paddle.save writes: containers and numpy arrays
PADDLE_ALLOWED = {
    "collections.OrderedDict": collections.OrderedDict,
    "builtins.tuple": tuple,
    "__builtin__.tuple": tuple,
    **numpy_pickle.ALLOWED,
}
NO_QUANTISED = "quantised weights cannot be used for training; give the float32 or float16 file"
SAFE_TORCH = (2, 6)  # before, weights_only=True could be tricked into running code: CVE-2025-32434


def need(module, why):
    """Import ``module`` or say which command brings it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        target = '"ppdet-ext[torch]"' if module in ("torch", "timm", "torchvision") else module
        raise UserError(f"{why} needs {module}, which is not installed: pip install {target}") from None


def read_safetensors(path):
    """All tensors of a .safetensors file, as views of it; bfloat16 comes as float32.

    Format: the README of huggingface/safetensors. A length, a JSON table and the numbers, without gaps.
    """
    with open(path, "rb") as file:
        content = map_file(file)
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    if begin > len(content):
        raise ValueError("its table reaches past its end")
    table, data = json.loads(content[8:begin].tobytes()), content[begin:]
    table.pop("__metadata__", None)
    if sum(stop - start for start, stop in (entry["data_offsets"] for entry in table.values())) != len(data):
        raise ValueError("its table is for another number of bytes")
    return {name: _safetensor(path, name, data, **entry) for name, entry in table.items()}


def _safetensor(path, name, data, dtype, shape, data_offsets):
    if dtype not in SAFETENSORS_TYPES:
        raise UserError(f"'{path}' holds '{name}' as {dtype}: {NO_QUANTISED}")
    start, stop = data_offsets
    if not 0 <= start <= stop <= len(data):
        raise ValueError(f"'{name}' reaches past its end")
    array = data[start:stop].view(SAFETENSORS_TYPES[dtype]).reshape(shape)
    return torch_file.widen_bfloat16(array) if dtype == "BF16" else array


def read_torch(path):
    """A torch.save file as nested containers of arrays: without torch where it holds only tensors, else through it."""
    try:
        return torch_file.read(path)
    except Forbidden as error:
        torch = need("torch", f"'{path}' cannot be read without torch ({error}; a .safetensors file can): it")
        _require_safe(torch, path)
        return _numpy(torch.load(path, map_location="cpu", weights_only=True), path)


def _require_safe(torch, path):
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version < SAFE_TORCH:
        raise UserError(f"'{path}' would have to be read by torch {torch.__version__}, in which a file can run code "
                        "(CVE-2025-32434): pip install 'torch>=2.6', or give a .safetensors file")


def read_paddle(path):
    """A .pdparams file as ``paddle.save`` writes it. It is a pickle too, so paddle.load does not see it here."""
    with open(path, "rb") as file:
        saved = numpy_pickle.real(AllowListUnpickler(file, PADDLE_ALLOWED).load())
    # protocols below 4 cut arrays of more than 1 GiB into pieces
    for name, info in saved.pop("UnpackBigParamInfor@@", {}).items():
        saved[name] = np.concatenate([saved.pop(part) for part in info["slices"]]).reshape(info["OriginShape"])
    return {name: _paddle_array(value) for name, value in saved.items()}


def _paddle_array(value):
    """Tensors saved outside a state_dict are (name, array); bfloat16 lies in uint16, a type Paddle itself lacks."""
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    return torch_file.widen_bfloat16(value) if getattr(value, "dtype", None) == np.uint16 else value


# suffix -> (reader, whose layout and names the tensors are in)
READERS = {
    ".safetensors": (read_safetensors, "torch"),
    ".pth": (read_torch, "torch"),
    ".pt": (read_torch, "torch"),
    ".bin": (read_torch, "torch"),
    ".pth.tar": (read_torch, "torch"),
    ".pdparams": (read_paddle, "paddle"),
    ".pdema": (read_paddle, "paddle"),
}


def reader_for(path):
    """The row of ``READERS`` for this file name.

    Raises:
        UserError: no reader knows the suffix.
    """
    for suffix, row in READERS.items():
        if str(path).endswith(suffix):
            return row
    raise UserError(f"'{path}' has none of the known weight suffixes ({', '.join(READERS)})")


def read_file(path):
    """``(content, 'torch'|'paddle')`` of a weight file.

    Raises:
        UserError: unknown suffix, damaged file, a file that holds code, quantised weights, torch needed and missing.
    """
    reader, framework = reader_for(path)
    try:
        return reader(path), framework
    except UserError:
        raise
    except Exception as error:  # a damaged file can make a parser fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        size = Path(path).stat().st_size
        raise UserError(f"cannot read '{path}' ({size} bytes) as {Path(path).suffix}: {reason}; it is truncated, "
                        "of another format, or not to be trusted: delete it and get it again") from error


def _numpy(value, path):
    """torch tensors in nested containers -> numpy arrays (bfloat16 as float32)."""
    if hasattr(value, "detach"):
        value = value.detach()
        try:
            return (value.float() if str(value.dtype) == "torch.bfloat16" else value).cpu().numpy()
        except TypeError:  # a type that numpy does not have, none of which is made for training
            raise UserError(f"'{path}' holds a {value.dtype} tensor: {NO_QUANTISED}") from None
    if isinstance(value, dict):
        return {key: _numpy(item, path) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numpy(item, path) for item in value]
    return value
