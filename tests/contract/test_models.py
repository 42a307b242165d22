"""Models through the official SDK in strict mode, against the whole application."""

from __future__ import annotations

import asyncio

import pytest
from anthropic import NotFoundError

from freehold.testing import Running
from tests.contract.manifest import proves
from tests.contract.strict import undeclared


@proves("models.list", "models.retrieve", "beta.models.list", "beta.models.retrieve")
async def test_the_async_client_lists_models_and_finds_each(running: Running) -> None:
    client = running.client
    models = [model async for model in client.models.list(limit=5)]
    assert len(models) > 5 and [found for model in models for found in undeclared(model)] == []
    assert [model.id async for model in client.beta.models.list()] == [model.id for model in models]
    one = await client.models.retrieve(models[3].id)
    assert one == models[3]
    face = await client.beta.models.retrieve(models[3].id)
    assert undeclared(face) == [] and face.id == one.id
    for find in (client.models.retrieve, client.beta.models.retrieve):
        with pytest.raises(NotFoundError):
            await find("claude-nobody-1-0")


@proves("models.list", "models.retrieve", "beta.models.list", "beta.models.retrieve", clients=("sync",))
async def test_the_sync_client_lists_models_both_ways(running: Running) -> None:
    client = running.sync_client

    def look() -> None:
        models = list(client.models.list(limit=5))
        assert [model.id for model in client.beta.models.list()] == [model.id for model in models]
        first = client.models.list(limit=2)
        second = client.models.list(limit=2, after_id=first.last_id or "")
        back = client.models.list(limit=2, before_id=second.first_id or "")
        assert [model.id for model in [*first.data, *second.data]] == [model.id for model in models[:4]]
        assert [model.id for model in back.data] == [model.id for model in first.data]
        assert client.models.retrieve(models[0].id).id == client.beta.models.retrieve(models[0].id).id

    await asyncio.to_thread(look)
