"""Finding passages: BM25 and, where a collection has vectors, nearness of meaning; merged by reciprocal rank.

The most telling word is looked up first; with each one more it is known better who can still be among the best. When
nobody unseen can, the common words need not be gone through, and BM25 is worked out for the few that are left.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from freehold.errors import FreeholdError, InvalidRequest, NotFound
from freehold.knowledge.words import asked
from freehold.store.knowledge import CollectionRow, KnowledgeRows
from freehold.store.knowledge_chunks import FoundChunk, KnowledgeChunks, Looking

log = logging.getLogger(__name__)

MOST_QUERY = 4_000
MOST_RESULTS = 50
MODES = ("hybrid", "words")
"""Words and meaning, or BM25 alone."""
_CANDIDATES = 300
"""Chunks for which BM25 is worked out, at least; as many more as are level with the last of them."""
_MOST_CANDIDATES = 3_000
_SPARE = 10
"""More than asked for, because some may belong to documents that are on their way in or out."""
_DEPTH = 60
"""Of each list that is merged."""
_RRF = 60
"""What a first place is ahead of a second: the usual constant of reciprocal rank fusion."""
_MOST_COLLECTIONS = 50

Key = tuple[str, int]
"""A chunk: its collection's id and its number."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage that was found."""

    collection: str
    document_id: str
    name: str
    title: str
    heading: str
    text: str
    place: Mapping[str, int]
    score: float
    """Of this search only: more is better."""


class Near(Protocol):
    """Finds chunks by nearness of meaning."""

    def vote(self, collection: CollectionRow) -> float:
        """What a place in this ranking counts beside the same place in that of words."""
        ...

    async def nearest(self, collection: CollectionRow, query: str, limit: int) -> list[tuple[int, float]]:
        """Numbers of the nearest chunks, nearest first, with how near they are."""
        ...


class Reranks(Protocol):
    """Puts passages into a better order."""

    async def order(self, query: str, texts: Sequence[str]) -> list[int]:
        """Their places in the order of how well they answer. Raises `FreeholdError`."""
        ...


class Search:
    """Searches the collections of a workspace."""

    def __init__(
        self, rows: KnowledgeRows, chunks: KnowledgeChunks, near: Near | None = None, reranks: Reranks | None = None
    ) -> None:
        self._rows = rows
        self._chunks = chunks
        self._near = near
        self._reranks = reranks

    async def find(
        self, workspace_id: str, query: str, collections: Sequence[str] | None, limit: int, mode: str = MODES[0]
    ) -> list[Passage]:
        """The best passages, best first. `collections` by name, all of the workspace's for `None`.

        `mode`: one of `MODES`.

        Raises:
            InvalidRequest: the query is empty or too long, or `limit` is not from 1 to 50.
            NotFound: there is no such collection.
        """
        if not query.strip() or len(query) > MOST_QUERY:
            raise InvalidRequest(f"query: must have 1 to {MOST_QUERY:,} characters.")
        if not 1 <= limit <= MOST_RESULTS:
            raise InvalidRequest(f"limit: must be from 1 to {MOST_RESULTS}.")
        rows = await self._searched(workspace_id, collections)
        by_words = await self._by_words(rows, query)
        by_meaning = await self._by_meaning(rows, query) if mode == MODES[0] else {}
        merged = fused([(1.0, by_words), *by_meaning.items()]) if by_meaning else dict(by_words)
        return await self._passages(rows, merged, query, limit, reranks=mode == MODES[0])

    async def _searched(self, workspace_id: str, names: Sequence[str] | None) -> list[CollectionRow]:
        rows = await self._rows.named(workspace_id, names, _MOST_COLLECTIONS + 1)
        if missing := set(names or ()) - {row.name for row in rows}:
            raise NotFound(f"There is no collection {', '.join(sorted(missing))[:200]}.")
        if len(rows) > _MOST_COLLECTIONS:
            raise InvalidRequest(f"collections: name those to be searched, at most {_MOST_COLLECTIONS} at once.")
        return rows

    async def _by_words(self, rows: Sequence[CollectionRow], query: str) -> list[tuple[Key, float]]:
        wanted = asked(query)
        if not wanted:
            return []
        found = await asyncio.gather(*(self._chunks.look(row, lambda looking: best(looking, wanted)) for row in rows))
        every = [((row.id, number), score) for row, scores in zip(rows, found, strict=True) for number, score in scores]
        return heapq.nlargest(_DEPTH, every, key=lambda one: one[1])

    async def _by_meaning(self, rows: Sequence[CollectionRow], query: str) -> dict[float, list[tuple[Key, float]]]:
        """One ranking for each kind of vectors, by what it counts."""
        near = self._near
        having = [row for row in rows if row.embedding] if near is not None else []
        if near is None or not having:
            return {}
        found = await asyncio.gather(*(near.nearest(row, query, _DEPTH) for row in having))
        every: defaultdict[float, list[tuple[Key, float]]] = defaultdict(list)
        for row, some in zip(having, found, strict=True):
            if some:
                every[near.vote(row)] += [((row.id, number), score) for number, score in some]
        return {vote: heapq.nlargest(_DEPTH, some, key=lambda one: one[1]) for vote, some in every.items()}

    async def _passages(
        self, rows: Sequence[CollectionRow], merged: Mapping[Key, float], query: str, limit: int, *, reranks: bool
    ) -> list[Passage]:
        ranked = sorted(merged, key=lambda key: (-merged[key], key))
        named, reranking = {row.id: row for row in rows}, reranks and self._reranks is not None
        step = _DEPTH if reranking else limit + _SPARE
        texts: dict[Key, FoundChunk] = {}
        for at in range(0, len(ranked), step):
            texts |= await self._texts(named, ranked[at : at + step])
            if len(texts) >= limit:
                break
        ranked = [key for key in ranked if key in texts]
        if reranking:
            ranked = await self._reordered(query, ranked, texts)
        return [_passage(named[key[0]].name, texts[key], merged[key]) for key in ranked[:limit]]

    async def _texts(self, named: Mapping[str, CollectionRow], keys: Sequence[Key]) -> dict[Key, FoundChunk]:
        """Those of them whose documents are ready."""
        wanted: dict[str, list[int]] = defaultdict(list)
        for collection_id, number in keys:
            wanted[collection_id].append(number)
        texts: dict[Key, FoundChunk] = {}
        for collection_id, numbers in wanted.items():
            found = await self._chunks.look(
                named[collection_id],
                lambda looking, numbers=numbers: looking.chunks(numbers),  # type: ignore[misc]
            )
            texts.update({(collection_id, number): chunk for number, chunk in found.items()})
        return texts

    async def _reordered(self, query: str, ranked: list[Key], texts: Mapping[Key, FoundChunk]) -> list[Key]:
        if self._reranks is None or not ranked:
            return ranked
        try:
            order = await self._reranks.order(query, [f"{texts[key].heading}\n{texts[key].text}" for key in ranked])
        except FreeholdError as error:
            log.warning("passages stay in their order: %s", error.message)
            return ranked
        return [ranked[place] for place in order]


