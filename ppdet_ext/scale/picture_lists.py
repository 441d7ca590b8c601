# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures of a batch job, cut into shards: a folder at any depth, a list of paths, or parquet with paths or bytes."""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..deploy.image_formats import IMAGE_SUFFIXES
from ..errors import UserError, nearest, printable
from ..limits import limit, refuse

#: names of parquet columns, the first that is there; and of the column that names pictures which are given as bytes
COLUMNS = ("image", "bytes", "path", "file_name", "image_path")
NAMES = ("file_name", "path", "name", "image_path")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Shard:
    """Pictures that one worker does at a time, and whose results are one file.

    Attributes:
        number: from 0.
        ids, names: of its pictures, in order; a name is what the results call it.
        paths: where they lie; None for one without a path. Empty where they are in a parquet file:
        parquet, groups, column: that file, its row groups, the column of bytes (or of Hugging Face's bytes and path).
    """

    number: int
    ids: list[int]
    names: list[str]
    paths: list[str | None]
    parquet: str = ""
    groups: list[int] = field(default_factory=list)
    column: str = ""

    def to_text(self) -> str:
        """As JSON in ASCII: a name may hold bytes that are no UTF-8, which Arrow would not take."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Shard:
        """What ``to_text`` wrote."""
        return cls(**json.loads(text))


def find(source: str | Path, column: str | None = None, skip: Path | None = None, tell: Tell = print) -> Pictures:
    """The pictures of ``--input``.

    Args:
        source: a folder, a parquet file or a folder of them, or a text file with a path in each line.
        column: of parquet; None: the first of COLUMNS that is there.
        skip: a folder in ``source`` that is left out, as the results go there.
        tell: is given a line about what is left out.

    Raises:
        UserError: it is none of these, holds no picture, or more than limits.FILES.
    """
    source = Path(source)
    if source.is_dir():
        found = _in_folder(source, skip, tell)
        tables = sorted(source.glob("*.parquet")) if not found else []
        pictures = _in_tables(tables, column, tell) if tables else Files(found)
    elif not source.exists():
        raise UserError(f"--input: there is no '{source}'; give a folder, a parquet file, or a list of paths")
    elif source.suffix.lower() == ".parquet":
        pictures = _in_tables([source], column, tell)
    elif source.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"--input: '{source}' is a picture; give its folder, or a text file with its path")
    else:
        pictures = Files(_in_list(source, tell))
    if column and not isinstance(pictures, Rows) and not any(source.glob("*.parquet")) and source.suffix != ".parquet":
        raise UserError(f"--column {column} is for parquet; '{source}' is none")
    if not pictures.count:
        raise UserError(f"--input: '{source}' holds no picture ({', '.join(IMAGE_SUFFIXES)})")
    return pictures


class Pictures:
    """Names of pictures in order, and how they are cut into shards."""

    names: list[str]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.names)

    def digest(self) -> str:
        """SHA-256 of the names and of how they are cut, the same for the same input."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(os.fsencode(name) + b"\0")
        return digest.hexdigest()

    def shards(self, size: int, ids: Sequence[int]) -> Iterator[Shard]:
        """Shards of ``size`` pictures; ``ids``: the image number of each picture."""
        raise NotImplementedError


class Files(Pictures):
    """Pictures that are files. ``pairs``: (name, path or None) of each."""

    def __init__(self, pairs: list[tuple[str, str | None]]) -> None:
        self.names = [name for name, _ in pairs]
        self._paths = [path for _, path in pairs]

    def shards(self, size: int, ids: Sequence[int]) -> Iterator[Shard]:
        """See Pictures."""
        for number, start in enumerate(range(0, self.count, size)):
            part = slice(start, start + size)
            yield Shard(number, list(ids[part]), self.names[part], self._paths[part])


@dataclass
class Rows(Pictures):
    """Pictures as bytes in parquet files. A shard is whole row groups, so that each is read once.

    Attributes:
        groups: (file, number, rows) of each row group, in order.
    """

    names: list[str]
    column: str
    groups: list[tuple[str, int, int]]

    def digest(self) -> str:
        """See Pictures; row groups are part of it."""
        cut = json.dumps([[Path(path).name, number, rows] for path, number, rows in self.groups])
        return hashlib.sha256(f"{super().digest()} {self.column} {cut}".encode()).hexdigest()

    def shards(self, size: int, ids: Sequence[int]) -> Iterator[Shard]:
        """See Pictures; a shard has ``size`` pictures or more where its row groups are larger."""
        number = start = 0
        for path, groups, rows in self._cut(size):
            part = slice(start, start + rows)
            yield Shard(number, list(ids[part]), self.names[part], [], path, groups, self.column)
            number, start = number + 1, start + rows

    def _cut(self, size):
        """(file, row groups, rows) of each shard."""
        path, groups, rows = "", [], 0
        for file, number, more in self.groups:
            if groups and (file != path or rows + more > size):
                yield path, groups, rows
                groups, rows = [], 0
            path, groups, rows = file, [*groups, number], rows + more
        if groups:
            yield path, groups, rows


def _in_folder(folder: Path, skip: Path | None, tell: Tell) -> list[tuple[str, str | None]]:
    """(name, path) of each file below ``folder`` whose name ends as a picture's; nothing hidden, links to files too."""
    found: list[tuple[str, str | None]] = []
    others = links = 0
    skip = skip.resolve() if skip else None
    for place, folders, files in os.walk(folder):
        here = Path(place)
        links += sum((here / name).is_symlink() for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith(".")
                            and (skip is None or (here / name).resolve() != skip))
        for name in sorted(files):
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                path = here / name
                found.append((path.relative_to(folder).as_posix(), str(path.absolute())))
            else:
                others += 1
        _require_few(len(found), folder)
    found.sort()
    if others and found:
        tell(f"left out: {others} files in '{folder}', by their names no pictures")
    if links:
        tell(f"left out: {links} links to folders in '{folder}' (a list of paths can name what is there)")
    return found


