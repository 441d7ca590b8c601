# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The files below a data set's folder, listed once; which words in their names mean a split."""
from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..data.reading import LIST_ENCODING
from ..deploy.image_formats import IMAGE_SUFFIXES
from ..errors import UserError
from ..limits import limit, refuse

# a word in the name of a file or folder -> the split that it means
SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
               "test": "test", "testing": "test", "trainval": "trainval"}
IGNORED = ("__MACOSX",)
# folders that hold annotations beside those of the pictures
ANNOTATION_FOLDERS = ("annotations", "labels")


class Tree:
    """All files below ``root``, hidden ones left out; paths are texts relative to it, with '/' between.

    Attributes:
        files: sorted.
    Raises:
        UserError: there are more files than PPDET_EXT_MAX_FILES.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.files = sorted(self._walk())

    def _walk(self):
        most, left, seen = limit("FILES"), [""], set()
        found = []
        while left:
            folder = left.pop()
            real = os.path.realpath(self.root / folder)
            if real in seen:  # a link to a folder that is here already
                continue
            seen.add(real)
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in IGNORED:
                        continue
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir():
                        left.append(path)
                    elif entry.is_file():  # neither pipes nor devices
                        found.append(path)
            if len(found) > most:
                refuse("FILES", f"'{self.root}' holds more than {most} files")
        return found

    def of(self, *suffixes: str) -> list[str]:
        """Files whose names end so, whatever the case."""
        return [path for path in self.files if path.lower().endswith(suffixes)]

    @cached_property
    def pictures(self) -> list[str]:
        """Files that are named as pictures."""
        return self.of(*IMAGE_SUFFIXES)

    @cached_property
    def names(self) -> frozenset[str]:
        """All files, to look one up."""
        return frozenset(self.files)

    @cached_property
    def picture_folders(self) -> list[str]:
        """Folders with pictures, and those above them; '' is the root."""
        found = {""}
        for folder in {os.path.dirname(path) for path in self.pictures}:
            found.update(str(part) for part in (PurePosixPath(folder), *PurePosixPath(folder).parents))
        return sorted(found - {"."})

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """{name of a picture without its folder: where there are pictures of that name}."""
        found: dict[str, list[str]] = {}
        for path in self.pictures:
            found.setdefault(path.rpartition("/")[2], []).append(path)
        return found

    def path(self, relative: str) -> Path:
        """The whole path of a file."""
        return self.root / relative

    def inside(self, folder: str, name: str) -> str | None:
        """``folder/name`` relative to the root; None where that leads out of it."""
        found = os.path.normpath(os.path.join(self.root, folder, name.replace("\\", "/")))
        relative = os.path.relpath(found, self.root).replace(os.sep, "/")
        return None if relative == ".." or relative.startswith("../") or os.path.isabs(relative) else relative


def words(text: str) -> list[str]:
    """'instances_train2017' -> ['instances', 'train']."""
    return re.findall(r"[a-z]+", text.lower())


def split_of(name: str) -> str | None:
    """The split that a file's or a folder's name means: 'train', 'val', 'test', 'trainval' or None."""
    return next((SPLIT_WORDS[word] for word in words(name) if word in SPLIT_WORDS), None)


def split_of_path(path: str) -> str | None:
    """The split that the folders of a relative path mean, the nearest to the file first."""
    folders = path.split("/")[:-1]
    return next((SPLIT_WORDS[name.lower()] for name in reversed(folders) if name.lower() in SPLIT_WORDS), None)


def read_lines(path: Path, where: str, limit_name: str = "LABEL_BYTES") -> list[str]:
    """Lines of a text file.

    Raises:
        UserError: it is not UTF-8, or see :func:`read_bytes`.
    """
    try:
        return read_bytes(path, where, limit_name).decode(LIST_ENCODING).splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{where}: cannot read '{path}' (not UTF-8 text)") from None


def read_bytes(path: Path, where: str, limit_name: str = "LABEL_BYTES") -> bytes:
    """A file's bytes.

    Raises:
        UserError: it cannot be read, is no regular file, or is larger than PPDET_EXT_MAX_<limit_name>.
    """
    most = limit(limit_name)
    try:
        if not os.path.isfile(path):  # a pipe would wait for ever
            raise OSError(errno.EINVAL, "there is no such file")
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{where}: cannot read '{path}' ({error.strerror})") from None
    if len(content) > most:
        refuse(limit_name, f"{where}: '{path}' has more than {most} bytes")
    return content


def shown(items: Iterable[object], most: int = 5) -> str:
    """The first of some names, with commas."""
    found = [str(item) for item in items]
    return ", ".join(found[:most]) + (f", ... ({len(found)})" if len(found) > most else "")
