"""Rows that nobody waits for: kept in memory until the next group takes them, bounded and counted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from sqlalchemy import Table

from freehold.store.base import Row

log = logging.getLogger(__name__)

ROWS_KEPT = 50_000
"""45 to 70 MB of calls (0.9 to 1.4 KB each): a minute of a very busy server whose database is away. What comes after
is dropped, and counted: the hot path never waits for the record."""


class Rows:
    """The buffer behind `Store.add_row`."""

    def __init__(self, kept: int = ROWS_KEPT) -> None:
        self._kept = kept
        self._tables: dict[Table, list[Row]] = {}
        self.waiting = 0
        self.added = 0
        self.settled = 0
        """Of those added: written, or rejected by the database."""
        self.dropped = 0
        self.rejected = 0

    def add(self, table: Table, row: Row) -> None:
        """Keep one row, or drop it when too many wait."""
        if self.waiting >= self._kept:
            self._drop(1)
            return
        self._tables.setdefault(table, []).append(row)
        self.waiting += 1
        self.added += 1

    def take(self, most: int) -> dict[Table, Sequence[Row]]:
        """The oldest rows of each table, `most` in all, no longer waiting here."""
        taken: dict[Table, Sequence[Row]] = {}
        for table in list(self._tables):
            rows = self._tables[table]
            taken[table], rest = rows[:most], rows[most:]
            if rest:
                self._tables[table] = rest
            else:
                del self._tables[table]
            most -= len(taken[table])
            self.waiting -= len(taken[table])
            if most <= 0:
                break
        return taken

    def put_back(self, taken: Mapping[Table, Sequence[Row]]) -> None:
        """The group was not written: they wait again, before the younger ones."""
        for table, rows in taken.items():
            self._tables[table] = [*rows, *self._tables.get(table, ())]
            self.waiting += len(rows)

    def settle(self, taken: Mapping[Table, Sequence[Row]]) -> None:
        """The group was written."""
        self.settled += sum(len(rows) for rows in taken.values())

    def lose(self, taken: Mapping[Table, Sequence[Row]]) -> None:
        """The group cannot be written, whenever it is tried."""
        self.settle(taken)
        self.rejected += sum(len(rows) for rows in taken.values())

    def reject(self, table: Table, error: BaseException) -> None:
        """The database refused one row for what is in it."""
        self.rejected += 1
        log.error("A row of %s was refused and is lost (%d so far).", table.name, self.rejected, exc_info=error)

    def give_up(self) -> None:
        """The server stops and the database is away: what waits is lost."""
        if self.waiting:
            log.error("The server stops while the database is away: %d rows of the record are lost.", self.waiting)
        self._tables.clear()
        self.waiting = 0

    def _drop(self, count: int) -> None:
        self.dropped += count
        if self.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …: a flood must not become a flood of log lines
            log.error(
                "%d rows wait for the database, new ones are dropped: %d lost so far.", self.waiting, self.dropped
            )
