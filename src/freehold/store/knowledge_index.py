"""Which full text a database has: FTS5 in SQLite, tsvector in PostgreSQL."""

from __future__ import annotations

from freehold.store.knowledge_fts5 import Fts5Index
from freehold.store.knowledge_tsvector import TsvectorIndex
from freehold.store.knowledge_words import WordIndex


def index_for(dialect: str) -> WordIndex:
    """The one for `Store.dialect`."""
    return TsvectorIndex() if dialect == "postgresql" else Fts5Index()
