# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a batch job writes: a file of rows for each shard, whole or not at all, and one COCO result file out of them."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..deploy.visualize import coco_results
from ..errors import UserError
from ..files import atomic_path

FOLDER = "shards"
RESULTS, IMAGES, CATEGORIES = "bbox.json", "images.json", "categories.json"
#: --format -> the suffix of its shards
FORMATS = {"coco": ".jsonl", "parquet": ".parquet"}
ROWS = 1024  # of a parquet file's row group


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        boxes: COCO's result records (image_id, category_id, file_name, bbox (x, y, w, h), score); none of an error.
        error: why it could not be read; None: it was.
    """

    image_id: int
    file_name: str
    width: int | None = None
    height: int | None = None
    boxes: Sequence[dict[str, Any]] = ()
    error: str | None = None


def row_of(image_id: int, name: str, size: Sequence[int], boxes: Any, categories: Sequence[int]) -> Row:
    """The row of a picture that was read.

    Args:
        size: (height, width).
        boxes: [N, 6]: class number, score, x1, y1, x2, y2.
        categories: the category number of each class.
    """
    height, width = size
    return Row(image_id, name, width, height, coco_results(boxes, image_id, name, categories))


def shown_name(name: str) -> str:
    r"""A name for files in UTF-8: its bytes that are none become ``\udc..``."""
    return name.encode("utf-8", "backslashreplace").decode()


def shard_path(output: Path, number: int, form: str) -> Path:
    """Where the results of a shard are."""
    return output / FOLDER / f"{number:06d}{FORMATS[form]}"


@contextmanager
def writer(path: Path, form: str) -> Iterator[Callable[[Row], None]]:
    """Yield what writes a row; the file is there, whole, after the last one.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_path(path) as temporary, _WRITERS[form](temporary) as write:
        yield write


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[Row], None]]:
    with open(path, "w", encoding="utf-8") as file:
        def write(row: Row) -> None:
            values = {"image_id": row.image_id, "file_name": row.file_name}
            values.update({"error": row.error} if row.error is not None
                          else {"width": row.width, "height": row.height, "boxes": list(row.boxes)})
            file.write(json.dumps(values) + "\n")
        yield write


@contextmanager
def _table(path: Path) -> Iterator[Callable[[Row], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("image_id", pa.int64()), ("file_name", pa.string()), ("width", pa.int32()),
                        ("height", pa.int32()), ("category_id", pa.list_(pa.int32())),
                        ("score", pa.list_(pa.float32())), ("bbox", pa.list_(pa.list_(pa.float32()))),
                        ("error", pa.string())])
    waiting: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema) as file:
        def flush() -> None:
            file.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: Row) -> None:
            lists = {key: [box[key] for box in row.boxes] for key in ("category_id", "score", "bbox")}
            waiting.append({"image_id": row.image_id, "file_name": row.file_name, "width": row.width,
                            "height": row.height, "error": row.error, **lists})
            if len(waiting) == ROWS:
                flush()
        yield write
        if waiting:
            flush()


_WRITERS = {"coco": _lines, "parquet": _table}


@dataclass
class Summary:
    """Sums over a job; ``example``: a picture that could not be read, with its reason."""

    pictures: int = 0
    boxes: int = 0
    unreadable: int = 0
    example: str = ""

    def add(self, name: str, boxes: int, error: str | None) -> None:
        """Count a picture."""
        self.pictures += 1
        self.boxes += boxes
        self.unreadable += error is not None
        if error is not None:
            self.example = self.example or f"{name!r} ({error})"


def finish(output: Path, form: str, shards: Sequence[tuple[int, int]], categories: Sequence[dict[str, Any]]) -> Summary:
    """Count what the shards hold. For 'coco' put them together, for 'parquet' write CATEGORIES beside them.

    RESULTS is a list that ``eval --json_eval`` reads; IMAGES has each picture once, and the categories.

    Args:
        shards: (number, pictures) of each; a row is in memory at a time.
        categories: COCO's ``{'id', 'name'}``.

    Raises:
        UserError: a shard is missing, broken or not whole, or the results cannot be written.
    """
    if form == "parquet":
        with atomic_path(output / CATEGORIES) as path:
            path.write_text(json.dumps(list(categories), indent=1), encoding="utf-8")
        return _count_tables(output, shards)
    summary = Summary()
    with atomic_path(output / RESULTS) as results, atomic_path(output / IMAGES) as images, \
            open(results, "w", encoding="utf-8") as boxes, open(images, "w", encoding="utf-8") as pictures:
        add_box, add_picture = _List(boxes, "["), _List(pictures, '{"images": [')
        for number, count in shards:
            for row in _whole(shard_path(output, number, form), count, _read_lines):
                found = row.pop("boxes", ())
                for box in found:
                    add_box(box)
                add_picture({"id": row.pop("image_id"), **row})
                summary.add(row["file_name"], len(found), row.get("error"))
        add_box.close("]\n")
        add_picture.close(f'], "categories": {json.dumps(list(categories))}}}\n')
    return summary


class _List:
    """Writes a JSON list, one item at a time."""

    def __init__(self, file: TextIO, start: str) -> None:
        self._file, self._before = file, "\n"
        file.write(start)

    def __call__(self, item: object) -> None:
        self._file.write(f"{self._before}{json.dumps(item)}")
        self._before = ",\n"

    def close(self, end: str) -> None:
        self._file.write(f"\n{end}")


def _count_tables(output: Path, shards: Sequence[tuple[int, int]]) -> Summary:
    summary = Summary()
    for number, count in shards:
        for row in _whole(shard_path(output, number, "parquet"), count, _read_table):
            summary.add(row["file_name"], len(row["category_id"]), row["error"])
    return summary


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        yield from map(json.loads, file)


def _read_table(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS, columns=["file_name", "category_id", "error"], use_threads=False):
            yield from batch.to_pylist()


def _whole(path: Path, count: int, read: Callable[[Path], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The rows of a shard.

    Raises:
        UserError: they are not ``count``, or cannot be read; a disk lost what was written, or somebody changed it.
    """
    seen = 0
    again = "remove it, and the same command does that shard again"
    try:
        for seen, row in enumerate(read(path), 1):  # noqa: B007  looked at after the loop, too
            yield row
    except (OSError, ValueError) as error:  # Arrow's are of these kinds
        raise UserError(f"'{path}' cannot be read ({error}); {again}") from None
    if seen != count:
        raise UserError(f"'{path}' has {seen} pictures in place of {count}; {again}")
