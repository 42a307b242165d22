"""Makes knowledge: collections, the way in of documents, what makes vectors, and the search with its toolbox."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.app.ground import Ground
from freehold.environments.readers import Readers
from freehold.errors import Misconfigured
from freehold.knowledge.collections import Collections
from freehold.knowledge.fetching import Fetching
from freehold.knowledge.ingest import Ingest
from freehold.knowledge.meaning.base import Embedder
from freehold.knowledge.meaning.nearest import Nearest
from freehold.knowledge.meaning.service import Service, ServiceEmbedder, ServiceReranker
from freehold.knowledge.meaning.static import StaticEmbedder
from freehold.knowledge.search import Search
from freehold.knowledge.settings import KnowledgeSettings
from freehold.knowledge.toolbox import NAME, KnowledgeToolbox
from freehold.knowledge.walled import WalledReading
from freehold.library.files import Files
from freehold.store.knowledge import KnowledgeRows
from freehold.store.knowledge_chunks import KnowledgeChunks
from freehold.toolboxes.base import Toolbox
from freehold.upstreams.network import Network, NetworkSettings


@dataclass(frozen=True, slots=True)
class KnowledgeHouse:
    """Documents, and whoever looks for something in them."""

    collections: Collections
    ingest: Ingest
    fetching: Fetching
    search: Search

    closing: contextlib.AsyncExitStack

    def beside(self, toolboxes: Mapping[str, Toolbox]) -> dict[str, Toolbox]:
        """The toolboxes with the one of knowledge. Raises `Misconfigured` if its name is taken."""
        if NAME in toolboxes:
            raise Misconfigured(f"tools: a toolbox cannot be called {NAME}; that one is built in. Rename the file.")
        return {**toolboxes, NAME: KnowledgeToolbox(self.search)}

    async def close(self) -> None:
        """Let connections to services go."""
        await self.closing.aclose()


def make_knowledge(ground: Ground, files: Files) -> KnowledgeHouse:
    """Everything of knowledge. Raises `Misconfigured`."""
    settings, clock, ids = ground.configuration.section(KnowledgeSettings), ground.clock, ground.ids
    rows, chunks = KnowledgeRows(ground.store), KnowledgeChunks(ground.store)
    services = _Services(ground, settings)
    embedders = services.embedders()
    nearest = Nearest(chunks, {one.name: one for one in embedders.values()}, settings.knowledge_vector_memory_bytes)
    collections = Collections(
        rows,
        chunks,
        clock=clock,
        ids=ids,
        settings=settings,
        embeddings={word: one.name for word, one in embedders.items()},
    )
    walled = WalledReading(Readers(timeout_s=settings.knowledge_read_s), settings.knowledge_read_s)
    ingest = Ingest(rows, chunks, clock=clock, ids=ids, settings=settings, walled=walled, embeds=nearest)
    search = Search(rows, chunks, nearest, services.reranker())
    fetching = Fetching(files, settings, dict(os.environ))
    return KnowledgeHouse(collections, ingest, fetching, search, services.closing)


class _Services:
    """What makes vectors and orders, as the settings say."""

    def __init__(self, ground: Ground, settings: KnowledgeSettings) -> None:
        self._ground = ground
        self._settings = settings
        self.closing = contextlib.AsyncExitStack()

    def embedders(self) -> dict[str, Embedder]:
        """By the word that asks for each; the first is the default."""
        settings, made = self._settings, dict[str, Embedder]()
        if settings.knowledge_embedding_url is not None:
            service = self._service(
                "knowledge_embedding", settings.knowledge_embedding_url, settings.knowledge_embedding_key
            )
            kinds = settings.knowledge_embedding_input_types
            made["service"] = ServiceEmbedder(service, settings.knowledge_embedding_model, tells_kind=kinds)
        if settings.knowledge_local_vectors:
            made["local"] = StaticEmbedder.found()
        return made

    def reranker(self) -> ServiceReranker | None:
        """The one that is set up."""
        settings = self._settings
        if settings.knowledge_rerank_url is None:
            return None
        service = self._service("knowledge_rerank", settings.knowledge_rerank_url, settings.knowledge_rerank_key)
        return ServiceReranker(service, settings.knowledge_rerank_model)

    def _service(self, setting: str, url: str, key: str | None) -> Service:
        network = Network.of(self._ground.configuration.section(NetworkSettings))
        try:
            service = Service(url, key, lambda origin: network.client(origin, os.environ), self._ground.clock.sleep)
        except ValueError as error:
            raise Misconfigured(f"{setting}_url: {error}") from error
        self.closing.push_async_callback(service.close)
        return service
