# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""File suffix -> reader: one small function for each format, and the table that joins them."""
from __future__ import annotations

import hashlib
import importlib
import math
import os
import re
from pathlib import Path
from typing import Any, Callable

import numpy as np
from safetensors import safe_open

from ..errors import UserError, printable
from ..files import sha256
from ..limits import TooMuch, limit, refuse, tensor_bytes
from . import safe_pickle, shards, torch_file
from .mapped import map_file
from .safe_pickle import AllowListUnpickler, Forbidden

# safetensors' type names; numpy lacks bfloat16, and what is not here is quantised (8 bits and fewer) or complex
SAFETENSORS_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "BOOL": np.bool_,
}

# what paddle.save writes: containers and numpy arrays
PADDLE_ALLOWED = {
    "collections.OrderedDict": safe_pickle.mapping,
    "builtins.tuple": safe_pickle.flat_tuple,
    "__builtin__.tuple": safe_pickle.flat_tuple,
    **safe_pickle.NUMPY,
}
NO_QUANTISED = "quantised weights cannot be used for training; give the float32 or float16 file"
WEIGHTS_ALONE = ("open it with the program that wrote it and save the weights alone: torch.save(model.state_dict(), "
                 "'weights.pth')")
# what files begin with that are not what their name says -> what they are
BEGINNINGS = {
    b"version https://git-lfs": "Git LFS's pointer to the file, not the file (git lfs pull gets it)",
    b"<": "a web page, not weights: a server sent it in their place (a login, a quota)",
    b"{": "JSON text, not weights",
    b"": "empty",
}
SAFE_TORCH = (2, 6)  # before, weights_only=True could be tricked into running code: CVE-2025-32434


def need(module: str, why: str) -> Any:
    """Import ``module`` or say which command brings it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        target = '"ppdet-ext[torch]"' if module in ("torch", "timm", "torchvision") else module
        raise UserError(f"{why} needs {module}, which is not installed: pip install {target}") from None


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a .safetensors file, as views of it; bfloat16 comes as float32.

    safetensors reads and checks the table. Its own arrays would be copies, so ours are laid over the mapped file: the
    numbers come after the table, in its order and without gaps.
    """
    with open(path, "rb") as file:
        content = map_file(file)
        _require_short_table(content)
    with safe_open(path, framework="numpy") as table:
        parts = {name: table.get_slice(name) for name in table.offset_keys()}
        for name, part in parts.items():
            if part.get_dtype() not in SAFETENSORS_TYPES:
                raise UserError(f"'{path}' holds '{printable(name)}' as {part.get_dtype()}: {NO_QUANTISED}")
        types = {name: np.dtype(SAFETENSORS_TYPES[part.get_dtype()]) for name, part in parts.items()}
        sizes = {name: types[name].itemsize * math.prod(part.get_shape()) for name, part in parts.items()}
        numbers, found = content[len(content) - sum(sizes.values()):], {}
        for name, part in parts.items():
            array, numbers = numbers[:sizes[name]], numbers[sizes[name]:]
            array = array.view(types[name]).reshape(part.get_shape())
            found[name] = torch_file.widen_bfloat16(array) if part.get_dtype() == "BF16" else array
    return found


def _require_short_table(content):
    """Raise TooMuch where the table (JSON after its length, 8 bytes) has more values than a file may have."""
    length = min(int.from_bytes(content[:8].tobytes(), "little"), len(content) - 8)
    marks = sum(int(np.count_nonzero(content[8 + start:8 + min(start + (1 << 20), length)] == ord(mark)))
                for start in range(0, length, 1 << 20) for mark in ",:")
    if marks > limit("VALUES"):
        refuse("VALUES", f"its table has more than {limit('VALUES')} values")


def read_torch(path: str | Path) -> Any:
    """A torch.save file as nested containers of arrays: without torch where it can be, else through it.

    Of a network that was saved whole the tensors are taken; none of its classes is called.
    """
    try:
        return torch_file.read(path)
    except torch_file.Program:
        raise UserError(f"'{path}' is a TorchScript program, not weights: tools/convert_weights.py onnx {path} -o "
                        f"FOLDER converts it whole; or {WEIGHTS_ALONE}") from None
    except Forbidden as error:
        torch = need("torch", f"'{path}' cannot be read without torch ({error}; a .safetensors file can): it")
        _require_safe(torch, path)
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch may fail in any way, and its text names settings that would let the file run code
            raise UserError(f"'{path}' is refused: {error}, and what a file calls could do anything; where you trust "
                            f"it, {WEIGHTS_ALONE}") from None
        return safe_pickle.unfold(loaded, lambda value: hasattr(value, "detach"), lambda value: _numpy(value, path),
                                  tensor_bytes(os.path.getsize(path)), list)


