"""Services over HTTP: embeddings in the shape of OpenAI or Voyage, and re-ranking in the shape of Voyage or Cohere."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from freehold.errors import UpstreamFailed
from freehold.outbound.client import Client
from freehold.outbound.dial import Origin, parse_url
from freehold.outbound.failures import WayOutFailed

_AT_ONCE = 64
"""Texts of one request: some 20,000 tokens."""
_MOST_CHARACTERS = 16_000
_TRIES = 4
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT_S = 20.0


class Service:
    """One address of a service that takes JSON and answers JSON; tries again where that may help."""

    def __init__(
        self,
        url: str,
        key: str | None,
        client_of: Callable[[Origin], Client],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Raises `ValueError`: the address is none."""
        origin, self._path = parse_url(url)
        self._client = client_of(origin)
        self._key = key
        self._sleep = sleep

    async def ask(self, body: dict[str, Any]) -> Any:
        """The answer. Raises `UpstreamFailed`."""
        told = ""
        for attempt in range(_TRIES):
            wait_s = min(_LONGEST_WAIT_S, 0.5 * 2**attempt)
            try:
                status, answer, after_s = await self._once(msgspec.json.encode(body))
                if status == 200:
                    return msgspec.json.decode(answer)
                told, wait_s = f"it answered {status}", min(_LONGEST_WAIT_S, after_s or wait_s)
                if status not in _AGAIN:
                    break
            except WayOutFailed as error:
                told = str(error)
            except msgspec.DecodeError:
                told = "its answer is not JSON"
                break
            if attempt + 1 < _TRIES:
                await self._sleep(wait_s)
        raise UpstreamFailed(f"The service at {self._client.origin.host} failed: {told}.")

    async def close(self) -> None:
        """Let its connections go."""
        await self._client.close()

    async def _once(self, body: bytes) -> tuple[int, bytes, float]:
        lines = [
            f"POST {self._path} HTTP/1.1",
            f"host: {self._client.origin.authority}",
            "content-type: application/json",
            "accept: application/json",
            f"content-length: {len(body)}",
            *([f"authorization: Bearer {self._key}"] if self._key else []),
        ]
        async with self._client.exchange("\r\n".join(lines).encode() + b"\r\n\r\n", body) as answer:
            after = (answer.header(b"retry-after") or b"").decode("latin-1")
            return answer.status, await answer.read_all(), float(after) if after.isdecimal() else 0.0


class ServiceEmbedder:
    """See `Embedder`."""

    vote = 1.0

    def __init__(self, service: Service, model: str, *, tells_kind: bool) -> None:
        """`tells_kind`: say whether a text is a document or a query, as Voyage wants it and OpenAI refuses it."""
        self.name = f"service:{model}"[:128]
        self._service = service
        self._model = model
        self._tells_kind = tells_kind

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """See `Embedder`."""
        made: list[bytes] = []
        for at in range(0, len(texts), _AT_ONCE):
            made += await self._some(texts[at : at + _AT_ONCE], "document")
        return made

    async def query(self, text: str) -> bytes:
        """See `Embedder`."""
        return (await self._some([text], "query"))[0]

    async def _some(self, texts: Sequence[str], kind: str) -> list[bytes]:
        body: dict[str, Any] = {"model": self._model, "input": [text[:_MOST_CHARACTERS] for text in texts]}
        answer = await self._service.ask({**body, "input_type": kind} if self._tells_kind else body)
        return await asyncio.to_thread(_vectors, answer, len(texts))


class ServiceReranker:
    """Puts passages into the order in which the service thinks that they answer."""

    def __init__(self, service: Service, model: str) -> None:
        self._service = service
        self._model = model

    async def order(self, query: str, texts: Sequence[str]) -> list[int]:
        """See `search.Reranks`."""
        body = {"model": self._model, "query": query, "documents": [text[:_MOST_CHARACTERS] for text in texts]}
        answer = await self._service.ask(body)
        try:
            found = answer.get("data") or answer.get("results")
            order = [int(one["index"]) for one in sorted(found, key=lambda one: -float(one["relevance_score"]))]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UpstreamFailed("The re-ranking service gave an answer of another shape.") from error
        known = [place for place in dict.fromkeys(order) if 0 <= place < len(texts)]
        return [*known, *sorted(set(range(len(texts))) - set(known))]


def _vectors(answer: Any, count: int) -> list[bytes]:
    """In the order of the texts, brought to length 1. Raises `UpstreamFailed`."""
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        made = [_packed(row["embedding"]) for row in rows]
    except (KeyError, TypeError, struct.error, OverflowError) as error:
        raise UpstreamFailed("The embeddings service gave an answer of another shape.") from error
    if len(made) != count or len({len(one) for one in made}) > 1:
        raise UpstreamFailed(f"The embeddings service gave {len(made)} vectors for {count} texts.")
    return made


def _packed(vector: Sequence[float]) -> bytes:
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return struct.pack(f"<{len(vector)}e", *(value / length for value in vector))
