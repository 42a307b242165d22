"""Claude's Message Batches API over HTTP, for whoever lets an upstream work on batches. Bytes stay as they came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from freehold.calls import Attempted, Headers, NotAnswered
from freehold.errors import FreeholdError, UpstreamFailed
from freehold.outbound.client import Client
from freehold.outbound.failures import WayOutFailed
from freehold.upstreams.forwarding import request_head
from freehold.wire.envelopes import error_of

_PATH = "/v1/messages/batches"
MOST_LINE_BYTES = 64 << 20
"""Of one result; a longer one is no message of Claude's."""


class ClaudeBatches:
    """See `RunsBatches`. `own` are the header lines that every request to this upstream carries."""

    def __init__(
        self, client: Client, prefix: bytes, own: bytes, told: Callable[[WayOutFailed], FreeholdError]
    ) -> None:
        self._client = client
        self._prefix = prefix
        self.own = own
        self._told = told

    async def create(self, body: bytes, headers: Headers) -> dict[str, Any]:
        """See `RunsBatches.create_batch`."""
        try:
            return await self._ask("POST", "", body, headers)
        except WayOutFailed as error:
            if error.attempted is Attempted.NOT_SENT:
                raise self._told(error) from error
            raise NotAnswered(error.attempted, self._told(error)) from error

    async def retrieve(self, batch_id: str) -> dict[str, Any]:
        """See `RunsBatches.batch`."""
        return await self._certainly("GET", f"/{quote(batch_id, safe='')}")

    async def recent(self) -> Sequence[dict[str, Any]]:
        """See `RunsBatches.recent_batches`."""
        found: list[dict[str, Any]] = (await self._certainly("GET", "?limit=100")).get("data") or []
        return found

    async def cancel(self, batch_id: str) -> dict[str, Any]:
        """See `RunsBatches.cancel_batch`."""
        return await self._certainly("POST", f"/{quote(batch_id, safe='')}/cancel")

    async def results(self, batch_id: str) -> AsyncIterator[bytes]:
        """See `RunsBatches.batch_results`. The path is the API's own: no address that came in an answer is followed."""
        head = request_head(self._line("GET", f"/{quote(batch_id, safe='')}/results"), self.own, [], 0)
        try:
            async with self._client.exchange(head) as answer:
                if answer.status != 200:
                    raise error_of(answer.status, await answer.read_all())
                rest = b""
                while piece := await answer.read():
                    *whole, rest = (rest + piece).split(b"\n")
                    for line in whole:
                        yield line
                    if len(rest) > MOST_LINE_BYTES:
                        raise UpstreamFailed("A line of the upstream's results is too long.")
                if rest:
                    yield rest
        except WayOutFailed as error:
            raise self._told(error) from error

    async def _certainly(self, method: str, path: str) -> dict[str, Any]:
        try:
            return await self._ask(method, path, b"", [])
        except WayOutFailed as error:
            raise self._told(error) from error

    async def _ask(self, method: str, path: str, body: bytes, headers: Headers) -> dict[str, Any]:
        head = request_head(self._line(method, path), self.own, headers, len(body))
        async with self._client.exchange(head, body) as answer:
            said = await answer.read_all()
            if answer.status >= 400:
                raise _with_headers(error_of(answer.status, said), answer.headers)
        try:
            found: dict[str, Any] = msgspec.json.decode(said, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamFailed("The upstream's answer about a batch is not JSON.") from error
        return found

    def _line(self, method: str, path: str) -> bytes:
        return b"%b %b%b%b HTTP/1.1\r\n" % (method.encode(), self._prefix, _PATH.encode(), path.encode("ascii"))


def _with_headers(error: FreeholdError, headers: Headers) -> FreeholdError:
    error.headers.update({n.decode("latin-1"): v.decode("latin-1") for n, v in headers if n.startswith(b"retry-after")})
    return error
