"""The nearest vectors of a collection, by comparing all of them: 100,000 of 256 numbers take some 10 ms.

What was read of a collection is kept while there is room. Numbers of chunks only grow, so a change is read from where
the last reading ended; vectors of chunks that went stay until they are a tenth, and nobody finds them meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import FreeholdError, InvalidRequest
from freehold.knowledge.meaning.base import Embedder
from freehold.store.knowledge import CollectionRow
from freehold.store.knowledge_chunks import KnowledgeChunks

log = logging.getLogger(__name__)
_READ_AT_ONCE = 5_000
_STALE = 1.1


@dataclass(slots=True)
class _Kept:
    """Vectors in memory: blocks of numbers of chunks with their vectors."""

    version: int = -1
    last: int = 0
    count: int = 0
    size_bytes: int = 0
    blocks: list[tuple[Any, Any]] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Nearest:
    """Makes vectors for collections and finds the nearest; see `ingest.Embeds` and `search.Near`."""

    def __init__(self, chunks: KnowledgeChunks, embedders: Mapping[str, Embedder], memory_bytes: int) -> None:
        """`embedders` by their names. `memory_bytes`: for the vectors of all collections together."""
        self._chunks = chunks
        self._embedders = dict(embedders)
        self._memory_bytes = memory_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def documents(self, embedding: str, texts: Sequence[str]) -> list[bytes]:
        """One vector each. Raises `InvalidRequest` where their maker is not set up, and what it raises."""
        embedder = self._embedders.get(embedding)
        if embedder is None:
            raise InvalidRequest(f"The vectors of this collection are made by {embedding}, which is not set up here.")
        return await embedder.documents(texts)

    def vote(self, collection: CollectionRow) -> float:
        """What a place in the ranking of `nearest` counts."""
        embedder = self._embedders.get(collection.embedding)
        return 0.0 if embedder is None else embedder.vote

    async def nearest(self, collection: CollectionRow, query: str, limit: int) -> list[tuple[int, float]]:
        """See `Near`. Nothing, with a line in the log, while the maker of its vectors cannot be had."""
        embedder = self._embedders.get(collection.embedding)
        if embedder is None:
            log.warning("%s is searched by words alone: %s is not set up", collection.id, collection.embedding)
            return []
        try:
            wanted = await embedder.query(query)
        except FreeholdError as error:
            log.warning("%s is searched by words alone: %s", collection.id, error.message)
            return []
        kept = self._kept.setdefault(collection.id, _Kept())
        self._kept.move_to_end(collection.id)
        async with kept.lock:
            await self._refresh(collection, kept)
        self._forget_others(collection.id)
        return await asyncio.to_thread(_nearest, list(kept.blocks), wanted, limit)

    async def _refresh(self, collection: CollectionRow, kept: _Kept) -> None:
        if kept.version == collection.version:
            return
        if kept.count > _STALE * max(1, collection.indexed_chunks):
            kept.last = kept.count = kept.size_bytes = 0
            kept.blocks = []
        while some := await self._chunks.vectors(collection.id, after=kept.last, limit=_READ_AT_ONCE):
            numbers, matrix = await asyncio.to_thread(_block, some)
            kept.blocks.append((numbers, matrix))
            kept.last, kept.count = some[-1][0], kept.count + len(some)
            kept.size_bytes += matrix.nbytes
        kept.version = collection.version
        if len(kept.blocks) > 32:
            kept.blocks = await asyncio.to_thread(_joined, kept.blocks)

    def _forget_others(self, collection_id: str) -> None:
        while len(self._kept) > 1 and sum(kept.size_bytes for kept in self._kept.values()) > self._memory_bytes:
            oldest = next(iter(self._kept))
            if oldest == collection_id:
                return
            del self._kept[oldest]


def _block(rows: Sequence[tuple[int, bytes]]) -> tuple[Any, Any]:
    import numpy

    matrix = numpy.frombuffer(b"".join(vector for _, vector in rows), dtype="<f2").reshape(len(rows), -1)
    return numpy.array([number for number, _ in rows]), matrix.astype("float32")


def _joined(blocks: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    import numpy

    return [(numpy.concatenate([one[0] for one in blocks]), numpy.concatenate([one[1] for one in blocks]))]


def _nearest(blocks: Sequence[tuple[Any, Any]], wanted: bytes, limit: int) -> list[tuple[int, float]]:
    import numpy

    query = numpy.frombuffer(wanted, dtype="<f2").astype("float32")
    found: list[tuple[int, float]] = []
    for numbers, matrix in blocks:
        if matrix.shape[1] != len(query):
            continue
        near = matrix @ query
        top = numpy.argpartition(-near, min(limit, len(near) - 1))[:limit]
        found += [(int(numbers[place]), float(near[place])) for place in top]
    return sorted(found, key=lambda one: -one[1])[:limit]
