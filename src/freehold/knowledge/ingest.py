"""One document on its way in: read, cut, indexed, and only then searched; what is unchanged is left alone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from freehold.clock import Clock
from freehold.errors import InvalidRequest, TooLarge
from freehold.ids import NewId
from freehold.knowledge import names
from freehold.knowledge.chunks import Chunk, chunks
from freehold.knowledge.kinds import WALLED, Kind, kind_of, media_type_of
from freehold.knowledge.reading.base import Read, Unreadable
from freehold.knowledge.reading.plain import code, markdown, plain, table, text_of
from freehold.knowledge.settings import KnowledgeSettings
from freehold.knowledge.words import words
from freehold.store.knowledge import CollectionRow, DocumentRow, KnowledgeRows
from freehold.store.knowledge_chunks import SLICE, KnowledgeChunks, NewChunk

Outcome = Literal["added", "replaced", "unchanged"]
Progress = Callable[[int, int], Awaitable[None]]
"""Is told how many chunks of how many are indexed."""
_READERS = {"plain": plain, "markdown": markdown, "code": code, "csv": table}


class Walled(Protocol):
    """Reads what libraries read, in a process that can do no harm."""

    async def read(self, kind: Kind, data: bytes, most_characters: int) -> Read:
        """Raises `Unreadable`."""
        ...


class Embeds(Protocol):
    """Makes vectors of texts."""

    async def documents(self, embedding: str, texts: Sequence[str]) -> list[bytes]:
        """One vector each, as it is stored. Raises `FreeholdError`."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """A document as it came."""

    name: str
    data: bytes
    media_type: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of it."""

    document: DocumentRow
    outcome: Outcome


async def _silent(_done: int, _all: int) -> None:
    pass


class Ingest:
    """Takes documents into collections."""

    def __init__(
        self,
        rows: KnowledgeRows,
        kept: KnowledgeChunks,
        *,
        clock: Clock,
        ids: NewId,
        settings: KnowledgeSettings,
        walled: Walled | None = None,
        embeds: Embeds | None = None,
    ) -> None:
        self._rows = rows
        self._kept = kept
        self._walled = walled
        self._embeds = embeds
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self.most_bytes = settings.knowledge_document_bytes
        """Of one document."""

    async def add(self, collection: CollectionRow, given: Given, progress: Progress = _silent) -> Added:
        """Take it in, in the place of the one with its name. When this returns it is found.

        Raises:
            InvalidRequest: its name, kind or content is not taken, or the collection is full.
            TooLarge: it is larger than documents may be.
        """
        name, most = names.checked(given.name), self.most_bytes
        collection = await self._rows.get(collection.workspace_id, collection.id)
        if len(given.data) > most:
            raise TooLarge(f"{names.shown(name)}: has {len(given.data):,} bytes, at most {most:,} are taken.")
        sha256 = await asyncio.to_thread(_sha256, given.data)
        now = await self._rows.ready_by_name(collection.id, name)
        if now is not None and now.sha256 == sha256:
            return Added(now, "unchanged")
        try:
            kind = kind_of(name, given.media_type, given.data)
            read = await self._read(kind, given.data)
        except Unreadable as error:
            raise InvalidRequest(f"{names.shown(name)}: {error}") from error
        document = DocumentRow(
            id=self._ids("kdoc"),
            collection_id=collection.id,
            name=name,
            title=names.shown(given.title or read.title or name),
            media_type=media_type_of(kind),
            sha256=sha256,
            size_bytes=len(given.data),
            chunks=0,
            state="indexing",
            created_us=self._clock.now_us(),
        )
        cut = await asyncio.to_thread(lambda: list(chunks(read)))
        self._admit(collection, document, len(cut), replaces=now is not None)
        document = replace(document, chunks=len(cut))
        await self._put_in(collection, document, cut, progress)
        if now is not None:
            await self._take_out(now.id)
        return Added(replace(document, state="ready"), "added" if now is None else "replaced")

    async def _read(self, kind: Kind, data: bytes) -> Read:
        most = self._settings.knowledge_document_chars
        if kind in WALLED:
            if self._walled is None:
                raise Unreadable(f"{kind} cannot be read on this server.")
            return await self._walled.read(kind, data, most)
        reader = _READERS[kind]
        return await asyncio.to_thread(lambda: reader(text_of(data), most))

    def _admit(self, collection: CollectionRow, document: DocumentRow, passages: int, *, replaces: bool) -> None:
        name, settings = names.shown(document.name), self._settings
        if not passages:
            raise InvalidRequest(f"{name}: there is no text in it.")
        room = max(0, settings.knowledge_collection_chunks - collection.indexed_chunks)
        if passages > room:
            raise InvalidRequest(
                f"{name}: has {passages:,} passages, and the collection has room for {room:,} "
                "(knowledge_collection_chunks)."
            )
        if collection.documents >= settings.knowledge_collection_documents and not replaces:
            raise InvalidRequest(f"The collection has {collection.documents:,} documents, which is all it may have.")

    async def _put_in(
        self, collection: CollectionRow, document: DocumentRow, cut: Sequence[Chunk], progress: Progress
    ) -> None:
        if len(cut) <= SLICE:
            new = await self._prepared(collection, document, cut)
            await self._kept.add_whole(document, new, self._clock.now_us())
            await progress(len(cut), len(cut))
            return
        await self._rows.begin_document(document)
        try:
            for at in range(0, len(cut), SLICE):
                await self._kept.add(document, await self._prepared(collection, document, cut[at : at + SLICE]))
                await progress(min(at + SLICE, len(cut)), len(cut))
            await self._rows.finish_document(document, self._clock.now_us())
        except BaseException:
            await asyncio.shield(self._give_up(document.id))
            raise

    async def _prepared(
        self, collection: CollectionRow, document: DocumentRow, cut: Sequence[Chunk]
    ) -> Sequence[NewChunk]:
        texts = [f"{document.title}\n{chunk.heading}\n{chunk.text}" for chunk in cut]
        vectors: Sequence[bytes | None] = [None] * len(cut)
        if collection.embedding and self._embeds is not None:
            vectors = await self._embeds.documents(collection.embedding, texts)
        return await asyncio.to_thread(_new_chunks, cut, texts, vectors)

    async def _give_up(self, document_id: str) -> None:
        await self._rows.give_up_document(document_id)
        await self._take_out(document_id)

    async def _take_out(self, document_id: str) -> None:
        while await self._kept.remove(document_id):
            pass


def _new_chunks(cut: Sequence[Chunk], texts: Sequence[str], vectors: Sequence[bytes | None]) -> list[NewChunk]:
    return [
        NewChunk(chunk.text, chunk.heading, chunk.place(), words(text), vector)
        for chunk, text, vector in zip(cut, texts, vectors, strict=True)
    ]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
