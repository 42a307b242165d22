"""What another owner finds: every way in which a server may have died, and that nothing runs twice in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.agents import reply
from freehold.agents.events import UNKNOWN_OUTCOME, Draft, Voice
from freehold.agents.log import new_event
from freehold.agents.tools.catalog import catalog
from freehold.agents.usage import Tokens
from freehold.environments.base import ToolOutcome
from freehold.ids import new_id
from freehold.store import session_log
from freehold.store.session_log import Fenced, Lease, Move, Plan
from tests.agents.conftest import MakesHouse
from tests.agents.house import (
    BoxFunctions,
    Company,
    House,
    Json,
    Script,
    calls,
    definition,
    last_stop,
    of_type,
    said,
    text,
    types,
)
from tests.contract.manifest import shows_difference


class DeadServer:
    """Another owner of a session, which writes what one writes, and then is no more."""

    def __init__(self, house: House, session_id: str) -> None:
        self.house = house
        self.session_id = session_id
        self.voice = Voice(new_id, "sthr_1", "tester")
        self.lease: Lease | None = None

    async def take(self) -> None:
        """Make it running and take the lease, before the house's own driver can."""
        await self.house.driver.stop()
        await self.house.say(self.session_id)

        async def op(connection: AsyncConnection) -> Lease | None:
            return await session_log.acquire(
                connection, "dead", now_us=self.house.clock.now_us(), session_id=self.session_id
            )

        self.lease = await self.house.store.write(op)

    async def write(self, drafts: Sequence[Draft], changes: Sequence[Plan | Move] = ()) -> None:
        assert self.lease is not None
        epoch, now_us = self.lease.epoch, self.house.clock.now_us()

        async def op(connection: AsyncConnection) -> None:
            events = [new_event(draft, now_us) for draft in drafts]
            await session_log.append(
                connection, self.session_id, events, now_us=now_us, epoch=epoch, tool_calls=changes
            )

        await self.house.store.write(op)

    async def reply(self, message: Json, *, started: bool = True) -> list[str]:
        """The model's message as the loop writes it; gives the ids of its calls."""
        execution = self.house.parts.execution
        agent = definition()
        servers = execution.offered(agent)
        known = catalog(agent, execution.built_in(), servers, execution.repeats(agent, servers))
        ids = reply.Ids(new_id("sevt"), new_id("sevt"), new_id("sevt"))
        made = reply.read({"id": "msg_1", "usage": {}, **message}, Tokens(), ids, known, self.voice)
        plans: list[Plan | Move] = [Plan(call.event_id, call.name, call.policy) for call in made.calls]
        begun = [Move(call.event_id, "started") for call in made.calls if call.runs_now and started]
        await self.write([Draft(ids.span_start, "span.model_request_start", {}), *made.drafts], [*plans, *begun])
        return [call.event_id for call in made.calls]

    async def die(self) -> None:
        """Its lease ends; the house takes over."""

        async def op(connection: AsyncConnection) -> None:
            await session_log.abandon(connection, ["dead"])

        await self.house.store.write(op)
        self.house.driver.start()


async def a_dead_server(make_house: MakesHouse, script: Script, **options: Any) -> DeadServer:
    house = await make_house(script, **options)
    dead = DeadServer(house, await house.session())
    await dead.take()
    return dead


@shows_difference("unknown-outcomes-are-told")
async def test_a_started_call_is_never_run_twice(make_house: MakesHouse) -> None:
    script = Script([text("I will look")])
    dead = await a_dead_server(make_house, script)
    (call_id,) = await dead.reply(calls(("bash", {"command": "rm -r /"})))
    await dead.die()
    house = dead.house
    log = await house.idle(dead.session_id)
    assert house.boxes.ran == []
    (result,) = of_type(log, "agent.tool_result")
    assert result["tool_use_id"] == call_id and result["is_error"] and said(result) == UNKNOWN_OUTCOME
    assert of_type(log, "session.error")[0]["error"]["type"] == "unknown_error"
    assert await house.journal(dead.session_id) == {"bash": "unknown"}
    shown = script.asked[0]["messages"][2]["content"][0]
    assert shown["is_error"] and UNKNOWN_OUTCOME in shown["content"][0]["text"]
    assert last_stop(log) == {"type": "end_turn"}


async def test_an_outcome_that_the_box_knows_is_told_as_it_was(make_house: MakesHouse) -> None:
    boxes = BoxFunctions()
    dead = await a_dead_server(make_house, Script([text("good")]), boxes=boxes)
    (call_id,) = await dead.reply(calls(("bash", {})))
    boxes.known[call_id] = ToolOutcome([{"type": "text", "text": "done before the crash"}])
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    assert said(of_type(log, "agent.tool_result")[0]) == "done before the crash"
    assert of_type(log, "session.error") == []
    assert boxes.ran == []
    assert await dead.house.journal(dead.session_id) == {"bash": "done"}


async def test_a_started_call_that_changes_nothing_is_run_again_under_its_key(make_house: MakesHouse) -> None:
    dead = await a_dead_server(make_house, Script([text("good")]))
    (call_id,) = await dead.reply(calls(("read", {})))
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    assert dead.house.boxes.ran == [("read", call_id)]
    assert said(of_type(log, "agent.tool_result")[0]) == "read done"
    async with dead.house.store.read() as connection:
        (call,) = await session_log.tool_calls(connection, dead.session_id, ["done"])
    assert call.attempt == 2


