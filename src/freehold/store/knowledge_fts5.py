"""The words of a collection in SQLite's FTS5."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from freehold.store.base import Connection
from freehold.store.knowledge_words import Size, run, table_of


class Fts5Index:
    """See `WordIndex`."""

    async def make(self, connection: Connection, collection_id: str) -> None:
        """See `WordIndex`. `ascii` takes our words as they are: it splits at spaces, and at nothing that is in one."""
        table = table_of(collection_id)
        await run(connection, f"CREATE VIRTUAL TABLE {table} USING fts5(words, tokenize = 'ascii')")
        await run(connection, f"CREATE VIRTUAL TABLE {table}_counts USING fts5vocab({table}, row)")

    async def drop(self, connection: Connection, collection_id: str) -> None:
        """See `WordIndex`."""
        table = table_of(collection_id)
        await run(connection, f"DROP TABLE IF EXISTS {table}_counts")
        await run(connection, f"DROP TABLE IF EXISTS {table}")

    async def add(self, connection: Connection, collection_id: str, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
        """See `WordIndex`. One statement for all of them: each statement has its price."""
        given = json.dumps([[number, " ".join(words)] for number, words in rows], ensure_ascii=False)
        await run(
            connection,
            f"INSERT INTO {table_of(collection_id)}(rowid, words) "
            "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:given)",
            given=given,
        )

    async def remove(self, connection: Connection, collection_id: str, numbers: Collection[int]) -> None:
        """See `WordIndex`."""
        await run(
            connection,
            f"DELETE FROM {table_of(collection_id)} WHERE rowid IN (SELECT value FROM json_each(:numbers))",
            numbers=json.dumps(list(numbers)),
        )

    async def counts(self, connection: Connection, collection_id: str, words: Collection[str]) -> dict[str, int]:
        """See `WordIndex`."""
        statement = f"SELECT doc FROM {table_of(collection_id)}_counts WHERE term = :word"
        found = {word: await run(connection, statement, word=word) for word in words}
        return {word: cast("int", rows[0][0]) for word, rows in found.items() if rows}

    async def holders(self, connection: Connection, collection_id: str, word: str) -> Sequence[int]:
        """See `WordIndex`."""
        table = table_of(collection_id)
        rows = await run(connection, f"SELECT rowid FROM {table} WHERE {table} MATCH :word", word=f'"{word}"')
        return [cast("int", row[0]) for row in rows]

    async def scores(
        self,
        connection: Connection,
        collection_id: str,
        size: Size,
        counts: Mapping[str, int],
        numbers: Collection[int],
    ) -> dict[int, float]:
        """See `WordIndex`; FTS5 knows its size. The `+` makes it match once, not once a number."""
        table = table_of(collection_id)
        rows = await run(
            connection,
            f"SELECT rowid, -bm25({table}) FROM {table} WHERE {table} MATCH :words "
            "AND +rowid IN (SELECT value FROM json_each(:numbers))",
            words=" OR ".join(f'"{word}"' for word in counts),
            numbers=json.dumps(list(numbers)),
        )
        return {cast("int", number): cast("float", score) for number, score in rows}
