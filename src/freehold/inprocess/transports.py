"""Transports of the official clients that run an ASGI application in this process, and clients over them.

Everything above the socket is real: routing, authentication, streaming, back-pressure, a client that leaves. The
application runs in a task of its own for each request, as it does behind a listening server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic

T = TypeVar("T")
Message = MutableMapping[str, Any]
Asgi = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

log = logging.getLogger(__name__)
BASE_URL = "http://in-process"
_PARTS_AHEAD = 16
"""Parts of an answer that the application may send before the client reads: about what a socket's buffer holds."""
_GRACE_S = 1.0
"""How long the application may go on once the client has left; then its task is cancelled."""


def async_client(app: Asgi, api_key: str, *, strict: bool = False, max_retries: int = 2) -> AsyncAnthropic:
    """The official async client over `app`; for use on the event loop that the application was started on.

    `strict` makes the SDK check every answer against its own types and raise where they differ.
    """
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(
        api_key=api_key,
        base_url=BASE_URL,
        max_retries=max_retries,
        http_client=httpx2.AsyncClient(transport=AsgiTransport(app), timeout=600),
        _strict_response_validation=strict,
    )


def sync_client(
    app: Asgi, api_key: str, loop: asyncio.AbstractEventLoop, *, strict: bool = False, max_retries: int = 2
) -> Anthropic:
    """The official sync client over `app`, which runs on `loop`; for use in any other thread than the loop's."""
    from anthropic import Anthropic

    return Anthropic(
        api_key=api_key,
        base_url=BASE_URL,
        max_retries=max_retries,
        http_client=httpx2.Client(transport=BlockingAsgiTransport(app, loop), timeout=600),
        _strict_response_validation=strict,
    )


class AsgiTransport(httpx2.AsyncBaseTransport):
    """Requests go to an ASGI application in this process; answers stream, and leaving one early tells the application.

    What the application raises reaches the client as a broken connection, with the exception as its cause.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self._open: set[_Exchange] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`."""
        exchange = _Exchange(self._app, request)
        self._open.add(exchange)
        exchange.when_done(lambda: self._open.discard(exchange))
        try:
            head = await exchange.head()
        except BaseException:
            await exchange.aclose()
            raise
        return httpx2.Response(head["status"], headers=list(head["headers"]), stream=exchange, request=request)

    async def aclose(self) -> None:
        """Leave every answer that is still open."""
        await asyncio.gather(*(exchange.aclose() for exchange in list(self._open)))


class _Exchange(httpx2.AsyncByteStream):
    """One request and its answer: the application's task on one side, the client's reads on the other."""

    def __init__(self, app: Asgi, request: httpx2.Request) -> None:
        self._request = request
        self._limits: dict[str, float | None] = request.extensions.get("timeout", {})
        self._parts: asyncio.Queue[Message | None] = asyncio.Queue(_PARTS_AHEAD)
        self._body = _body_of(request)
        self._body_sent = False
        self._complete = False
        self._left = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(app))

    def when_done(self, tell: Callable[[], object]) -> None:
        """Call `tell` once the application has ended."""
        self._task.add_done_callback(lambda _: tell())
        self._task.add_done_callback(_report)

    async def head(self) -> Message:
        """Wait for status and headers."""
        part = await self._next()
        if part["type"] != "http.response.start":
            raise self._broken(f"the application began its answer with {part['type']}")
        return part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._complete:
            part = await self._next()
            self._complete = not part.get("more_body", False)
            if data := part.get("body", b""):
                yield data

    async def aclose(self) -> None:
        """The client leaves; if that is before the end, the application hears of it and is cancelled if it goes on."""
        self._left.set()
        if self._complete:
            return
        while not self._parts.empty():  # whoever waits to send goes on, and its parts go nowhere
            self._parts.get_nowait()
        await asyncio.wait({self._task}, timeout=_GRACE_S)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self, app: Asgi) -> None:
        try:
            await app(_scope(self._request), self._receive, self._send)
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                self._parts.put_nowait(None)

    async def _receive(self) -> Message:
        async for data in self._body:
            return {"type": "http.request", "body": data, "more_body": True}
        if not self._body_sent:
            self._body_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, part: Message) -> None:
        if self._left.is_set():
            await asyncio.sleep(0)  # else an application that only sends would never let its cancellation in
        else:
            await self._parts.put(part)

    async def _next(self) -> Message:
        """The application's next message; it may have ended without one."""
        if self._parts.empty() and self._task.done():
            raise self._broken("the application ended without finishing its answer")
        try:
            async with asyncio.timeout(self._limits.get("read")):
                part = await self._parts.get()
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no answer in time", request=self._request) from error
        return part if part is not None else await self._next_after_end()

    async def _next_after_end(self) -> Message:
        await asyncio.wait({self._task})
        return await self._next()

    def _broken(self, message: str) -> httpx2.RemoteProtocolError:
        error = httpx2.RemoteProtocolError(message, request=self._request)
        if self._task.done() and not self._task.cancelled():
            error.__cause__ = self._task.exception()
        return error


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the application raised", exc_info=error)


async def _body_of(request: httpx2.Request) -> AsyncIterator[bytes]:
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    async for data in request.stream:
        yield data


def _scope(request: httpx2.Request) -> MutableMapping[str, Any]:
    path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},  # what uvicorn says, so that frameworks act the same
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port or 80),
        "client": ("127.0.0.1", 0),
        "state": {},
    }


class BlockingAsgiTransport(httpx2.BaseTransport):
    """The same for the sync client: the calling thread waits while `loop`, in another thread, does the work."""

    def __init__(self, app: Asgi, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = AsgiTransport(app)
        self._loop = loop

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.BaseTransport`."""
        assert isinstance(request.stream, httpx2.SyncByteStream)
        outgoing = httpx2.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=b"".join(request.stream),
            extensions=request.extensions,
        )
        answer = self._wait(self._transport.handle_async_request(outgoing))
        assert isinstance(answer.stream, _Exchange)
        stream = _BlockingStream(answer.stream, self._wait)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=stream, request=request)

    def close(self) -> None:
        """Leave every answer that is still open; on the loop's own thread without waiting for it."""
        if self._loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._transport.aclose(), self._loop)
            if _running_loop() is not self._loop:
                closing.result()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if _running_loop() is self._loop:
            work.close()
            raise RuntimeError("the sync client would wait for its own thread; use it in `asyncio.to_thread`")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _BlockingStream(httpx2.SyncByteStream):
    def __init__(self, exchange: _Exchange, wait: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._exchange = exchange
        self._parts = exchange.__aiter__()
        self._wait = wait

    def __iter__(self) -> Iterator[bytes]:
        while (part := self._wait(self._next())) is not None:
            yield part

    def close(self) -> None:
        self._wait(self._exchange.aclose())

    async def _next(self) -> bytes | None:
        return await anext(self._parts, None)
