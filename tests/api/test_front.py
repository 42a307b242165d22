"""The short way of Messages calls past ASGI: whatever the form of a request, it is answered as on the long way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from freehold.api.front import FrontProtocol
from freehold.api.messages import MessagesRoute
from freehold.api.strict_http import GatheringProtocol
from freehold.clock import SystemClock
from tests.gateway.house import BODY, KEY, House, RawClient, gateway, served, until, whole

REQUEST = json.dumps(BODY).encode()


@asynccontextmanager
async def through(http: type[GatheringProtocol]) -> AsyncIterator[House]:
    """A gateway whose server speaks HTTP with that class."""
    async with gateway(whole) as house, served(MessagesRoute(house.handler, clock=SystemClock()), http) as url:
        house.url = url
        yield house


def forms() -> dict[str, bytes]:
    """One request in forms that only some clients use."""
    head = f"host: x\r\nauthorization: Bearer {KEY}\r\n".encode()
    length = b"content-length: %d\r\n\r\n" % len(REQUEST)
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(REQUEST), REQUEST)
    post = b"POST /v1/messages HTTP/1.1\r\n"
    return {
        "usual": post + head + length + REQUEST,
        "with a query": b"POST /v1/messages?beta=true HTTP/1.1\r\n" + head + length + REQUEST,
        "escaped": b"POST /v1/%6dessages HTTP/1.1\r\n" + head + length + REQUEST,
        "absolute": b"POST http://x/v1/messages HTTP/1.1\r\n" + head + length + REQUEST,
        "chunked": post + head + b"transfer-encoding: chunked\r\n\r\n" + chunk,
        "asking to go on": post + head + b"expect: 100-continue\r\n" + length + REQUEST,
        "old": b"POST /v1/messages HTTP/1.0\r\n" + head + length + REQUEST,
        "last": post + head + b"connection: close\r\n" + length + REQUEST,
    }


@pytest.mark.parametrize("http", [FrontProtocol, GatheringProtocol])
@pytest.mark.parametrize("form", forms())
async def test_every_form_of_a_request_is_answered(form: str, http: type[GatheringProtocol]) -> None:
    async with through(http) as house, RawClient.connected(house.url) as raw:
        raw.writer.write(forms()[form])
        status, headers = await raw.head()
        if status == 100:
            status, headers = await raw.head()
        assert status == 200
        assert json.loads(await raw.body(headers))["type"] == "message"
        assert (dict(headers).get("connection") == "close") == (form in ("old", "last"))
        assert (await house.row()).status == 200


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    bad = (
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: 2\r\n\r\n{}"
        % KEY.encode()
    )
    async with through(FrontProtocol) as house, RawClient.connected(house.url) as raw:
        raw.writer.write(forms()["usual"] + bad + forms()["chunked"] + forms()["usual"])
        seen = []
        for _ in range(4):
            status, headers = await raw.head()
            await raw.body(headers)
            seen.append(status)
        assert seen == [200, 400, 200, 200]
        await until(lambda: len(house.rows) == 4)


async def test_a_request_split_at_every_byte_is_one_request() -> None:
    async with through(FrontProtocol) as house, RawClient.connected(house.url) as raw:
        for byte in forms()["usual"]:
            raw.writer.write(bytes([byte]))
            await raw.writer.drain()
            await asyncio.sleep(0)
        status, headers = await raw.head()
        await raw.body(headers)
        assert status == 200


async def test_a_client_that_leaves_before_its_body_is_whole_has_made_no_call() -> None:
    async with through(FrontProtocol) as house:
        async with RawClient.connected(house.url) as raw:
            raw.writer.write(forms()["usual"][:-10])
            await raw.writer.drain()
            raw.leave()
        async with RawClient.connected(house.url) as raw:
            raw.writer.write(forms()["usual"])
            _, headers = await raw.head()
            await raw.body(headers)
        await until(lambda: len(house.rows) == 1)
        assert house.rows[0].status == 200


async def test_requests_of_one_connection_are_told_apart_by_their_headers() -> None:
    other = forms()["usual"].replace(KEY.encode(), b"sk-fh-" + b"x" * 43)
    spoken = forms()["usual"].replace(b"host: x\r\n", b"host: x\r\nx-freehold-task-type: sorting\r\n")
    async with through(FrontProtocol) as house, RawClient.connected(house.url) as raw:
        seen = []
        for request in (forms()["usual"], other, spoken, forms()["usual"], other):
            raw.writer.write(request)
            status, headers = await raw.head()
            await raw.body(headers)
            seen.append(status)
        assert seen == [200, 401, 200, 200, 401]
        await until(lambda: len(house.rows) == 5)
        assert [row.task_type for row in house.rows] == [None, None, "sorting", None, None]


def asking(text: str, key: str = KEY, more: str = "") -> bytes:
    body = json.dumps({**BODY, "messages": [{"role": "user", "content": text}]}).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def answers(raw: RawClient, count: int) -> list[int]:
    seen = []
    for _ in range(count):
        status, headers = await raw.head()
        await raw.body(headers)
        seen.append(status)
    return seen


async def test_a_request_whose_head_has_come_before_is_taken_with_its_own_body() -> None:
    texts = ["a", "b" * 10, "c" * 1000, "d", "e" * 100_000, "f"]
    async with through(FrontProtocol) as house, RawClient.connected(house.url) as raw:
        for text in texts:
            raw.writer.write(asking(text))
            assert await answers(raw, 1) == [200]
        asked = [json.loads(call.body)["messages"][0]["content"] for call in house.upstream.requests]
        assert asked == texts
        await until(lambda: len(house.rows) == len(texts))


async def test_a_head_that_has_come_before_serves_no_other_request() -> None:
    stranger = "sk-fh-" + "x" * 43
    usual = asking("a")
    bad = usual.replace(b'"messages"', b'"massages"')
    async with through(FrontProtocol) as house, RawClient.connected(house.url) as raw:
        for requests, expected in (
            ([usual], [200]),
            ([usual], [200]),
            ([asking("a", stranger)], [401]),
            ([usual], [200]),
            ([usual], [200]),
            ([bad], [400]),
            ([asking("a", more="x-freehold-nonsense: 1\r\n")], [400]),
            ([usual], [200]),
            ([b"GET /v1/messages HTTP/1.1\r\nhost: x\r\n\r\n", usual], [405, 200]),
            ([usual, usual, bad], [200, 200, 400]),
            ([usual], [200]),
        ):
            raw.writer.write(b"".join(requests))
            assert await answers(raw, len(expected)) == expected


async def test_a_body_that_looks_like_a_request_stays_a_body() -> None:
    usual = asking("a")
    inner = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(usual)
    async with through(FrontProtocol) as house, RawClient.connected(house.url) as raw:
        for _ in range(3):
            raw.writer.write(usual)
            assert await answers(raw, 1) == [200]
        raw.writer.write(inner)
        await asyncio.sleep(0.05)
        raw.writer.write(usual)
        assert await answers(raw, 1) == [401]
        assert len(house.upstream.requests) == 3
