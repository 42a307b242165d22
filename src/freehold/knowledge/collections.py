"""Collections of documents: made, shown, put away. What gets in: `ingest.py`; what is found: `search.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.clock import Clock
from freehold.errors import InvalidRequest
from freehold.ids import NewId
from freehold.knowledge.settings import KnowledgeSettings
from freehold.store.knowledge import CollectionRow, KnowledgeRows
from freehold.store.knowledge_chunks import KnowledgeChunks

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MOST_DESCRIPTION = 2000
_BROKEN_OFF_US = 3_600_000_000
"""A document on its way in for so long was broken off: reading and indexing take minutes at most."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A collection with what is in it."""

    row: CollectionRow
    documents: int
    chunks: int
    size_bytes: int


class Collections:
    """Collections of all workspaces; every call names the one that it may see."""

    def __init__(
        self,
        rows: KnowledgeRows,
        chunks: KnowledgeChunks,
        *,
        clock: Clock,
        ids: NewId,
        settings: KnowledgeSettings,
        embeddings: Mapping[str, str] | None = None,
    ) -> None:
        """`embeddings`: what makes vectors here, by the word that asks for it."""
        self.rows = rows
        self.chunks = chunks
        self._clock = clock
        self._ids = ids
        self._most = settings.knowledge_collections
        self._embeddings = dict(embeddings or {})

    async def create(self, workspace_id: str, name: str, description: str, embedding: str | None) -> Summary:
        """A new, empty collection. `embedding`: `none`, or a word of those that have been set up; else the default.

        Raises:
            InvalidRequest: a field does not fit.
            Conflict: the name is taken.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest("name: must be 1 to 64 small letters, digits, underscores or hyphens.")
        if len(description) > _MOST_DESCRIPTION:
            raise InvalidRequest(f"description: at most {_MOST_DESCRIPTION} characters.")
        now_us = self._clock.now_us()
        row = CollectionRow(
            id=self._ids("kcol"),
            workspace_id=workspace_id,
            name=name,
            description=description,
            embedding=self._embedding(embedding),
            next_number=1,
            documents=0,
            indexed_chunks=0,
            indexed_words=0,
            version=0,
            gone=False,
            created_us=now_us,
            updated_us=now_us,
        )
        return Summary(await self.rows.create(row, self._admit), 0, 0, 0)

    async def get(self, workspace_id: str, key: str) -> Summary:
        """By its id or name. Raises `NotFound`."""
        return (await self._summaries([await self.rows.get(workspace_id, key)]))[0]

    async def page(self, workspace_id: str, *, after: Sequence[Any] | None, limit: int) -> list[Summary]:
        """Those made last first; one more than `limit` if there is a next page."""
        return await self._summaries(await self.rows.page(workspace_id, after=after, limit=limit))

    async def delete(self, workspace_id: str, key: str) -> CollectionRow:
        """Delete it with its documents. It is not found any more from the first moment. Raises `NotFound`."""
        row = await self.rows.mark_gone(workspace_id, key)
        while await self.chunks.remove_collection(row.id):
            pass
        return row

    async def delete_document(self, workspace_id: str, key: str, document_id: str) -> None:
        """Raises `NotFound`."""
        await self.rows.delete_document(workspace_id, key, document_id)
        while await self.chunks.remove(document_id):
            pass

    async def tidy(self) -> None:
        """Finish what was broken off: the way in of documents, and the way out of these and of collections."""
        documents, collections = await self.chunks.leftovers(self._clock.now_us() - _BROKEN_OFF_US)
        for document_id in documents:
            while await self.chunks.remove(document_id):
                pass
        for collection_id in collections:
            while await self.chunks.remove_collection(collection_id):
                pass

    async def _summaries(self, rows: Sequence[CollectionRow]) -> list[Summary]:
        totals = await self.rows.totals([row.id for row in rows])
        return [Summary(row, *totals.get(row.id, (0, 0, 0))) for row in rows]

    def _admit(self, have: int) -> None:
        if have >= self._most:
            raise InvalidRequest(
                f"This workspace has {have} collections, which is all it may have (knowledge_collections)."
            )

    def _embedding(self, asked: str | None) -> str:
        if asked == "none":
            return ""
        if asked is None:
            return next(iter(self._embeddings.values()), "")
        if asked not in self._embeddings:
            known = ", ".join(["none", *self._embeddings])
            raise InvalidRequest(f"embedding: {asked[:80]!r} is not set up on this server. There is: {known}.")
        return self._embeddings[asked]
