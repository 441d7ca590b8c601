# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The server's form: what is asked at which address, and what is answered. Knows FastAPI, and no Ray."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import fastapi
import numpy as np
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from .. import limits
from ..deploy import DeployError
from .serve_metrics import Metrics
from .served_model import Facts, Found

RAW = ("image/", "application/octet-stream")  # a picture's own bytes
FORM = "multipart/form-data"
CORNERS = ("x1", "y1", "x2", "y2")


class Models(Protocol):
    """What the application asks: Ray's replicas, or something simpler in a test."""

    facts: Mapping[str, Facts]

    async def detect(self, model: str, data: bytes, name: str) -> Found:
        """On one picture, of a file's bytes."""

    async def running(self) -> Mapping[str, int]:
        """How many replicas of each model answer now."""


def build(models: Models, threshold: float, metrics: Metrics, ending: Callable[[], bool]) -> fastapi.FastAPI:
    """The application.

    Args:
        models: what detects.
        threshold: the least score where a request names none.
        metrics: of this process.
        ending: whether the server is about to end.
    """
    app = fastapi.FastAPI(title="ppdet_ext serve", docs_url=None, redoc_url=None)
    _add_errors(app)
    default = next(iter(models.facts))

    @app.post("/predict")
    async def predict(request: fastapi.Request, model: str = default,
                      threshold: float = fastapi.Query(threshold, ge=0, le=1)) -> JSONResponse:
        """Boxes of one picture (its bytes as they are) or of several (multipart/form-data)."""
        begin = time.perf_counter()
        if model not in models.facts:
            raise HTTPException(404, f"no model '{model[:64]}'; there are {', '.join(models.facts)}")
        request.state.model = model
        pictures = await _pictures(request)
        found = await asyncio.gather(*(models.detect(model, data, name) for name, data in pictures))
        metrics.add(model, found)
        rows = [picture_row(models.facts[model], name, one, threshold) for (name, _), one in zip(pictures, found)]
        return JSONResponse({"model": model, "threshold": threshold, "pictures": rows,
                             "milliseconds": round((time.perf_counter() - begin) * 1000, 2)})

    @app.get("/health")
    async def health() -> JSONResponse:
        """200 where every model has a replica that answers, else 503."""
        counts = dict(await models.running())
        state = "ending" if ending() else "ok" if all(counts.values()) else "starting"
        return JSONResponse({"status": state, "replicas": counts}, 200 if state == "ok" else 503)

    @app.get("/models")
    async def listed() -> list[dict[str, Any]]:
        """The models, the one by default first."""
        return [{"name": facts.name, "arch": facts.arch, "engine": facts.engine, "program": facts.program,
                 "classes": list(facts.labels)} for facts in models.facts.values()]

    @app.get("/metrics")
    async def measured() -> fastapi.Response:
        """Prometheus' text."""
        return fastapi.Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_errors(app: fastapi.FastAPI) -> None:
    """Every refusal is ``{"error": reason}``, FastAPI's own too."""
    @app.exception_handler(HTTPException)
    async def refused(_request: fastapi.Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(DeployError)
    async def failed(_request: fastapi.Request, error: DeployError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: fastapi.Request, error: RequestValidationError) -> JSONResponse:
        reasons = [f"{part['loc'][-1]}: {part['msg']}" for part in error.errors()]
        return JSONResponse({"error": "; ".join(reasons)}, 422)


async def _pictures(request: fastapi.Request) -> list[tuple[str, bytes]]:
    """(name, bytes) of each picture of a request.

    Raises:
        HTTPException: there is none, there are too many, or the body is of another kind.
    """
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith(FORM):
        return await _of_form(request)
    if kind and not kind.startswith(RAW):
        raise HTTPException(415, f"Content-Type is {kind[:80]!r}; send a picture's bytes as image/jpeg or "
                            f"application/octet-stream, or pictures as {FORM}")
    data = await request.body()
    if not data:
        raise HTTPException(400, "the body is empty; send a picture's bytes (curl: --data-binary @FILE)")
    return [("picture", data)]


async def _of_form(request: fastapi.Request) -> list[tuple[str, bytes]]:
    most = limits.limit("REQUEST_PICTURES")
    try:
        # one more than are allowed, so that our own words say so
        async with request.form(max_files=most + 1, max_fields=most + 1) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            if len(files) > most:
                raise HTTPException(413, f"more than {most} pictures in one request (the server's "
                                    f"{limits.variable('REQUEST_PICTURES')} sets that)")
            pictures = [(part.filename or "picture", await part.read()) for part in files]
    except HTTPException as error:
        too_many = "maximum number" in str(error.detail).lower()
        raise HTTPException(413 if too_many else error.status_code, str(error.detail)) from None
    if not pictures:
        raise HTTPException(400, "the form holds no file; curl: -F 'picture=@FILE'")
    return pictures


def picture_row(facts: Facts, name: str, found: Found, threshold: float) -> dict[str, Any]:
    """A picture's part of the answer: its size, and the boxes whose score is not below ``threshold``, the best first.

    The numbers are the model's own, not rounded.

    Raises:
        HTTPException: it could not be read; the reason.
    """
    if found.boxes is None:
        raise HTTPException(422, found.error)
    boxes = found.boxes[found.boxes[:, 1] >= threshold]
    boxes = boxes[np.argsort(-boxes[:, 1], kind="stable")]
    rows = [{"class_id": int(number), "class": facts.label(int(number)), "score": score, **dict(zip(CORNERS, corners))}
            for number, score, *corners in boxes.tolist()]
    return {"name": name, "width": found.size[0], "height": found.size[1], "boxes": rows, "batch": found.batch,
            "milliseconds": {stage: round(value, 2) for stage, value in found.milliseconds.items()}}
