"""What this server does not have is refused in words that name it, never answered as if it were there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anthropic import BadRequestError

from freehold.store.engine import Store
from tests.api.house import House, open_house
from tests.contract.manifest import not_built, shows_difference, surface


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


@shows_difference("batches-not-built")
@shows_difference("deployments-not-built")
@shows_difference("dreams-not-built")
@shows_difference("tunnels-not-built")
@shows_difference("user-profiles-not-built")
@shows_difference("vaults-not-built")
async def test_a_method_that_is_not_built_is_refused_and_the_answer_names_its_route(house: House) -> None:
    methods = surface()["methods"]
    routes = sorted({(methods[name]["verb"], methods[name]["path"]) for name in not_built() if name in methods})
    assert routes
    async with house.http() as client:
        for verb, path in routes:
            path = re.sub(r"\{\w+\}", "x_01", path)
            answer = await client.request(verb, path, json={} if verb == "POST" else None)
            told = answer.json()
            assert answer.status_code == 400, (verb, path)
            assert told["type"] == "error" and told["error"]["type"] == "invalid_request_error"
            assert f"{verb} {path}" in told["error"]["message"]
            assert told["request_id"] == answer.headers["request-id"]


@shows_difference("multi-agent-not-built")
async def test_an_agent_that_leads_others_is_refused(house: House) -> None:
    with pytest.raises(BadRequestError, match="multiagent"):
        await house.client().beta.agents.create(
            name="Lead", model="claude-sonnet-4-5", multiagent={"type": "coordinator", "agents": [{"type": "self"}]}
        )
    with pytest.raises(BadRequestError, match="multiagent"):
        await house.client().beta.agents.create(
            name="Lead",
            model="claude-sonnet-4-5",
            multiagent={"type": "multiagent_20261001", "workflows": {"type": "enabled"}},
        )


@shows_difference("self-hosted-environments-not-built")
async def test_an_environment_of_own_machines_is_refused(house: House) -> None:
    with pytest.raises(BadRequestError, match="self_hosted"):
        await house.client().beta.environments.create(name="Ours", config={"type": "self_hosted"})
