"""The models that this server answers for: those its upstreams name, asked for now and then, not on every request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from freehold.clock import Clock
from freehold.errors import FreeholdError, NotBuilt, NotFound
from freehold.upstreams.base import ListsModels, Upstream

FRESH_S = 300.0
"""A list is asked for again after this; models change by the week."""
_DATED = re.compile(r"-\d{8}$")


class Catalogue:
    """The lists of all upstreams as one, in their order, each id once."""

    def __init__(self, upstreams: Sequence[Upstream], clock: Clock) -> None:
        self._sources = [upstream for upstream in upstreams if isinstance(upstream, ListsModels)]
        self._clock = clock
        self._entries: list[dict[str, Any]] = []
        self._asked_ns: int | None = None
        self._asking = asyncio.Lock()

    async def all(self) -> Sequence[dict[str, Any]]:
        """Entries in the shape of `ModelInfo`, newest first within each upstream.

        Raises:
            NotBuilt: no upstream lists its models.
            FreeholdError: an upstream cannot say, and has never said before; else its last list stays good.
        """
        if not self._sources:
            raise NotBuilt("The upstream of this server does not list its models.")
        async with self._asking:
            if not self._is_fresh():
                await self._ask()
        return self._entries

    async def get(self, model_id: str) -> dict[str, Any]:
        """The entry of that id; an id without a date means the newest one with it, as in the API.

        Raises:
            NotFound: there is no such model here.
        """
        entries = await self.all()
        for entry in entries:
            if entry["id"] == model_id:
                return entry
        for entry in entries:
            if _DATED.sub("", entry["id"]) == model_id:
                return entry
        raise NotFound(f"There is no model {model_id[:128]!r}. GET /v1/models lists those there are.")

    def _is_fresh(self) -> bool:
        return self._asked_ns is not None and self._clock.monotonic_ns() - self._asked_ns < FRESH_S * 1e9

    async def _ask(self) -> None:
        try:
            lists = [await source.models() for source in self._sources]
        except FreeholdError:
            if self._asked_ns is None:
                raise
        else:
            by_id: dict[str, dict[str, Any]] = {}
            for found in lists:
                for entry in found:
                    by_id.setdefault(entry["id"], entry)
            self._entries = list(by_id.values())
        self._asked_ns = self._clock.monotonic_ns()
