"""Our way out as the HTTP client of an SDK: proxies, authorities and limits of `outbound` hold for it too.

An SDK that builds and signs its own requests gets this; nothing of it is loaded where no such SDK is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx2

from freehold.outbound.client import Answer, Client, Exchange
from freehold.outbound.dial import Origin, parse_url

ANSWER = httpx2.Response
"""The type of an answer as it is before an SDK has looked at it."""
MakeClient = Callable[[Origin], Client]


class OutboundTransport(httpx2.AsyncBaseTransport):
    """A client of ours for each origin that is asked. Raises `WayOutFailed`, which an SDK wraps as its cause.

    Headers leave as they are, signed ones among them; nothing is decoded, so ask for `accept-encoding: identity`.
    """

    def __init__(self, make: MakeClient) -> None:
        self._make = make
        self._clients: dict[Origin, Client] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`."""
        body = await request.aread()
        head = _head(request, len(body))
        exchange = self._client_for(request).exchange(head, body, streamed=True)
        answer = await exchange.__aenter__()
        stream = _Stream(answer, exchange)
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
    def __init__(self, answer: Answer, exchange: Exchange) -> None:
        self._answer = answer
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._answer.read():
            yield data

    async def aclose(self) -> None:
        await self._exchange.__aexit__(None, None, None)


def http_client(make: MakeClient) -> httpx2.AsyncClient:
    """For the `http_client` of an SDK's client. Time-outs are those of our limits."""
    return httpx2.AsyncClient(transport=OutboundTransport(make), timeout=None, trust_env=False)


def _head(request: httpx2.Request, body_bytes: int) -> bytes:
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)]
    dropped = (b"content-length", b"connection", b"transfer-encoding")
    for name, value in request.headers.raw:
        if name.lower() not in dropped:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines) + b"content-length: %d\r\n\r\n" % body_bytes
