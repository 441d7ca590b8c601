# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One worker of a batch job: a Predictor that is loaded once, and shard after shard through it into files."""
from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..deploy import DeployError
from ..deploy.image_files import decode_image, read_image
from ..deploy.image_formats import UnreadableImage
from ..deploy.visualize import keep
from ..errors import UserError, printable
from ..startup import environment
from . import picture_lists, shard_files
from .batch_job import Job
from .picture_lists import Shard
from .shard_files import Row

#: a shard that ended the process so often in this run is done picture by picture, and which ended it again is left out
DEATHS = 2
#: pictures of a shard that may do so; more say that it is not the pictures
MOST_LOST = 5
LOST = "the process that read it ended, three times: out of memory, or a fault of the engine"


class Worker:
    """What an actor of Ray is made of; ``job`` says with which model, and where results go.

    A user's mistake comes back as text, since Ray would wrap an exception in pages of its own.
    """

    def __init__(self, job: Job, predictor: Any = None) -> None:
        self._job, self._failed, self._predictor = job, "", predictor
        if predictor is None:
            try:
                self._predictor = _loaded(job)
            except (DeployError, UserError) as error:
                self._failed = str(error)

    def __call__(self, rows: dict[str, Sequence[str]]) -> dict[str, list[Any]]:
        """Do shards, given as text; {'number', 'pictures', 'unreadable', 'boxes', 'deaths', 'error'} of each."""
        done = [self._shard(Shard.from_text(str(text))) for text in rows["shard"]]
        return {key: [each[key] for each in done] for key in done[0]}

    def _shard(self, shard: Shard) -> dict[str, Any]:
        told: dict[str, Any] = {"number": shard.number, "pictures": len(shard.ids), "unreadable": 0, "boxes": 0,
                                "deaths": 0, "error": self._failed}
        if self._failed:
            return told
        try:
            path = shard_files.shard_path(Path(self._job.output), shard.number, self._job.form)
            trail = Trail.after(path.with_name(f".{path.stem}.trail"), self._job.run)
            told["deaths"] = trail.deaths
            with shard_files.writer(path, self._job.form) as write:
                for row in self._rows(shard, trail):
                    write(row)
                    told["unreadable"] += row.error is not None
                    told["boxes"] += len(row.boxes)
        except (DeployError, UserError) as error:
            told["error"] = str(error)
        return told

    def _rows(self, shard: Shard, trail: Trail) -> Iterator[Row]:
        count = 1 if trail.deaths >= DEATHS else self._job.options.batch_size
        if len(trail.lost) > MOST_LOST:
            raise UserError(f"{len(trail.lost)} pictures of one shard ended the process that read them, such as "
                            f"{printable(shard.names[trail.lost[0]])!r}: is there memory for so many --workers?")
        start = 0
        for pictures in picture_lists.contents(shard, count):
            stop = start + len(pictures)
            trail.at(start, stop)
            if start in trail.lost:  # then they come one by one
                yield Row(shard.ids[start], shard_files.shown_name(shard.names[start]), error=LOST)
            else:
                yield from self._detect(shard.ids[start:stop], shard.names[start:stop], pictures)
            start = stop
        if start != len(shard.ids):
            raise UserError(f"'{shard.parquet}' has other rows than when the job began")
        trail.end()

    def _detect(self, ids: Sequence[int], names: Sequence[str], pictures: Sequence[Any]) -> Iterator[Row]:
        read = [_read(picture, name) for picture, name in zip(pictures, names)]
        images = [image for image in read if not isinstance(image, str)]
        failed: dict[int, str] = {}
        found = iter(self._predictor.predict(images, on_unreadable=lambda image, error: failed.update(
            {id(image): str(error)})))
        for number, name, image in zip(ids, map(shard_files.shown_name, names), read):
            result = None if isinstance(image, str) else next(found)
            if result is None:
                yield Row(number, name, error=image if isinstance(image, str) else failed[id(image)])
                continue
            kept = keep(result["boxes"], self._job.threshold)
            yield shard_files.row_of(number, name, image.shape[:2], kept, self._job.categories)


def _read(picture: Any, name: str) -> Any:
    """RGB pixels [H, W, 3], or why there are none."""
    if picture is None:
        return "the row has neither a path nor bytes"
    try:
        return decode_image(picture, name) if isinstance(picture, bytes) else read_image(picture)
    except UnreadableImage as error:
        return error.reason
    except DeployError as error:
        return str(error)


def _loaded(job: Job) -> Any:
    environment.setup()
    import cv2

    from ..deploy import Predictor

    cv2.setNumThreads(job.options.threads)  # its own number is that of all cores, in every worker
    return Predictor(job.model_dir, **vars(job.options))


@dataclass
class Trail:
    """Where a worker was in its shard, so that the next one knows what ended it.

    Attributes:
        run: only deaths within one start of the job count; who ends the job ends its workers, too.
        lost: indices of pictures that are left out.
    """

    place: Path
    run: str
    deaths: int = 0
    span: tuple[int, int] = (0, 0)
    lost: list[int] = field(default_factory=list)

    @classmethod
    def after(cls, place: Path, run: str) -> Trail:
        """The trail of a shard that begins, with what a worker of this run left there."""
        try:
            former = json.loads(place.read_text())
            if former["run"] != run:
                raise ValueError("of another run")
            deaths, (start, stop), lost = former["deaths"] + 1, former["span"], former["lost"]
        except (OSError, ValueError, KeyError, TypeError):
            return cls(place, run)
        alone = deaths > DEATHS and stop - start == 1
        return cls(place, run, deaths, (start, stop), [*lost, start] if alone else lost)

    def at(self, start: int, stop: int) -> None:
        """The pictures that come now."""
        self.span = start, stop
        values = {key: value for key, value in asdict(self).items() if key != "place"}
        with contextlib.suppress(OSError):  # a full disk is told where results are written
            self.place.write_text(json.dumps(values))

    def end(self) -> None:
        """The shard is done."""
        self.place.unlink(missing_ok=True)
