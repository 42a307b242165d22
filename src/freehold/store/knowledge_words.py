"""The words of a collection's chunks in the database's own full text: who holds a word, and BM25 of chosen chunks.

Each collection has tables of its own, so that how rare a word is depends on no other collection, and deleting one is
dropping them. Words come ready: small letters, digits and characters of scripts, nothing that any syntax knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.store.base import Connection

K1, B = 1.2, 0.75
"""BM25's constants, which are those that FTS5 has built in; PostgreSQL is told them."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much a collection's index holds."""

    chunks: int
    words: int


class WordIndex(Protocol):
    """The full text of one kind of database. Every method runs within a transaction of the caller's."""

    async def make(self, connection: Connection, collection_id: str) -> None:
        """An empty index."""

    async def drop(self, connection: Connection, collection_id: str) -> None:
        """Take it away with all that is in it; none is fine."""

    async def add(self, connection: Connection, collection_id: str, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
        """Index chunks: their numbers and their words in order."""

    async def remove(self, connection: Connection, collection_id: str, numbers: Collection[int]) -> None:
        """Forget chunks."""

    async def counts(self, connection: Connection, collection_id: str, words: Collection[str]) -> dict[str, int]:
        """How many chunks hold each word; those that none holds are left out."""

    async def holders(self, connection: Connection, collection_id: str, word: str) -> Sequence[int]:
        """The chunks that hold it."""

    async def scores(
        self,
        connection: Connection,
        collection_id: str,
        size: Size,
        counts: Mapping[str, int],
        numbers: Collection[int],
    ) -> dict[int, float]:
        """BM25 of those chunks for the words of `counts`, more is better; numbers that hold none are left out."""


def table_of(collection_id: str) -> str:
    """The name of its table: ids tell capitals apart, tables of SQLite do not."""
    return f"knowledge_words_{hashlib.sha256(collection_id.encode()).hexdigest()[:24]}"


async def run(connection: AsyncConnection, statement: str, **values: object) -> Sequence[tuple[object, ...]]:
    """All rows of one statement."""
    result = await connection.execute(text(statement), values)
    return [tuple(row) for row in result] if result.returns_rows else []
