"""The whole application in this process, with the official clients in strict mode bound to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from freehold.testing import Running, server


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """The real server over the simulator, on SQLite."""
    async with server(strict=True) as running:
        yield running
