"""Reads PDF, Office files and pages by the child of `reading/`, in whatever process is handed in."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from freehold.environments.readers import ReaderFailed
from freehold.knowledge.kinds import Kind
from freehold.knowledge.reading.base import Read, Unreadable
from freehold.knowledge.reading.child import unpacked

_MODULE = "freehold.knowledge.reading.child"


class Runs(Protocol):
    """Runs a module on some bytes behind walls (`environments.readers`)."""

    async def run(self, module: str, arguments: Sequence[str], data: bytes, most_bytes: int) -> bytes:
        """Raises `ReaderFailed`."""
        ...


class WalledReading:
    """See `ingest.Walled`."""

    def __init__(self, runs: Runs, cpu_s: float) -> None:
        self._runs = runs
        self._cpu_s = math.ceil(cpu_s)

    async def read(self, kind: Kind, data: bytes, most_characters: int) -> Read:
        """See `Walled`."""
        arguments = [kind, str(most_characters), str(self._cpu_s)]
        try:
            said = await self._runs.run(_MODULE, arguments, data, 12 * most_characters + (64 << 20))
        except ReaderFailed as error:
            raise Unreadable(f"it could not be read: {error}.") from error
        return await asyncio.to_thread(lambda: unpacked(msgspec.json.decode(said)))
