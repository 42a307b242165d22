"""Budgets of sessions, by the official SDK in strict mode: given, reached, raised, taken away. A request costs 2 ct."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError

from freehold.store.engine import Store
from tests.agents.house import Script, calls, text
from tests.api.session_house import SessionHouse, open_session_house
from tests.contract.manifest import proves

Opens = Callable[[Script], Awaitable[SessionHouse]]
HELLO: Any = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}


@pytest.fixture
async def opens(store: Store, tmp_path: Path) -> AsyncIterator[Opens]:
    made: list[Any] = []

    async def open_one(script: Script) -> SessionHouse:
        context = open_session_house(store, tmp_path, script)
        made.append(context)
        return await context.__aenter__()

    yield open_one
    for context in made:
        await context.__aexit__(None, None, None)


def cents(amount: int) -> Any:
    return {"type": "limit", "max_list_cost": {"amount": str(amount), "currency": "USD"}}


async def test_a_session_stops_before_the_next_request_once_its_budget_is_reached(opens: Opens) -> None:
    house = await opens(Script([calls(("bash", {})), calls(("bash", {})), text("never asked")]))
    session = await house.session(budget=cents(3))
    await house.say(session)
    log = await house.idle(session)
    assert [event.type for event in log[-4:]] == [
        "agent.tool_result",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]
    assert log[-1].stop_reason.type == log[-3].stop_reason.type == "budget_reached"
    bill = log[-2]
    assert bill.budget.max_list_cost.amount == "3" and bill.usage.list_cost.amount == "4"
    assert len(house.script.asked) == 2  # the third request was not made
    shown = await house.client().beta.sessions.retrieve(session)
    assert shown.budget is not None and shown.budget.max_list_cost.currency == "USD"


@proves("event user.interrupt")
async def test_a_stopped_session_takes_no_message_until_its_budget_is_raised_and_then_goes_on(opens: Opens) -> None:
    house = await opens(Script([calls(("bash", {})), text("done")]))
    session = await house.session(budget=cents(1))
    events, sessions = house.client().beta.sessions.events, house.client().beta.sessions
    await house.say(session)
    await house.idle(session)
    with pytest.raises(BadRequestError, match="reached its budget"):
        await events.send(session, events=[HELLO])
    await events.send(session, events=[{"type": "user.interrupt"}])  # changes nothing
    with pytest.raises(BadRequestError, match="not more than") as refused:
        await sessions.update(session, budget=cents(2))
    assert refused.value.body["error"]["details"] == {"error_code": "budget_not_raised"}  # type: ignore[index]
    raised = await sessions.update(session, budget=cents(50))
    assert raised.status == "running" and raised.budget == (await sessions.retrieve(session)).budget
    log = await house.idle(session, times=2)
    assert log[-1].stop_reason.type == "end_turn"
    updated = [event for event in log if event.type == "session.updated"]
    assert [event.budget.max_list_cost.amount for event in updated] == ["50"]
    assert updated[0].model_fields_set == {"id", "type", "processed_at", "budget"}


async def test_a_budget_that_is_taken_away_lets_the_session_go_on_and_does_not_come_back(opens: Opens) -> None:
    house = await opens(Script([calls(("bash", {})), text("done")]))
    session = await house.session(budget=cents(1))
    await house.say(session)
    await house.idle(session)
    free = await house.client().beta.sessions.update(session, budget=None)
    assert free.budget is None
    log = await house.idle(session, times=2)
    assert log[-1].stop_reason.type == "end_turn" and log[-2].budget is None
    with pytest.raises(BadRequestError) as refused:
        await house.client().beta.sessions.update(session, budget=cents(900))
    assert refused.value.body["error"]["details"] == {"error_code": "budget_create_only"}  # type: ignore[index]


async def test_what_waits_when_the_budget_is_reached_is_taken_when_it_goes_on(opens: Opens) -> None:
    house = await opens(Script([calls(("weather", {})), text("done")]))
    session = await house.session(budget=cents(1))
    await house.say(session)
    log = await house.idle(session)
    call = next(event for event in log if event.type == "agent.custom_tool_use")
    events = house.client().beta.sessions.events
    [waits] = (await events.send(session, events=[HELLO])).data or []  # it is idle for its client, not for its budget
    assert waits.processed_at is None
    answer: Any = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id}
    await events.send(session, events=[answer])
    log = await house.idle(session, times=2)
    assert [event.stop_reason.type for event in log if event.type == "session.status_idle"][-1] == "budget_reached"
    await house.client().beta.sessions.update(session, budget=cents(90))
    await house.idle(session, times=3)
    assert [block["type"] for block in house.script.asked[1]["messages"][-1]["content"]] == ["tool_result", "text"]


async def test_a_budget_is_in_whole_cents_and_needs_a_model_with_a_price(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    for amount in ("0", "07", "1.5", "-3", "a", "9" * 30):
        with pytest.raises(BadRequestError, match=r"budget\.max_list_cost\.amount"):
            await house.session(budget={"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}})
    client = house.client()
    agent = await client.beta.agents.create(name="tester", model="own-model")
    environment = await client.beta.environments.create(name="here")
    with pytest.raises(BadRequestError) as refused:
        await client.beta.sessions.create(agent=agent.id, environment_id=environment.id, budget=cents(5))
    assert refused.value.body["error"]["details"] == {"error_code": "model_not_budgetable"}  # type: ignore[index]
