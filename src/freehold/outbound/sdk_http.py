"""Our way out as the HTTP client of an SDK: proxies, authorities and limits of `outbound` hold for it too.

An SDK that builds and signs its own requests gets this; nothing of it is loaded where no such SDK is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import httpx2

from freehold.calls import Attempted
from freehold.outbound.client import Answer, Client, Exchange
from freehold.outbound.dial import Origin, parse_url
from freehold.outbound.failures import BrokenOff

HttpClient = httpx2.AsyncClient
ANSWER = httpx2.Response
"""The type of an answer as it is before an SDK has looked at it."""
MakeClient = Callable[[Origin], Client]


class OutboundTransport(httpx2.AsyncBaseTransport):
    """A client of ours for each origin that is asked. Raises `WayOutFailed`, which an SDK wraps as its cause.

    Headers leave as they are, signed ones among them; nothing is decoded, so ask for `accept-encoding: identity`. An
    answer of more than `most_bytes` is broken off.
    """

    def __init__(self, make: MakeClient, most_bytes: int | None = None) -> None:
        self._make = make
        self._most_bytes = most_bytes
        self._clients: dict[Origin, Client] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`."""
        body = await request.aread()
        head = _head(request, len(body))
        exchange = self._client_for(request).exchange(head, body, streamed=True)
        answer = await exchange.__aenter__()
        stream = _Stream(answer, exchange, self._most_bytes)
        return httpx2.Response(answer.status, headers=answer.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        """Let every connection go."""
        for client in self._clients.values():
            await client.close()

    def _client_for(self, request: httpx2.Request) -> Client:
        url = request.url
        origin, _ = parse_url(f"{url.scheme}://{url.netloc.decode('ascii')}")
        if origin not in self._clients:
            self._clients[origin] = self._make(origin)
        return self._clients[origin]


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, answer: Answer, exchange: Exchange, most_bytes: int | None) -> None:
        self._answer = answer
        self._exchange = exchange
        self._left_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._answer.read():
            if self._left_bytes is not None:
                self._left_bytes -= len(data)
                if self._left_bytes < 0:
                    raise BrokenOff("the answer is larger than this server takes", attempted=Attempted.UNANSWERED)
            yield data

    async def aclose(self) -> None:
        await self._exchange.__aexit__(None, None, None)


def http_client(
    make: MakeClient, headers: Mapping[str, str] | None = None, most_bytes: int | None = None
) -> httpx2.AsyncClient:
    """For the `http_client` of an SDK's client. `headers` go along with every request, `most_bytes` bounds an answer;
    time-outs are those of our limits.
    """
    given = {"accept-encoding": "identity", **(headers or {})}
    transport = OutboundTransport(make, most_bytes)
    return httpx2.AsyncClient(transport=transport, headers=given, timeout=None, trust_env=False)


def _head(request: httpx2.Request, body_bytes: int) -> bytes:
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)]
    dropped = (b"content-length", b"connection", b"transfer-encoding")
    for name, value in request.headers.raw:
        if name.lower() not in dropped:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines) + b"content-length: %d\r\n\r\n" % body_bytes