def _require_few(count: int, source: Path) -> None:
    if count > limit("FILES"):
        refuse("FILES", f"'{source}' holds more than {limit('FILES')} pictures")


def _in_list(source: Path, tell: Tell) -> list[tuple[str, str | None]]:
    """(name, path) of each line; relative to the list's folder; a line that stood before is left out."""
    if source.stat().st_size > limit("ANNOTATION_BYTES"):
        refuse("ANNOTATION_BYTES", f"'{source}' has {source.stat().st_size} bytes")
    try:
        with open(source, encoding="utf-8-sig") as file:
            lines = [line.rstrip("\r\n") for line in file]
    except UnicodeDecodeError:
        raise UserError(f"--input: '{source}' is neither parquet nor a list of paths in UTF-8, one in each line"
                        ) from None
    except OSError as error:
        raise UserError(f"--input: cannot read '{source}' ({error.strerror})") from None
    return _distinct([line for line in lines if line.strip()], source, tell)


def _distinct(names: Sequence[str | None], source: Path, tell: Tell) -> list[tuple[str, str | None]]:
    """(name, path) of each, once; None is kept, a picture without a path."""
    folder, seen = source.parent.absolute(), set()
    found: list[tuple[str, str | None]] = []
    for number, name in enumerate(names):
        if not name:
            found.append((f"{source.name}:{number}", None))
            continue
        path = os.path.normpath(folder / name)
        if path not in seen:
            seen.add(path)
            found.append((name, path))
    _require_few(len(found), source)
    if len(found) < len(names):
        tell(f"left out: {len(names) - len(found)} paths that '{source}' names a second time")
    return found


def _in_tables(tables: Sequence[Path], column: str | None, tell: Tell) -> Pictures:
    """The pictures of parquet files: their paths, or their bytes."""
    files = [_opened(path) for path in tables]
    column = _column_of(files[0], tables[0], column)
    pairs, names, groups = [], [], []
    for path, file in zip(tables, files):
        kind = _kind(file.schema_arrow, _column_of(file, path, column), path)
        if kind == "path":
            pairs += _distinct(file.read([column]).column(column).to_pylist(), path, tell)
            continue
        groups += [(str(path.absolute()), number, file.metadata.row_group(number).num_rows)
                   for number in range(file.num_row_groups)]
        names += _names_of(file, path, column)
    if pairs and names:
        raise UserError(f"--column {column} holds paths in one parquet file and pictures in another")
    _require_few(len(names), tables[0])
    return Rows(names, column, groups) if names else Files(pairs)


def _opened(path: Path) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise UserError(f"--input: '{path}' is no parquet file ({printable(error)})") from None


def _column_of(file: Any, path: Path, column: str | None) -> str:
    names = file.schema_arrow.names
    if column and column not in names:
        raise UserError(f"--column: '{path}' has no column {column!r}{nearest(column, names)}; it has "
                        f"{printable(', '.join(names))}")
    found = column or next((name for name in COLUMNS if name in names), None)
    if found is None:
        raise UserError(f"'{path}' has none of the columns {', '.join(COLUMNS)}; name one with --column: "
                        f"{printable(', '.join(names))}")
    return found


def _kind(schema: Any, column: str, path: Path) -> str:
    """'path' or 'bytes', by the column's type."""
    from pyarrow import types

    kind = schema.field(column).type
    text, data = (types.is_string, types.is_large_string), (types.is_binary, types.is_large_binary)
    if any(is_text(kind) for is_text in text):
        return "path"
    if any(is_data(kind) for is_data in data):
        return "bytes"
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "bytes"
    raise UserError(f"--column {column}: '{path}' has {kind} there; it must be text (paths), bytes, or Hugging Face's "
                    "struct of bytes and path")


def _names_of(file: Any, path: Path, column: str) -> list[str]:
    """A name for each picture: NAMES' column where there is one of text, else the file and the row."""
    schema = file.schema_arrow
    by_row = [f"{path.name}:{row}" for row in range(file.metadata.num_rows)]
    found = next((name for name in NAMES if name != column and name in schema.names
                  and str(schema.field(name).type) in ("string", "large_string")), None)
    if found is None:
        return by_row
    return [name or default for name, default in zip(file.read([found]).column(found).to_pylist(), by_row)]


def contents(shard: Shard, count: int) -> Iterator[list[Any]]:
    """``count`` pictures of a shard at a time: each a path, its bytes, or None where there is neither."""
    if not shard.parquet:
        for start in range(0, len(shard.paths), count):
            yield list(shard.paths[start:start + count])
        return
    from pyarrow import parquet

    # in pieces: a row group may be larger than memory
    with parquet.ParquetFile(shard.parquet, pre_buffer=False, buffer_size=1 << 20) as file:
        for batch in file.iter_batches(count, row_groups=shard.groups, columns=[shard.column],
                                       use_threads=False):
            yield [_content(value, shard) for value in batch.column(0).to_pylist()]


def _content(value: Any, shard: Shard) -> Any:
    if not isinstance(value, dict):
        return value
    if value.get("bytes") is not None:
        return value["bytes"]
    return os.path.join(os.path.dirname(shard.parquet), value["path"]) if value.get("path") else None
