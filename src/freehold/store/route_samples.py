"""Rows of requests that two models have answered: hashed words and who was right. No word of a request is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import select

from freehold.store.engine import Store
from freehold.store.tables import route_samples


class SampleRow(NamedTuple):
    """A row, in the order of its columns; see `store/tables.py`."""

    call_id: str
    workspace_id: str
    route: str
    features: bytes
    length: float
    numbers: float
    loss: float
    at_us: int


def packed(features: Iterable[int]) -> bytes:
    """64-bit hashes as bytes, little end first."""
    return b"".join(feature.to_bytes(8, "little", signed=True) for feature in features)


def unpacked(features: bytes) -> list[int]:
    """The hashes again."""
    places = range(0, len(features), 8)
    return [int.from_bytes(features[at : at + 8], "little", signed=True) for at in places]


class RouteSamples:
    """Samples of all processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, row: SampleRow) -> None:
        """Keep one; nobody waits for it."""
        self._store.add_row(route_samples, row)

    async def newest(self, limit: int) -> list[SampleRow]:
        """The newest, oldest of them first."""
        found = select(route_samples).order_by(route_samples.c.at_us.desc()).limit(limit)
        async with self._store.read() as conn:
            rows = [SampleRow(*row) for row in await conn.execute(found)]
        return rows[::-1]
