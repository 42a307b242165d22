"""What the tests of knowledge share: a store's collections, with documents put in and looked for."""

from __future__ import annotations

from freehold.clock import HandClock
from freehold.ids import new_id
from freehold.knowledge.collections import Collections
from freehold.knowledge.ingest import Added, Given, Ingest
from freehold.knowledge.meaning.base import Embedder
from freehold.knowledge.meaning.nearest import Nearest
from freehold.knowledge.search import Passage, Reranks, Search
from freehold.knowledge.settings import KnowledgeSettings
from freehold.store.engine import Store
from freehold.store.knowledge import KnowledgeRows
from freehold.store.knowledge_chunks import KnowledgeChunks


class House:
    """All of knowledge over one store; with an embedder, its collections have vectors."""

    def __init__(
        self,
        store: Store,
        settings: KnowledgeSettings | None = None,
        embedder: Embedder | None = None,
        reranks: Reranks | None = None,
    ) -> None:
        settings = settings or KnowledgeSettings()
        clock = HandClock()
        self.rows, self.chunks = KnowledgeRows(store), KnowledgeChunks(store)
        known = {embedder.name: embedder} if embedder is not None else {}
        self.nearest = Nearest(self.chunks, known, settings.knowledge_vector_memory_bytes)
        self.collections = Collections(
            self.rows,
            self.chunks,
            clock=clock,
            ids=new_id,
            settings=settings,
            embeddings={name: name for name in known},
        )
        self.ingest = Ingest(self.rows, self.chunks, clock=clock, ids=new_id, settings=settings, embeds=self.nearest)
        self.search = Search(self.rows, self.chunks, self.nearest, reranks)

    async def make(self, workspace_id: str, name: str, documents: dict[str, str]) -> list[Added]:
        """A collection of these documents."""
        await self.collections.create(workspace_id, name, "", None)
        return [await self.add(workspace_id, name, title, text) for title, text in documents.items()]

    async def add(self, workspace_id: str, collection: str, name: str, text: str) -> Added:
        """One document."""
        row = await self.rows.get(workspace_id, collection)
        return await self.ingest.add(row, Given(name, text.encode()))

    async def find(self, workspace_id: str, query: str, *collections: str, limit: int = 10) -> list[Passage]:
        """By words."""
        return await self.search.find(workspace_id, query, collections or None, limit)
