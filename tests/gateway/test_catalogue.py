"""The models of all upstreams as one list."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from freehold.calls import Call, Reply
from freehold.clock import HandClock
from freehold.errors import FreeholdError, NotBuilt, NotFound, UpstreamFailed
from freehold.gateway.catalogue import FRESH_S, Catalogue


@dataclass
class Named:
    """An upstream of which only the list of models matters."""

    name: str
    ids: Sequence[str]
    asked: int = 0
    failure: FreeholdError | None = field(default=None)

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        raise AssertionError("nobody calls it here")

    async def models(self) -> Sequence[dict[str, Any]]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return [{"id": model, "of": self.name} for model in self.ids]

    async def close(self) -> None:
        """There is nothing to let go of."""


async def test_each_id_is_listed_once_and_the_first_upstream_has_it() -> None:
    catalogue = Catalogue([Named("one", ["a", "b"]), Named("two", ["b", "c"])], HandClock())
    listed = [(entry["id"], entry["of"]) for entry in await catalogue.all()]
    assert listed == [("a", "one"), ("b", "one"), ("c", "two")]


async def test_the_upstream_is_asked_now_and_then() -> None:
    clock, upstream = HandClock(), Named("one", ["a"])
    catalogue = Catalogue([upstream], clock)
    for _ in range(5):
        await catalogue.all()
    assert upstream.asked == 1
    await clock.advance(FRESH_S + 1)
    await catalogue.all()
    assert upstream.asked == 2


async def test_the_last_list_stays_good_while_the_upstream_is_away() -> None:
    clock, upstream = HandClock(), Named("one", ["a"])
    catalogue = Catalogue([upstream], clock)
    upstream.failure = UpstreamFailed()
    with pytest.raises(UpstreamFailed):
        await catalogue.all()
    upstream.failure = None
    await catalogue.all()
    upstream.failure = UpstreamFailed()
    await clock.advance(FRESH_S + 1)
    assert [entry["id"] for entry in await catalogue.all()] == ["a"]


async def test_an_id_without_its_date_is_the_newest_of_it() -> None:
    catalogue = Catalogue([Named("one", ["m-20260101", "m-20250101", "n"])], HandClock())
    assert (await catalogue.get("m"))["id"] == "m-20260101"
    assert (await catalogue.get("m-20250101"))["id"] == "m-20250101"
    with pytest.raises(NotFound, match="'m-2026'"):
        await catalogue.get("m-2026")


async def test_without_an_upstream_that_lists_its_models_it_says_so() -> None:
    with pytest.raises(NotBuilt):
        await Catalogue([], HandClock()).all()
