"""Boxes that isolate where this machine can, else those without walls, which the operator has then allowed.

Which of the two is found out once, by really opening a box, and said in the log. It knows neither of them.
"""

from __future__ import annotations

import asyncio
import logging

from freehold.environments.base import Box, Boxes, BoxSpec, Capabilities, ToolOutcome

log = logging.getLogger(__name__)


class Fallback:
    """See `Boxes`. `walled` is used if it can isolate, `bare` only where it cannot."""

    name = "fallback"

    def __init__(self, walled: Boxes, bare: Boxes) -> None:
        self._walled = walled
        self._bare = bare
        self._chosen: Boxes | None = None
        self._choosing = asyncio.Lock()

    async def probe(self) -> Capabilities:
        """See `Boxes`. What the one that is used was found to have; without isolation, the reason is the other's."""
        found = await self._walled.probe()
        async with self._choosing:
            self._chosen = self._walled if found.isolated else self._bare
        if found.isolated:
            return found
        log.warning("no box can be made, so agents run WITHOUT ISOLATION, as allowed: %s", found.reason)
        bare = await self._bare.probe()
        return Capabilities(bare.backend, False, (*found.protections, *bare.protections), found.reason or bare.reason)

    async def open(self, spec: BoxSpec) -> Box:
        """See `Boxes`."""
        return await (await self._used()).open(spec)

    async def outcome(self, spec: BoxSpec, key: str) -> ToolOutcome | None:
        """See `Boxes`. Both write the same journal."""
        return await self._walled.outcome(spec, key)

    async def close(self) -> None:
        """See `Boxes`."""
        await asyncio.gather(self._walled.close(), self._bare.close())

    async def _used(self) -> Boxes:
        if self._chosen is None:
            await self.probe()
        assert self._chosen is not None
        return self._chosen
