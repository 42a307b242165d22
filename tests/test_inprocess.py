"""The transports that run the application in process: they stream, hold back, and tell when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic

from freehold.inprocess import AsgiTransport, BlockingAsgiTransport, async_client

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App:
    """An ASGI application that tells the tests what it saw."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.scope: MutableMapping[str, Any] = {}
        self.sent = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        try:
            await getattr(self, scope["path"].strip("/"))(receive, send)
            self.ended.put_nowait("returned")
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise

    async def echo(self, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part["body"], part["more_body"]
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-len", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    async def two_parts(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"second"})

    async def flood(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            self.sent += 1

    async def polite(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async def raises(self, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("before the head")

    async def breaks_off(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def silent(self, receive: Receive, send: Send) -> None:
        await self.go_on.wait()


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=AsgiTransport(app), base_url="http://here", timeout=5) as client:
        yield client


async def test_a_request_arrives_whole_and_its_answer_too(app: App, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/echo?limit=2&name%5B%5D=a", content=b"body" * 1000, headers={"X-Api-Key": "k"})
    assert (answer.status_code, answer.content, answer.headers["x-len"]) == (201, b"body" * 1000, "4000")
    assert app.scope["query_string"] == b"limit=2&name%5B%5D=a"
    assert (b"x-api-key", b"k") in app.scope["headers"]


async def test_a_part_is_read_before_the_next_is_made(app: App, client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/two_parts") as answer:
        parts = answer.aiter_bytes()
        assert await anext(parts) == b"first"
        app.go_on.set()
        assert await anext(parts) == b"second"
    assert await app.ended.get() == "returned"


async def test_an_application_cannot_run_far_ahead_of_its_reader(app: App, client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/flood") as answer:
        parts = answer.aiter_bytes()
        await anext(parts)
        for _ in range(100):
            await asyncio.sleep(0)
        assert app.sent < 20


async def test_leaving_an_answer_tells_the_application(app: App, client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/polite") as answer:
        await anext(answer.aiter_bytes())
    assert await app.ended.get() == "returned"


async def test_an_application_that_does_not_listen_is_cancelled(app: App, client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", "/two_parts") as answer:
        await anext(answer.aiter_bytes())
    assert await app.ended.get() == "cancelled"


async def test_an_exception_is_a_broken_connection_with_its_cause(client: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.RemoteProtocolError) as caught:
        await client.get("/raises")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_half_an_answer_is_a_broken_connection(client: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.RemoteProtocolError, match="ended without finishing"):
        await client.get("/breaks_off")


async def test_the_read_timeout_counts(client: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        await client.get("/silent", timeout=0.02)


async def test_closing_the_client_leaves_open_answers(app: App) -> None:
    client = httpx2.AsyncClient(transport=AsgiTransport(app), base_url="http://here")
    answer = await client.send(client.build_request("GET", "/polite"), stream=True)
    await client.aclose()
    assert await app.ended.get() == "returned"
    assert answer.status_code == 200


async def test_the_sync_client_streams_from_another_thread(app: App) -> None:
    loop = asyncio.get_running_loop()

    def work() -> list[bytes]:
        transport = BlockingAsgiTransport(app, loop)
        with httpx2.Client(transport=transport, base_url="http://here", timeout=5) as client:
            assert client.post("/echo", content=b"hello").content == b"hello"
            with client.stream("GET", "/two_parts") as answer:
                parts = answer.iter_bytes()
                first = next(parts)
                loop.call_soon_threadsafe(app.go_on.set)
                return [first, *parts]

    assert await asyncio.to_thread(work) == [b"first", b"second"]


async def test_the_sync_client_refuses_its_own_loop(app: App) -> None:
    transport = BlockingAsgiTransport(app, asyncio.get_running_loop())
    with (
        httpx2.Client(transport=transport, base_url="http://here") as client,
        pytest.raises(RuntimeError, match="its own thread"),
    ):
        client.get("/echo")


async def test_the_official_client_speaks_over_it() -> None:
    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        assert scope["path"] == "/v1/models/claude"
        assert (b"authorization", b"Bearer fh-key") in scope["headers"]
        body = b'{"type":"error","error":{"type":"not_found_error","message":"no such model"},"request_id":"req_1"}'
        headers = [(b"content-type", b"application/json"), (b"request-id", b"req_1")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    from anthropic import NotFoundError

    client: AsyncAnthropic = async_client(app, "fh-key", strict=True)
    async with client:
        with pytest.raises(NotFoundError) as caught:
            await client.models.retrieve("claude")
    assert caught.value.request_id == "req_1"
