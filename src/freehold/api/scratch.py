"""Bodies too large for memory: taken into a file without a name, the free space of the disk watched as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO

from freehold.api.base import Request

_LOOK_EVERY_BYTES = 64 << 20
"""How often it is seen whether the disk still has room."""
Scratch = Callable[[], IO[bytes]]
"""Gives a file without a name. Raises `Unavailable` when the disk is nearly full."""


@asynccontextmanager
async def taken_in(request: Request, scratch: Scratch, most_bytes: int) -> AsyncIterator[IO[bytes]]:
    """The whole body as a file, at its beginning; it is gone with the context.

    Raises:
        TooLarge: it has more than `most_bytes`.
        Unavailable: the disk is nearly full.
    """
    with scratch() as file:
        written = 0
        async for chunk in request.chunks(most_bytes):
            await asyncio.to_thread(file.write, chunk)
            if written // _LOOK_EVERY_BYTES != (written + len(chunk)) // _LOOK_EVERY_BYTES:
                scratch().close()
            written += len(chunk)
        await asyncio.to_thread(file.seek, 0)
        yield file
