"""The words of a collection in PostgreSQL's full text, scored by BM25 with the constants of FTS5.

PostgreSQL's own ranks know nothing of how rare a word is. But `ts_rank` of one word is the sum of 1/j² over its
occurrences, divided by π²/6; that sum is within 0.05 of π²/6 − 1/(n + ½), which gives n back. With it, the length of
the chunk and a table of counts, BM25 is arithmetic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from freehold.store.base import Connection
from freehold.store.knowledge_words import K1, B, Size, run, table_of

_MOST_POSITIONS = 255
"""Of one word; PostgreSQL keeps no more."""
_PLACES = [",".join(map(str, range(1, count + 1))) for count in range(_MOST_POSITIONS + 1)]
_TIMES = "round(1 / (1.6449340668 * (1.0000001 - CAST(ts_rank('{1,1,1,1}', words, asked.query) AS float8))) - 0.5)"


class TsvectorIndex:
    """See `WordIndex`."""

    async def make(self, connection: Connection, collection_id: str) -> None:
        """See `WordIndex`."""
        table = table_of(collection_id)
        await run(
            connection,
            f"CREATE TABLE {table} (number bigint PRIMARY KEY, length integer NOT NULL, words tsvector NOT NULL)",
        )
        # Without the list of what is still to be put in, which every search would have to go through.
        await run(connection, f"CREATE INDEX {table}_words ON {table} USING gin (words) WITH (fastupdate = off)")
        await run(connection, f"CREATE TABLE {table}_counts (word text PRIMARY KEY, chunks integer NOT NULL)")

    async def drop(self, connection: Connection, collection_id: str) -> None:
        """See `WordIndex`."""
        table = table_of(collection_id)
        await run(connection, f"DROP TABLE IF EXISTS {table}, {table}_counts")

    async def add(self, connection: Connection, collection_id: str, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
        """See `WordIndex`."""
        table, held = table_of(collection_id), [Counter(words) for _, words in rows]
        await run(
            connection,
            f"INSERT INTO {table} SELECT * FROM ROWS FROM (unnest(CAST(:numbers AS bigint[])), "
            "unnest(CAST(:lengths AS integer[])), unnest(CAST(CAST(:words AS text[]) AS tsvector[])))",
            numbers=[number for number, _ in rows],
            lengths=[len(words) for _, words in rows],
            words=[_tsvector(counts) for counts in held],
        )
        counts = Counter(word for one in held for word in one)
        ordered = sorted(counts.items())  # in one order, so that two processes do not wait for each other in a ring
        await run(
            connection,
            f"INSERT INTO {table}_counts SELECT * FROM ROWS FROM (unnest(CAST(:words AS text[])), "
            "unnest(CAST(:counts AS integer[]))) ON CONFLICT (word) DO UPDATE "
            f"SET chunks = {table}_counts.chunks + excluded.chunks",
            words=[word for word, _ in ordered],
            counts=[count for _, count in ordered],
        )

    async def remove(self, connection: Connection, collection_id: str, numbers: Collection[int]) -> None:
        """See `WordIndex`."""
        table = table_of(collection_id)
        await run(
            connection,
            f"UPDATE {table}_counts SET chunks = chunks - lost.count FROM (SELECT lexeme, count(*) AS count "
            f"FROM {table}, unnest(words) WHERE number = ANY(CAST(:numbers AS bigint[])) GROUP BY lexeme) AS lost "
            "WHERE word = lost.lexeme",
            numbers=list(numbers),
        )
        await run(
            connection,
            f"DELETE FROM {table} WHERE number = ANY(CAST(:numbers AS bigint[]))",
            numbers=list(numbers),
        )

    async def counts(self, connection: Connection, collection_id: str, words: Collection[str]) -> dict[str, int]:
        """See `WordIndex`."""
        rows = await run(
            connection,
            f"SELECT word, chunks FROM {table_of(collection_id)}_counts "
            "WHERE word = ANY(CAST(:words AS text[])) AND chunks > 0",
            words=list(words),
        )
        return {cast("str", word): cast("int", count) for word, count in rows}

    async def holders(self, connection: Connection, collection_id: str, word: str) -> Sequence[int]:
        """See `WordIndex`. As one array: a row for each would cost ten times as much on its way here."""
        rows = await run(
            connection,
            f"SELECT array_agg(number) FROM {table_of(collection_id)} WHERE words @@ CAST(:word AS tsquery)",
            word=f"'{word}'",
        )
        return cast("Sequence[int]", rows[0][0] or ())

    async def scores(
        self,
        connection: Connection,
        collection_id: str,
        size: Size,
        counts: Mapping[str, int],
        numbers: Collection[int],
    ) -> dict[int, float]:
        """See `WordIndex`."""
        table = table_of(collection_id)
        weights = _rarities(size.chunks, counts)
        rows = await run(
            connection,
            f"SELECT number, sum(asked.weight * {K1 + 1} * times.n / (times.n + {K1} * "
            f"({1 - B} + {B} * length / CAST(:average AS float8)))) FROM {table}, "
            "ROWS FROM (unnest(CAST(CAST(:queries AS text[]) AS tsquery[])), unnest(CAST(:weights AS float8[]))) "
            f"AS asked(query, weight), LATERAL (SELECT {_TIMES} AS n) AS times "
            "WHERE number = ANY(CAST(:numbers AS bigint[])) AND words @@ asked.query GROUP BY number",
            average=max(1.0, size.words / max(1, size.chunks)),
            queries=[f"'{word}'" for word in weights],
            weights=list(weights.values()),
            numbers=list(numbers),
        )
        return {cast("int", number): cast("float", score) for number, score in rows}


def _rarities(total: int, counts: Mapping[str, int]) -> dict[str, float]:
    """What each word weighs, as FTS5 has it: a word in most chunks weighs next to nothing, never less than that."""
    return {
        word: max(1e-6, math.log((max(total, count) - count + 0.5) / (count + 0.5))) for word, count in counts.items()
    }


def _tsvector(counts: Mapping[str, int]) -> str:
    """As PostgreSQL reads it: `word:1,2 other:1`. Places only say how often a word is there."""
    return " ".join(f"{word}:{_PLACES[min(count, _MOST_POSITIONS)]}" for word, count in counts.items())
