"""Transports of the official clients that run an ASGI application in this process, and clients over them.

Everything above the socket is real: routing, authentication, streaming, back-pressure, a client that leaves. The
application runs in a task of its own for each request, as it does behind a listening server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
from starlette.types import ASGIApp, Scope

from freehold.within import Broken, Exchange, scope_of

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic

T = TypeVar("T")
BASE_URL = "http://in-process"


def async_client(app: ASGIApp, api_key: str, *, strict: bool = False, max_retries: int = 2) -> AsyncAnthropic:
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
    app: ASGIApp, api_key: str, loop: asyncio.AbstractEventLoop, *, strict: bool = False, max_retries: int = 2
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

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[_Stream] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`."""
        exchange = Exchange(self._app, _scope(request), _body_of(request))
        stream = _Stream(exchange, request)
        self._open.add(stream)
        exchange.task.add_done_callback(lambda _: self._open.discard(stream))
        try:
            status, headers = await stream.timed(exchange.head())
        except BaseException:
            await stream.aclose()
            raise
        return httpx2.Response(status, headers=list(headers), stream=stream, request=request)

    async def aclose(self) -> None:
        """Leave every answer that is still open."""
        await asyncio.gather(*(stream.aclose() for stream in list(self._open)))


class _Stream(httpx2.AsyncByteStream):
    """The body of an answer, with the time-outs and errors of the client's library."""

    def __init__(self, exchange: Exchange, request: httpx2.Request) -> None:
        self._exchange = exchange
        self._request = request
        self._limits: dict[str, float | None] = request.extensions.get("timeout", {})

    async def timed(self, step: Awaitable[T]) -> T:
        """What `step` gives, within the client's time for a read."""
        try:
            async with asyncio.timeout(self._limits.get("read")):
                return await step
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no answer in time", request=self._request) from error
        except Broken as error:
            raise httpx2.RemoteProtocolError(str(error), request=self._request) from error.__cause__

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self.timed(self._exchange.part())) is not None:
            if part:
                yield part

    async def aclose(self) -> None:
        """The client leaves."""
        await self._exchange.leave()


async def _body_of(request: httpx2.Request) -> AsyncIterator[bytes]:
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    async for data in request.stream:
        yield data


def _scope(request: httpx2.Request) -> Scope:
    url, (path, _, query) = request.url, request.url.raw_path.partition(b"?")
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    server = (url.host, url.port or 80)
    return {**scope_of(request.method, url.path, path, query, headers, server), "scheme": url.scheme}


class BlockingAsgiTransport(httpx2.BaseTransport):
    """The same for the sync client: the calling thread waits while `loop`, in another thread, does the work."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
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
        assert isinstance(answer.stream, _Stream)
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
    def __init__(self, stream: _Stream, wait: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._stream = stream
        self._parts = stream.__aiter__()
        self._wait = wait

    def __iter__(self) -> Iterator[bytes]:
        while (part := self._wait(self._next())) is not None:
            yield part

    def close(self) -> None:
        self._wait(self._stream.aclose())

    async def _next(self) -> bytes | None:
        return await anext(self._parts, None)
