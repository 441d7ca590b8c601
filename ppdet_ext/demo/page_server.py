# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Serves the page of models: from this machine alone, asking nothing of others, and leaving no picture behind."""
from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..deploy import Predictor
from ..deploy import engines as engine_options
from ..errors import UserError
from ..startup import quiet
from . import page_address

if TYPE_CHECKING:
    from .models_page import Models

# what Gradio and huggingface_hub would ask or tell the network
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1",
         "GRADIO_SHARE": "False", "GRADIO_MCP_SERVER": "False", "GRADIO_SSR_MODE": "False"}
# the browser itself refuses what is not from here, whatever a release of Gradio asks for; it compiles templates
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
          "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'")
HEADERS = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"),
           (b"x-content-type-options", b"nosniff")]
NOT_KEPT = [(b"cache-control", b"no-store")]  # by the browser: pictures and boxes
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC",
         "sans-serif"]


def require_gradio() -> None:
    """Raise UserError where Gradio is not installed, with what installs it."""
    if importlib.util.find_spec("gradio") is None:
        python = "" if sys.version_info >= (3, 10) else " (it needs Python 3.10 or newer)"
        raise UserError(f"the page needs Gradio{python}: pip install 'ppdet-ext[demo]'")


def run(args: Namespace) -> None:
    """Open the models, and serve their page until Ctrl-C.

    Args:
        args: model_dir and engine (lists), threshold, host, port, and the fields of ``deploy.Options``.

    Raises:
        UserError, DeployError: no Gradio, no such model, or the page cannot be served there.
    """
    require_gradio()
    listening, port = page_address.listen(args.host, args.port)
    with closing(listening), tempfile.TemporaryDirectory(prefix="ppdet_ext_demo_") as folder:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the folder goes
        os.environ.update(QUIET, GRADIO_TEMP_DIR=folder)
        models = _open(args, Path(folder))
        if port != args.port and args.port:
            print(f"port {args.port} is taken; {port} is free", flush=True)
        if not page_address.is_this_machine(args.host):
            print(f"warning: --host {args.host}: whoever reaches this machine can open the page and drop pictures; it "
                  "has no password", file=sys.stderr, flush=True)
        _serve(models, args, listening, page_address.address(args.host, port))
    print("ended; the pictures that were dropped are deleted", flush=True)


def _open(args: Namespace, folder: Path) -> Models:
    from .models_page import LETTERS, Models

    predictors, titles = [], []
    for letter, path, engine in zip(LETTERS, args.model_dir, engines(args.engine, len(args.model_dir))):
        print(f"loading {path}", flush=True)
        settings = {name: value for name, value in engine_options.of_flags(args).items()
                    if name not in ("engine", "batch_size")}
        with quiet.imports():
            predictor = Predictor(path, engine=engine, **settings)
        predictors.append(predictor)
        titles.append(f"{letter}: {path} ({predictor.model.program.name}, {predictor.engine})")
        print(f"model {letter}: {path} ({predictor.model.arch}, {len(predictor.labels)} classes, "
              f"{predictor.model.program.name} by {predictor.engine})", flush=True)
    models = Models(predictors, titles, folder)
    models.warm_up()
    return models


def engines(given: Sequence[str] | None, count: int) -> list[str | None]:
    """The engine of each of ``count`` models: one for all, or one each; none given: None."""
    if not given:
        return [None] * count
    return list(given) if len(given) == count else [given[0]] * count


class _OwnHeaders:
    """An ASGI application whose answers carry HEADERS, those with a picture NOT_KEPT, in the place of their own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        ours = [*HEADERS, *(NOT_KEPT if "/file=" in scope.get("path", "") else ())]
        names = {name for name, _ in ours}

        async def send_with(message):
            if message["type"] == "http.response.start":
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names]
                message = {**message, "headers": [*others, *ours]}
            await send(message)

        await self.app(scope, receive, send_with)


def _serve(models: Models, args: Namespace, listening: socket.socket, shown: str) -> None:
    import fastapi
    import gradio as gr
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from ..deploy.image_files import WHOLE_BYTES
    from . import models_page

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_OwnHeaders)
    if args.host in (page_address.HOST, "localhost"):
        # a stranger's page whose name leads to 127.0.0.1 is not this page
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[page_address.HOST, "localhost"])
    page = models_page.build(models, args.threshold)
    gr.mount_gradio_app(app, page, "/", server_name=args.host, server_port=listening.getsockname()[1], footer_links=[],
                        run_history=False, show_error=True, max_file_size=WHOLE_BYTES, ssr_mode=False,
                        mcp_server=False, enable_monitoring=False, pwa=False, css=models_page.STYLE,
                        theme=gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"]))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"page: {shown} (Ctrl-C ends it)", flush=True)

    # an open page holds a connection; who ends the server does not wait for it
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listening])
