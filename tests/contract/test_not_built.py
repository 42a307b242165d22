"""What this server does not have is refused in words that name it, never answered as if it were there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError

from freehold.store.engine import Store
from freehold.testing import Running
from tests.api.house import House, open_house
from tests.contract.manifest import not_built, shows_difference, surface


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(store, tmp_path) as house:
        yield house


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


@shows_difference("outcomes-not-built")
async def test_events_that_are_not_built_are_refused_by_name_and_nothing_of_the_request_is_taken(
    running: Running,
) -> None:
    session = await _session(running)
    outcome: Any = {"type": "user.define_outcome", "description": "Done.", "rubric": {"type": "text", "content": "x"}}
    events: Any = [{"type": "user.message", "content": _said("hello")}, outcome]
    with pytest.raises(BadRequestError, match=r"events\.1\.type: 'user\.define_outcome' is not built"):
        await running.client.beta.sessions.events.send(session, events=events)
    assert [event async for event in running.client.beta.sessions.events.list(session)] == []
    assert (await running.client.beta.sessions.retrieve(session)).outcome_evaluations == []


async def test_a_message_that_does_not_fit_by_itself_ends_its_turn_with_an_error(running: Running) -> None:
    session = await _session(running)
    events = running.client.beta.sessions.events
    async with asyncio.timeout(120), await events.stream(session) as stream:
        await events.send(session, events=[{"type": "user.message", "content": _said("too long " * 120_000)}])
        seen = []
        async for event in stream:
            seen.append(event)
            if event.type == "session.status_idle":
                break
    [failed] = [event for event in seen if event.type == "session.error"]
    assert failed.error.type == "model_request_failed_error" and "too long" in failed.error.message
    assert "agent.thread_context_compacted" not in {event.type for event in seen}
    assert seen[-1].type == "session.status_idle" and seen[-1].stop_reason.type == "retries_exhausted"


async def _session(running: Running) -> str:
    beta = running.client.beta
    agent = await beta.agents.create(name="plain", model="claude-haiku-4-5")  # its window is 200,000 tokens
    environment = await beta.environments.create(name="plain")
    return (await beta.sessions.create(agent=agent.id, environment_id=environment.id)).id


def _said(text: str) -> Any:
    return [{"type": "text", "text": text}]
