# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A batch job as its folder knows it: manifest.json says what was asked for, and only the same goes on there."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..deploy import ExportedModel, Options
from ..deploy.exported_model import CONFIG
from ..errors import UserError, nearest, printable
from ..files import atomic_path, require_writable, sha256
from ..limits import limit, refuse
from . import shard_files
from .picture_lists import Pictures

MANIFEST = "manifest.json"
VERSION = 1
#: pictures of a shard: what a killed worker does again; fewer where there would be no work for each worker
SHARD_SIZE, SHARDS_PER_WORKER = 256, 4
# fields of Options that change how fast a result is there, or its last digits, but not what is asked for
_SPEED = ("batch_size", "cpu_threads", "collect_trt_shape_info", "tuned_trt_shape_file", "shared_cores")


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Attributes:
        model_dir, options: as a Predictor takes them; ``options.engine`` is set.
        categories: the category number of each class.
        threshold: the least score that is kept.
        form: of shard_files.FORMATS.
        run: a token of this start, so that what a former one left is known.
    """

    model_dir: str
    options: Options
    output: str
    categories: list[int]
    threshold: float
    form: str
    run: str


def facts(model: ExportedModel, options: Options, pictures: Pictures, args: Any) -> dict[str, dict[str, Any]]:
    """What must be alike for a job to go on: flag -> what is known of it.

    Args:
        args: input, threshold, format, anno_file.
    """
    files = [file for file in (model.program, model.weights, model.program.with_name(CONFIG)) if file]
    chosen = {f"--{field.name}": getattr(options, field.name) for field in fields(Options) if field.name not in _SPEED}
    return {"--input": {"pictures": pictures.count, "sha256": pictures.digest()},
            "--model_dir": {"files": {file.name: sha256(file) for file in files}, "classes": model.labels},
            "--threshold": args.threshold, "--format": args.format,
            "--anno_file": args.anno_file and sha256(args.anno_file), **chosen}


def begin(output: Path, asked: dict[str, Any], shard_size: int) -> int:
    """Make the job's folder, or go on in it. Returns the pictures of a shard: those of the job's first start.

    Raises:
        UserError: another job was begun there, or the folder cannot be written.
    """
    require_writable(output)
    path = output / MANIFEST
    if not path.exists():
        if (output / shard_files.FOLDER).is_dir() and any((output / shard_files.FOLDER).iterdir()):
            raise UserError(f"--output: '{output}' holds shards without {MANIFEST}, which says of which job; name "
                            "another folder")
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"version": VERSION, "shard_size": shard_size, "job": asked}, indent=1))
        return shard_size
    begun = _read(path)
    for name, value in asked.items():
        before = begun["job"].get(name)
        if before != value:
            raise UserError(f"--output: the job in '{output}' was begun with {_difference(name, before, value)}; give "
                            "what it was begun with, or name another folder")
    return begun["shard_size"]


def _difference(name: str, before: Any, now: Any) -> str:
    if not isinstance(now, dict):
        short = [f"{value[:12]}..." if name == "--anno_file" and value else value for value in (before, now)]
        return f"{name} {short[0]}, not {short[1]}"
    changed = [key for key in now if not isinstance(before, dict) or before.get(key) != now[key]]
    if isinstance(before, dict) and "pictures" in changed:
        return f"{before.get('pictures')} pictures in {name}, not {now['pictures']}"
    return f"another {name} (its {', '.join(changed)} differ{'s' if len(changed) == 1 else ''})"


def _read(path: Path) -> dict[str, Any]:
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        if begun["version"] != VERSION:
            raise UserError(f"'{path}' is of another version of ppdet_ext; name another --output")
        if not isinstance(begun["job"], dict) or not isinstance(begun["shard_size"], int) or begun["shard_size"] < 1:
            raise ValueError("no job in it")
        return begun
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is no manifest of a batch job ({printable(error)}); name another --output") from None


def size_of_shards(pictures: int, workers: int, wanted: int | None) -> int:
    """Pictures of a shard: ``wanted``, else so that each worker has some, at most SHARD_SIZE."""
    return wanted or max(1, min(SHARD_SIZE, -(-pictures // (workers * SHARDS_PER_WORKER))))


def numbers(names: Sequence[str], labels: Sequence[str], anno_file: str | None) -> tuple[list[int], list[int]]:
    """(image number of each picture, category number of each class).

    From 1 and from 0 in order; with a COCO file its own, by file name and by class name.

    Raises:
        UserError: the file is no such file, or does not know a picture or a class.
    """
    if not anno_file:
        return list(range(1, len(names) + 1)), list(range(len(labels)))
    truth = _annotations(Path(anno_file))
    try:
        images = {image["file_name"]: int(image["id"]) for image in truth["images"]}
        classes = {category["name"]: int(category["id"]) for category in truth["categories"]}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"--anno_file: '{anno_file}' is no COCO file: 'images' with id and file_name and 'categories' "
                        "with id and name are wanted") from None
    for what, wanted, known in (("picture", names, images), ("class", labels, classes)):
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UserError(f"--anno_file: '{anno_file}' does not have {len(unknown)} of the {len(wanted)} names of a "
                            f"{what}, such as {printable(unknown[0])!r}{nearest(unknown[0], list(known)[:10_000], 1)}")
    ids = [images[name] for name in names]
    if len(set(ids)) < len(ids):
        raise UserError(f"--anno_file: '{anno_file}' gives two pictures one number")
    return ids, [classes[name] for name in labels]


def _annotations(path: Path) -> Any:
    try:
        if path.stat().st_size > limit("ANNOTATION_BYTES"):
            refuse("ANNOTATION_BYTES", f"'{path}' has {path.stat().st_size} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--anno_file: cannot read '{path}' ({printable(getattr(error, 'strerror', None) or error)})"
                        ) from None
