# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One request to an ASGI application, without a server."""
import asyncio
import json


class Sender:
    """The server's side of one request: a body in pieces; what was read of it, what was answered."""

    def __init__(self, pieces=(), headers=(), path="/predict", method="POST", query=""):
        self.pieces, self.read, self.sent = list(pieces), 0, []
        self.scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(),
                      "headers": [(name.lower().encode(), value.encode()) for name, value in headers]}

    async def receive(self):
        piece = self.pieces.pop(0)
        self.read += len(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def send(self, message):
        self.sent.append(message)

    @property
    def code(self):
        codes = [message["status"] for message in self.sent if message["type"] == "http.response.start"]
        assert len(codes) == 1
        return codes[0]

    @property
    def answer(self):
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))

    @property
    def reason(self):
        return self.answer["error"]

    def header(self, name):
        return dict(self.sent[0]["headers"]).get(name)


def asked(app, *given, **settings):
    one = Sender(*given, **settings)
    asyncio.run(app(one.scope, one.receive, one.send))
    return one
