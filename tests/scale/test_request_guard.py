# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A body that is too large is refused before it is read whole, a stranger before anything; work ends with answers."""
import asyncio

import pytest
from support.asgi import Sender, asked

from ppdet_ext.scale.request_guard import BodyLimit, Guard, answer

MOST, SECRET = 1000, "0123456789abcdef"


async def reads_all(scope, receive, send):
    """An application that answers with the body's length."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("gone")
        length += len(message["body"])
        more = message["more_body"]
    await answer(send, 200, str(length))


def guard(app=reads_all, token=None, hosts=(), most=2, done=lambda *_: None):
    return Guard(app, token, hosts, most, done)


def test_a_body_within_the_limit_passes():
    one = asked(BodyLimit(reads_all, MOST), [b"x" * 400, b"x" * 600], [("content-length", "1000")])
    assert (one.code, one.reason) == (200, "1000")


@pytest.mark.parametrize("length", ["1001", "9" * 5000])
def test_what_declares_too_much_is_not_read_at_all(length):
    one = asked(BodyLimit(reads_all, MOST), [b"x" * 1001], [("Content-Length", length)])
    assert (one.code, one.read) == (413, 0)
    assert "more than 1000 bytes" in one.reason and "PPDET_EXT_MAX_REQUEST_BYTES" in one.reason
    assert one.header(b"connection") == b"close"


@pytest.mark.parametrize("headers", [[], [("content-length", "10")], [("content-length", "x")]])
def test_what_declares_nothing_or_lies_is_read_no_further_than_the_limit(headers):
    one = asked(BodyLimit(reads_all, MOST), [b"x" * 400] * 100, headers)
    assert (one.code, one.read) == (413, 1200)


def test_an_error_of_the_application_stays_one():
    async def fails(scope, receive, send):
        raise RuntimeError("its own")

    with pytest.raises(RuntimeError, match="its own"):
        asked(BodyLimit(fails, MOST), [b"x"])


@pytest.mark.parametrize("path", ["/predict", "/predict/", "/metrics", "/models", "/nothing", "/openapi.json"])
def test_strangers_are_turned_away_before_the_body_is_read(path):
    for headers in ([], [("authorization", "Bearer another-one-here")]):
        one = asked(guard(token=SECRET), [b"x"], headers, path=path)
        assert (one.code, one.read, one.header(b"www-authenticate")) == (401, 0, b"Bearer")
        assert SECRET not in one.reason
    assert asked(guard(token=SECRET), [b"x"], [("Authorization", f"Bearer {SECRET}")], path=path).code == 200


def test_health_needs_no_token_and_without_one_nobody_does():
    assert asked(guard(token=SECRET), [b"x"], path="/health").code == 200
    assert asked(guard(), [b"x"]).code == 200


def test_another_name_of_the_server_is_refused():
    ours = guard(hosts=("127.0.0.1", "[::1]"))
    for host in ("127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "[::1]"):
        assert asked(ours, [b"x"], [("host", host)]).code == 200
    for headers in ([("host", "evil.example:8000")], [("host", "127.0.0.1.evil.example")], []):
        one = asked(ours, [b"x"], headers, path="/health")
        assert (one.code, one.read) == (400, 0)
    assert asked(guard(), [b"x"], [("host", "any.example")]).code == 200


def test_work_is_counted_and_told():
    told = []
    one = guard(done=lambda *facts: told.append(facts))

    async def names_a_model(scope, receive, send):
        assert one.running == (scope["path"] == "/predict")
        scope.setdefault("state", {})["model"] = "a"
        await answer(send, 422, "no picture")

    one.app = names_a_model
    asked(one, [b"x"])
    asked(one, [b"x"], path="/metrics/")  # not work
    assert [(model, code) for model, code, _ in told] == [("a", 422)]
    assert one.running == 0


def test_more_than_may_run_at_once_and_the_end():
    async def run():
        free = asyncio.Event()

        async def waits(scope, receive, send):
            await free.wait()
            await answer(send, 200, "done")

        one = guard(waits, most=2)
        first = [Sender([b"x"]) for _ in range(2)]
        tasks = [asyncio.ensure_future(one(request.scope, request.receive, request.send)) for request in first]
        await asyncio.sleep(0)
        third = Sender([b"x"])
        await one(third.scope, third.receive, third.send)
        assert (third.code, third.read, third.header(b"retry-after")) == (503, 0, b"1")
        assert await one.end(0) == 2  # no time: both are still being answered
        late = Sender([b"x"])
        await one(late.scope, late.receive, late.send)
        assert (late.code, late.reason) == (503, "the server is ending")
        end = asyncio.ensure_future(one.end(60))
        await asyncio.sleep(0)
        assert not end.done()
        free.set()
        assert await end == 0
        await asyncio.gather(*tasks)
        assert [request.code for request in first] == [200, 200]

    asyncio.run(run())
