"""The models routes as the official SDK drives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from freehold.api.base import Application
from freehold.api.models import routes
from freehold.errors import NotFound
from freehold.inprocess import AsgiTransport
from freehold.upstreams.listing import model_info
from tests.api.parts import app_of, http

IDS = [f"claude-{number}" for number in range(25)]


class Models:
    """25 models, the last two retired."""

    async def all(self) -> Sequence[dict[str, Any]]:
        return [{**model_info({"id": id}), "lifecycle": "retired" if id in IDS[-2:] else "active"} for id in IDS]

    async def get(self, model_id: str) -> dict[str, Any]:
        for entry in await self.all():
            if entry["id"] == model_id:
                return entry
        raise NotFound


@pytest.fixture
def app() -> Application:
    return app_of(routes(Models()))


def sdk(app: Application) -> AsyncAnthropic:
    client = anthropic.DefaultAsyncHttpxClient(transport=AsgiTransport(app))
    return AsyncAnthropic(
        base_url="http://test", api_key="sk-member", http_client=client, max_retries=0, _strict_response_validation=True
    )


async def test_the_sdk_walks_all_pages(app: Application) -> None:
    async with sdk(app) as client:
        assert [model.id async for model in client.models.list(limit=10)] == IDS
        assert len((await client.models.list()).data) == 20


async def test_the_sdk_walks_backwards(app: Application) -> None:
    async with sdk(app) as client:
        page = await client.models.list(limit=10, before_id="claude-15")
        assert [model.id for model in page.data] == IDS[5:15]
        assert page.has_more
        assert [model.id for model in (await client.models.list(limit=10, before_id="claude-3")).data] == IDS[:3]


async def test_the_sdk_filters_by_lifecycle(app: Application) -> None:
    async with sdk(app) as client:
        assert [model.id async for model in client.models.list(lifecycle=["retired"])] == IDS[-2:]
        assert len([model async for model in client.models.list(lifecycle=["active", "deprecated"])]) == 23


async def test_the_sdk_retrieves_one(app: Application) -> None:
    async with sdk(app) as client:
        assert (await client.models.retrieve("claude-7")).id == "claude-7"
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "after_id=x", "after_id=claude-1&before_id=claude-3", "lifecycle[]=old", "limt=3"],
)
async def test_a_bad_query_is_a_400_that_names_it(app: Application, query: str) -> None:
    async with http(app) as client:
        answer = await client.get(f"/v1/models?{query}")
        assert answer.status_code == 400
        assert query.split("=")[0] in answer.json()["error"]["message"]


async def test_a_key_is_needed(app: Application) -> None:
    async with http(app, None) as client:
        assert (await client.get("/v1/models")).status_code == 401
