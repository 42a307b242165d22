"""The SDK's helpers for sessions, against the whole application."""

from __future__ import annotations

import asyncio
from typing import Any

from anthropic import beta_async_tool

from freehold.testing import Running
from tests.contract.manifest import proves
from tests.contract.strict import undeclared

MODEL = "claude-haiku-5-5"
PRICE: Any = {
    "type": "custom",
    "name": "price_of",
    "description": "Say what an article costs.",
    "input_schema": {"type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]},
}


async def session_of(running: Running, tools: list[Any]) -> str:
    beta = running.client.beta
    agent = await beta.agents.create(name="clerk", model=MODEL, tools=tools)
    environment = await beta.environments.create(name="plain")
    return (await beta.sessions.create(agent=agent.id, environment_id=environment.id)).id


def said(text: str) -> Any:
    return [{"type": "user.message", "content": [{"type": "text", "text": text}]}]


@proves("beta.sessions.events.tool_runner", "event agent.custom_tool_use", "event user.custom_tool_result")
async def test_the_session_tool_runner_answers_what_the_agent_asks_for(running: Running) -> None:
    @beta_async_tool
    async def price_of(article: str) -> str:
        """Say what an article costs."""
        return f"{article}: 42 yuan"

    events = running.client.beta.sessions.events
    session = await session_of(running, [PRICE])
    await events.send(session, events=said('Use the tool price_of with article = "inkstone".'))
    async with asyncio.timeout(120):
        answered = [call async for call in events.tool_runner(session, tools=[price_of], max_idle=0.5)]
    assert [(call.posted, call.is_error) for call in answered] == [(True, False)]
    log = [event async for event in events.list(session)]
    assert [found for event in log for found in undeclared(event)] == []
    [result] = [event for event in log if event.type == "user.custom_tool_result"]
    assert result.content is not None and [block.text for block in result.content if block.type == "text"] == [
        "inkstone: 42 yuan"
    ]
    assert log[-1].type == "session.status_idle" and log[-1].stop_reason.type == "end_turn"
    assert [event.type for event in log].count("session.status_idle") == 2, "requires_action, then the end"