async def best(looking: Looking, words: Sequence[str]) -> list[tuple[int, float]]:
    """The best chunks of one collection for these words by BM25, best first; at most `_DEPTH` and some in reserve."""
    counts = await looking.counts(words)
    chunks = max(looking.size.chunks, *counts.values()) if counts else 0
    weights = {word: math.log(1 + (chunks - count + 0.5) / (count + 0.5)) for word, count in counts.items()}
    totals: defaultdict[int, float] = defaultdict(float)
    left, least = sum(weights.values()), 0.0
    for word in sorted(weights, key=lambda word: -weights[word]):
        left -= weights[word]
        for number in await looking.holders(word):
            totals[number] += weights[word]
        least = _last_of(totals.values(), _CANDIDATES)
        if least > left:
            break
    candidates = [number for number, total in totals.items() if total >= least]
    if len(candidates) > _MOST_CANDIDATES:
        candidates = heapq.nlargest(_MOST_CANDIDATES, candidates, key=lambda number: totals[number])
    if not candidates:
        return []
    scores = await looking.scores(counts, candidates)
    return heapq.nlargest(2 * _DEPTH, scores.items(), key=lambda one: one[1])


def fused(lists: Iterable[tuple[float, Sequence[tuple[Key, float]]]]) -> dict[Key, float]:
    """Reciprocal rank fusion: what stands high in several lists stands highest. Each list comes with its vote."""
    merged: defaultdict[Key, float] = defaultdict(float)
    for vote, ranked in lists:
        for place, (key, _) in enumerate(ranked, 1):
            merged[key] += vote / (_RRF + place)
    return dict(merged)


def _last_of(totals: Iterable[float], most: int) -> float:
    """The total of the last of the `most` best; 0 if there are fewer."""
    top = heapq.nlargest(most, totals)
    return top[-1] if len(top) == most else 0.0


def _passage(collection: str, chunk: FoundChunk, score: float) -> Passage:
    place = json.loads(chunk.place)
    return Passage(
        collection, chunk.document_id, chunk.name, chunk.title, chunk.heading, chunk.text, place, round(score, 6)
    )
