"""Houses for tests of the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from freehold.store.engine import Store
from tests.agents.house import House, Script


class MakesHouse(Protocol):
    """Builds and opens a house on the test's store."""

    def __call__(self, script: Script, **options: Any) -> Awaitable[House]: ...


@pytest.fixture
async def make_house(store: Store, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[House]]]:
    made: list[House] = []

    async def make(script: Script, **options: Any) -> House:
        house = House(store, tmp_path, script, **options)
        made.append(house)
        return await house.open()

    yield make
    for house in made:
        await house.close()
