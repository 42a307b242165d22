"""`system.message`, by the official SDK in strict mode: what an operator says to the model within a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError

from freehold.agents.incoming import refuse_without_system
from freehold.errors import InvalidRequest
from freehold.store.engine import Store
from tests.agents.house import Script, calls, text
from tests.api.session_house import SessionHouse, open_session_house
from tests.contract.manifest import proves, shows_difference

HELLO: Any = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
BRIEF: Any = {"type": "system.message", "content": [{"type": "text", "text": "Answer in French."}]}


@pytest.fixture
async def house(store: Store, tmp_path: Path) -> AsyncIterator[SessionHouse]:
    async with open_session_house(store, tmp_path, Script([calls(("weather", {})), text("oui"), text("oui")])) as house:
        yield house


@proves("event system.message")
async def test_a_system_message_goes_to_the_model_behind_the_turn_that_it_accompanies(house: SessionHouse) -> None:
    session = await house.session(agent_model="claude-opus-5")
    events = house.client().beta.sessions.events
    sent = (await events.send(session, events=[HELLO, BRIEF])).data or []
    assert [event.type for event in sent] == ["user.message", "system.message"] and sent[1].processed_at
    log = await house.idle(session)
    call = next(event for event in log if event.type == "agent.custom_tool_use")
    answer: Any = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id}
    briefly: Any = {**BRIEF, "content": [{"type": "text", "text": "And briefly."}]}
    await events.send(session, events=[answer, briefly])
    await house.idle(session, times=2)
    roles = [[message["role"] for message in asked["messages"]] for asked in house.script.asked]
    assert roles == [["user", "system"], ["user", "system", "assistant", "user", "system"]]
    assert house.script.asked[1]["messages"][-1]["content"] == [{"type": "text", "text": "And briefly."}]
    assert house.script.asked[1]["system"].startswith("Be brief.")  # it does not replace the agent's own


async def test_a_system_message_waits_with_its_message(house: SessionHouse) -> None:
    session = await house.session(agent_model="claude-opus-5")
    await house.say(session)
    await house.idle(session)  # it waits for the weather
    sent = (await house.client().beta.sessions.events.send(session, events=[HELLO, BRIEF])).data or []
    assert [event.processed_at for event in sent] == [None, None]


async def test_a_system_message_stands_last_and_behind_what_it_accompanies(house: SessionHouse) -> None:
    session = await house.session(agent_model="claude-opus-5")
    events = house.client().beta.sessions.events
    interrupt: Any = {"type": "user.interrupt"}
    for wrong in ([BRIEF], [HELLO, BRIEF, HELLO], [HELLO, BRIEF, BRIEF], [HELLO, interrupt, BRIEF]):
        with pytest.raises(BadRequestError, match=r"events\.\d\.type: a system\.message must"):
            await events.send(session, events=wrong)
    picture: Any = {"type": "system.message", "content": [{"type": "text", "text": " "}]}
    with pytest.raises(BadRequestError, match=r"events\.1\.content\.0\.text"):
        await events.send(session, events=[HELLO, picture])
    assert await house.events(session) == []


@shows_difference("models-without-system-messages")
async def test_a_model_that_takes_none_is_named(house: SessionHouse) -> None:
    session = await house.session()
    with pytest.raises(BadRequestError) as refused:
        await house.client().beta.sessions.events.send(session, events=[HELLO, BRIEF])
    details = refused.value.body["error"]["details"]  # type: ignore[index]
    assert details == {"error_code": "model_does_not_support_mid_conversation_system"}
    assert await house.events(session) == []


def test_models_before_opus_4_8_take_none() -> None:
    for model in ("claude-3-haiku-20240307", "claude-sonnet-4-5", "claude-opus-4-7", "claude-opus-4-20250514"):
        with pytest.raises(InvalidRequest):
            refuse_without_system(model, "events.1")
    for model in ("claude-opus-4-8", "claude-opus-5-5", "claude-sonnet-5", "claude-haiku-5-5", "own-model"):
        refuse_without_system(model, "events.1")
