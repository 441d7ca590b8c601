# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights in several files, and the JSON index beside them that says which tensor lies where."""
from __future__ import annotations

import re
from pathlib import Path, PurePath

from ..errors import UserError, printable
from .json_file import read_json

SUFFIX = ".index.json"  # model.safetensors.index.json, pytorch_model.bin.index.json
KINDS = (".safetensors", ".bin")
NUMBERED = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")  # model-00001-of-00002.safetensors


def files(path: str | Path) -> dict[Path, list[str]]:
    """{file: the names of its tensors} of the index ``path``; all of them are there.

    Raises:
        UserError: it is no index, it names a file outside its folder, or one is missing.
    """
    table = read_json(path).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise UserError(f"'{path}' is no index of weights: it has no weight_map of names and files")
    found: dict[Path, list[str]] = {}
    for tensor, name in table.items():
        if name != PurePath(name).name or "\\" in name or not name.endswith(KINDS):
            raise UserError(f"'{path}' names {printable(name)}, which is no weight file of its own folder")
        found.setdefault(Path(path).parent / name, []).append(tensor)
    missing = [file.name for file in found if not file.is_file()]
    if missing:
        raise UserError(f"'{path}' names {len(found)} files, of which {len(missing)} are not there: get "
                        f"{printable(', '.join(missing[:3]))} and put it beside the index")
    return found


def require_whole(path: Path) -> None:
    """Raise UserError for one file of several: it holds a part of a network."""
    found = NUMBERED.fullmatch(path.name)
    if found and int(found.group(3)) > 1:
        index = path.with_name(f"{found.group(1)}{found.group(4)}{SUFFIX}")
        known = f"give '{index}'" if index.is_file() else f"give their index, {index.name}, with all files beside it"
        raise UserError(f"'{path}' is one of {int(found.group(3))} files of one network; {known}")
