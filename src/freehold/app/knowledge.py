"""Makes knowledge: collections, the way in of documents, and the search with its toolbox."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.app.ground import Ground
from freehold.environments.readers import Readers
from freehold.errors import Misconfigured
from freehold.knowledge.collections import Collections
from freehold.knowledge.fetching import Fetching
from freehold.knowledge.ingest import Ingest
from freehold.knowledge.search import Search
from freehold.knowledge.settings import KnowledgeSettings
from freehold.knowledge.toolbox import NAME, KnowledgeToolbox
from freehold.knowledge.walled import WalledReading
from freehold.library.files import Files
from freehold.store.knowledge import KnowledgeRows
from freehold.store.knowledge_chunks import KnowledgeChunks
from freehold.toolboxes.base import Toolbox


@dataclass(frozen=True, slots=True)
class KnowledgeHouse:
    """Documents, and whoever looks for something in them."""

    collections: Collections
    ingest: Ingest
    fetching: Fetching
    search: Search

    def beside(self, toolboxes: Mapping[str, Toolbox]) -> dict[str, Toolbox]:
        """The toolboxes with the one of knowledge. Raises `Misconfigured` if its name is taken."""
        if NAME in toolboxes:
            raise Misconfigured(f"tools: a toolbox cannot be called {NAME}; that one is built in. Rename the file.")
        return {**toolboxes, NAME: KnowledgeToolbox(self.search)}


def make_knowledge(ground: Ground, files: Files) -> KnowledgeHouse:
    """Everything of knowledge."""
    settings = ground.configuration.section(KnowledgeSettings)
    rows, chunks = KnowledgeRows(ground.store), KnowledgeChunks(ground.store)
    collections = Collections(rows, chunks, clock=ground.clock, ids=ground.ids, settings=settings)
    walled = WalledReading(Readers(timeout_s=settings.knowledge_read_s), settings.knowledge_read_s)
    ingest = Ingest(rows, chunks, clock=ground.clock, ids=ground.ids, settings=settings, walled=walled)
    return KnowledgeHouse(collections, ingest, Fetching(files, settings, dict(os.environ)), Search(rows, chunks))