def _require_safe(torch, path):
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version < SAFE_TORCH:
        raise UserError(f"'{path}' would have to be read by torch {torch.__version__}, in which a file can run code "
                        "(CVE-2025-32434): pip install 'torch>=2.6', or give a .safetensors file")


def read_paddle(path: str | Path) -> dict[str, Any]:
    """A .pdparams file as ``paddle.save`` writes it. It is a pickle too, so paddle.load does not see it here."""
    with open(path, "rb") as file:
        saved = safe_pickle.with_arrays(AllowListUnpickler(file, PADDLE_ALLOWED).load(),
                                        tensor_bytes(os.path.getsize(path)))
    # protocols below 4 cut arrays of more than 1 GiB into pieces
    for name, info in saved.pop("UnpackBigParamInfor@@", {}).items():
        saved[name] = np.concatenate([saved.pop(part) for part in info["slices"]]).reshape(info["OriginShape"])
    return {name: _paddle_array(value) for name, value in saved.items()}


def _paddle_array(value):
    """Tensors saved outside a state_dict are (name, array); bfloat16 lies in uint16, a type Paddle itself lacks."""
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    return torch_file.widen_bfloat16(value) if getattr(value, "dtype", None) == np.uint16 else value


def read_shards(path: str | Path) -> dict[str, Any]:
    """All tensors of an index (model.safetensors.index.json), from the files beside it that it names."""
    found: dict[str, Any] = {}
    for file, names in shards.files(path).items():
        content = read_file(file)[0]
        lacking = [name for name in names if name not in content]
        if lacking:
            raise UserError(f"'{path}' says that {printable(lacking[0])} is in '{file.name}', which does not hold it; "
                            "the files are of different networks: get them again")
        found.update((name, content[name]) for name in names)
    return found


# suffix -> (reader, whose layout and names the tensors are in)
READERS = {
    shards.SUFFIX: (read_shards, "torch"),
    ".safetensors": (read_safetensors, "torch"),
    ".pth": (read_torch, "torch"),
    ".pt": (read_torch, "torch"),
    ".bin": (read_torch, "torch"),
    ".ckpt": (read_torch, "torch"),
    ".pth.tar": (read_torch, "torch"),
    ".pdparams": (read_paddle, "paddle"),
    ".pdema": (read_paddle, "paddle"),
}


def reader_for(path: str | Path) -> tuple[Callable[[str | Path], Any], str]:
    """The row of ``READERS`` for this file name.

    Raises:
        UserError: no reader knows the suffix.
    """
    for suffix, row in READERS.items():
        if str(path).endswith(suffix):
            return row
    raise UserError(f"'{path}' has none of the known weight suffixes ({', '.join(READERS)})")


def read_file(path: str | Path) -> tuple[Any, str]:
    """``(content, 'torch'|'paddle')`` of a weight file.

    Raises:
        UserError: unknown suffix, damaged file, a file that holds code or costs too much (``limits``), quantised
            weights, torch needed and missing.
    """
    reader, framework = reader_for(path)
    try:
        return reader(path), framework
    except TooMuch as error:
        raise TooMuch(f"'{path}': {error}") from None
    except UserError:
        raise
    except Exception as error:  # a damaged file can make a parser fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        size = Path(path).stat().st_size
        other = _beginning(path)
        if other:
            raise UserError(f"cannot read '{path}' ({size} bytes): it is {other}; delete it and get it again") from None
        raise UserError(f"cannot read '{path}' ({size} bytes) as {Path(path).suffix}: {reason}; it is truncated, "
                        "of another format, or not to be trusted: delete it and get it again") from error


def _beginning(path):
    """What a file is that cannot be read, by its first bytes; '' where they tell nothing."""
    with open(path, "rb") as file:
        start = file.read(64).lstrip()
    return next((what for mark, what in BEGINNINGS.items() if (start.startswith(mark) if mark else not start)), "")


def digest(path: str | Path) -> str:
    """sha256 of a weight file; of an index one over those of its files."""
    if not str(path).endswith(shards.SUFFIX):
        return sha256(path)
    parts = [Path(path), *shards.files(path)]
    return hashlib.sha256("".join(map(sha256, parts)).encode()).hexdigest()


def _numpy(tensor, path):
    """A torch tensor as a numpy array (bfloat16 as float32)."""
    tensor = tensor.detach()
    try:
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).cpu().numpy()
    except TypeError:  # a type that numpy does not have, none of which is made for training
        raise UserError(f"'{path}' holds a {tensor.dtype} tensor: {NO_QUANTISED}") from None