@pytest.mark.parametrize("may", [True, False])
async def test_a_function_is_run_again_only_where_the_operator_says_so(make_house: MakesHouse, may: bool) -> None:
    retried = ["company.lookup"] if may else []
    dead = await a_dead_server(make_house, Script([text("good")]), retried=retried)
    await dead.reply(calls(("mcp__company__lookup", {"id": "u_1"})))
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    (result,) = of_type(log, "agent.mcp_tool_result")
    assert said(result) == ("user u_1" if may else UNKNOWN_OUTCOME)
    assert bool(of_type(log, "session.error")) is not may


async def test_a_planned_call_is_run(make_house: MakesHouse) -> None:
    dead = await a_dead_server(make_house, Script([text("good")]))
    (call_id,) = await dead.reply(calls(("bash", {})), started=False)
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    assert dead.house.boxes.ran == [("bash", call_id)]
    assert len(of_type(log, "agent.tool_result")) == 1


async def test_results_found_after_a_crash_keep_the_order_of_the_calls(make_house: MakesHouse) -> None:
    dead = await a_dead_server(make_house, Script([text("good")]))
    made = await dead.reply(calls(("read", {}), ("bash", {}), ("mcp__company__lookup", {"id": 7})))
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    results = [event for event in log if event["type"] in ("agent.tool_result", "agent.mcp_tool_result")]
    assert [result.get("tool_use_id") or result["mcp_tool_use_id"] for result in results] == made
    assert [result["is_error"] for result in results] == [False, True, True]


async def test_a_model_request_that_was_cut_off_is_closed_and_made_again(make_house: MakesHouse) -> None:
    dead = await a_dead_server(make_house, Script([text("here")]))
    await dead.write([Draft(new_id("sevt"), "span.model_request_start", {})])
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    starts, ends = of_type(log, "span.model_request_start"), of_type(log, "span.model_request_end")
    assert [end["model_request_start_id"] for end in ends] == [start["id"] for start in starts]
    assert [end["is_error"] for end in ends] == [True, False]


async def test_an_answer_given_while_nobody_was_there_is_found(make_house: MakesHouse) -> None:
    dead = await a_dead_server(make_house, Script([text("good")]))
    (call_id,) = await dead.reply(calls(("write", {})))
    verdict = {"type": "user.tool_confirmation", "tool_use_id": call_id, "result": "allow"}
    await dead.house.send(dead.session_id, verdict)
    await dead.die()
    log = await dead.house.idle(dead.session_id)
    assert dead.house.boxes.ran == [("write", call_id)]
    assert last_stop(log) == {"type": "end_turn"}


async def test_a_zombie_writes_nothing_and_its_tool_result_is_dropped(make_house: MakesHouse) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        begun.set()
        await go_on.wait()
        return "from the zombie"

    zombie = await make_house(Script([calls(("bash", {})), text("zombie")]), boxes=BoxFunctions(bash=slow))
    session = await zombie.session()
    await zombie.say(session)
    await begun.wait()

    async def op(connection: AsyncConnection) -> Lease | None:
        await session_log.abandon(connection, [str((await session_log.lock(connection, session)).owner)])
        return await session_log.acquire(connection, "other", now_us=zombie.clock.now_us(), session_id=session)

    lease = await zombie.store.write(op)
    assert lease is not None
    go_on.set()
    await zombie.driver.stop()
    log = await zombie.log(session)
    assert of_type(log, "agent.tool_result") == []
    with pytest.raises(Fenced):
        await zombie.store.write(
            lambda c: session_log.append(c, session, [], now_us=zombie.clock.now_us(), epoch=lease.epoch - 1)
        )


async def test_a_server_that_stops_hands_over_a_model_request(make_house: MakesHouse) -> None:
    first = await make_house(Script([text("never")], waits=True))
    session = await first.session()
    await first.say(session)
    await first.until(session, lambda log: "span.model_request_start" in types(log))
    await first.driver.stop()
    assert await first.status(session) == "running"
    second = await make_house(Script([text("from the second")]))
    log = await second.idle(session, 1)
    assert said(of_type(log, "agent.message")[0]) == "from the second"


async def test_a_server_that_stops_lets_a_running_tool_end(make_house: MakesHouse) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        begun.set()
        await go_on.wait()
        return "ended well"

    first = await make_house(Script([calls(("bash", {}))]), boxes=BoxFunctions(bash=slow))
    session = await first.session()
    await first.say(session)
    await begun.wait()
    stopping = asyncio.create_task(first.driver.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert said(of_type(await first.log(session), "agent.tool_result")[0]) == "ended well"
    second = await make_house(Script([text("I go on")]))
    log = await second.idle(session)
    assert len(of_type(log, "agent.tool_result")) == 1


async def test_a_session_that_always_fails_inside_comes_to_rest(make_house: MakesHouse) -> None:
    class Broken(Company):
        def tools(self) -> Any:
            raise RuntimeError("a bug")

    house = await make_house(Script([text("hi")]), toolbox=Broken())
    session = await house.session()
    await house.say(session)
    log = await house.idle(session)
    assert of_type(log, "session.error")[0]["error"]["retry_status"] == {"type": "exhausted"}
    assert last_stop(log) == {"type": "retries_exhausted"}


async def test_many_sessions_run_at_once(make_house: MakesHouse) -> None:
    script = Script([text("hi")])
    house = await make_house(script)
    sessions = [await house.session() for _ in range(40)]
    await asyncio.gather(*(house.say(session) for session in sessions))
    logs = await asyncio.gather(*(house.idle(session) for session in sessions))
    assert all(last_stop(log) == {"type": "end_turn"} for log in logs)
