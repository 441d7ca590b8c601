# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What stands before the application: a body that is too large is refused before it is read whole, strangers too.

ASGI without any library, so that both the proxy and the application can have it.
"""
from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from ..limits import limit, variable
from .serve_settings import has_token

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Done = Callable[[str, int, float], None]  # (model as the application has noted it, code, seconds)

WITHOUT_TOKEN = ("/health",)  # who watches over the server need not know it
WORK = "/predict"


def proxy_middlewares() -> list[Any]:
    """What Ray Serve's proxy is to put before everything: it would take in a body of any size else."""
    from starlette.middleware import Middleware

    return [Middleware(BodyLimit, most=limit("REQUEST_BYTES"))]


async def answer(send: Send, code: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
    """A whole answer: ``{"error": reason}``."""
    body = json.dumps({"error": reason}).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name (in small letters), or None."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), None)


class BodyLimit:
    """Answers 413 to a body of more than ``most`` bytes: by what it declares, else as soon as it has been exceeded.

    What comes after that is not read; the connection ends.
    """

    def __init__(self, app: App, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = header(scope, b"content-length") or ""
        if declared.isdecimal() and int(declared[:20]) > self.most:
            await self._refuse(send)
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, begun, refused = 0, False, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen, refused
            message = {"type": "http.disconnect"} if refused else await receive()
            seen += len(message.get("body", b""))
            if seen <= self.most or refused:
                return message
            refused = True
            if not begun:
                await self._refuse(send)
            return {"type": "http.disconnect"}

        async def unless_refused(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if not refused:
                begun = True
                await send(message)

        try:
            await self.app(scope, counted, unless_refused)
        except Exception:
            if not refused:  # it was told that the client is gone
                raise

    async def _refuse(self, send: Send) -> None:
        await answer(send, 413, f"the request has more than {self.most} bytes (the server's "
                     f"{variable('REQUEST_BYTES')} sets that)", (b"connection", b"close"))


class Guard:
    """Asks for the token, counts what is being answered, and turns work away when that is too much or the end is near.

    Args:
        app: what answers.
        token: None: nobody is asked for one.
        hosts: the names by which the server may be called; none: any.
        most: requests of WORK at once; more are answered 503, before their bodies are read.
        done: told of each request of WORK; the application notes the model in the request's state.
    """

    def __init__(self, app: App, token: str | None, hosts: Sequence[str], most: int, done: Done) -> None:
        self.app, self.token, self.hosts, self.most, self.done = app, token, hosts, most, done
        self.running, self.ending = 0, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].rstrip("/") or "/"
        if path != WORK:
            await self._known(path, scope, receive, send)
            return
        begin, code = asyncio.get_running_loop().time(), 500

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal code
            code = message.get("status", code)
            await send(message)

        state = scope.setdefault("state", {})
        self.running += 1
        try:
            await self._known(path, scope, receive, noted)
        finally:
            self.running -= 1
            self.done(state.get("model", ""), code, asyncio.get_running_loop().time() - begin)

    async def _known(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        host = re.sub(r":\d*$", "", header(scope, b"host") or "")
        if self.hosts and host not in self.hosts:
            await answer(send, 400, f"this server is not called {host[:80]!r}")
        elif self.token and path not in WITHOUT_TOKEN and not has_token(header(scope, b"authorization"), self.token):
            await answer(send, 401, "the header 'Authorization: Bearer TOKEN' is missing or carries another token",
                         (b"www-authenticate", b"Bearer"))
        elif path == WORK and self.ending:
            await answer(send, 503, "the server is ending", (b"connection", b"close"), (b"retry-after", b"10"))
        elif path == WORK and self.running > self.most:
            await answer(send, 503, f"{self.most} requests are being answered; try again", (b"retry-after", b"1"))
        else:
            await self.app(scope, receive, send)

    async def end(self, seconds: float) -> int:
        """Turn new work away and wait until what runs is answered. Returns how many are not, after ``seconds``."""
        self.ending = True
        last = asyncio.get_running_loop().time() + seconds
        while self.running and asyncio.get_running_loop().time() < last:
            await asyncio.sleep(0.02)
        return self.running
