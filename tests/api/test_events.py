"""Events over HTTP, by the official SDK in strict mode: send, list, stream, previews, and the SDK's own tool runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError, NotFoundError, beta_async_tool

from freehold.api.events import MOST_PAGE_BYTES, fitting
from freehold.store.engine import Store
from freehold.store.session_log import Event, Place
from tests.agents.house import Script, calls, text
from tests.api.session_house import SessionHouse, open_session_house
from tests.contract.manifest import proves
from tests.contract.strict import undeclared

Opens = Callable[[Script], Awaitable[SessionHouse]]


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


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


@proves(
    "beta.sessions.events.send",
    "beta.sessions.events.list",
    "event user.message",
    "event session.status_running",
    "event session.thread_status_running",
    "event span.model_request_start",
    "event agent.thinking",
    "event agent.message",
    "event agent.tool_use",
    "event agent.mcp_tool_use",
    "event span.model_request_end",
    "event agent.tool_result",
    "event agent.mcp_tool_result",
    "event session.thread_status_idle",
    "event session.usage",
    "event session.status_idle",
)
async def test_a_turn_is_sent_and_listed_as_the_sdk_expects_it(opens: Opens) -> None:
    first = calls(("bash", {"command": "ls"}), ("mcp__company__lookup", {"id": 7}), say="looking")
    first["content"].insert(0, {"type": "thinking", "thinking": "hm", "signature": "c2ln"})
    house = await opens(Script([first, text("done")]))
    session = await house.session()
    sent = await house.say(session)
    assert sent.data[0].processed_at is not None
    events = await house.idle(session)
    assert [found for event in events for found in undeclared(event)] == []
    assert kinds(events) == [
        "user.message",
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "agent.thinking",
        "agent.message",
        "agent.tool_use",
        "agent.mcp_tool_use",
        "span.model_request_end",
        "agent.tool_result",
        "agent.mcp_tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]
    assert events[0].id == sent.data[0].id
    assert events[7].mcp_server_name == "company" and events[7].name == "lookup"
    assert events[-2].usage.list_cost.amount == "4"


@proves("beta.sessions.events.stream")
async def test_a_stream_shows_what_happens_from_its_opening_on(opens: Opens) -> None:
    house = await opens(Script([text("first"), text("second")]))
    session = await house.session()
    await house.say(session)
    before = await house.idle(session)
    client = house.client()
    async with await client.beta.sessions.events.stream(session) as stream:
        await house.say(session, "again")
        seen: list[Any] = []
        async for event in stream:
            seen.append(event)
            if event.type == "session.status_idle":
                break
    after = (await house.events(session))[len(before) :]
    assert [event.id for event in seen] == [event.id for event in after]
    assert [found for event in seen for found in undeclared(event)] == []


async def test_a_stream_says_what_it_is_and_is_not_to_be_cached(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    session = await house.session()
    async with house.http() as client, client.stream("GET", f"/v1/sessions/{session}/events/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        await house.say(session)
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: user.message"


@proves("event session.deleted")
async def test_a_stream_ends_with_the_deletion_of_its_session(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    session = await house.session()
    client = house.client()
    async with await client.beta.sessions.events.stream(session) as stream, asyncio.timeout(60):
        await client.beta.sessions.delete(session)
        seen = [event async for event in stream]
    assert kinds(seen) == ["session.deleted"]


async def test_many_readers_of_one_session_see_the_same(opens: Opens) -> None:
    house = await opens(Script([calls(("bash", {})), text("done")]))
    session = await house.session()
    client = house.client()
    opened = asyncio.Barrier(6)

    async def read() -> list[str]:
        async with await client.beta.sessions.events.stream(session) as stream:
            await opened.wait()
            seen = []
            event: Any
            async for event in stream:
                seen.append(event.id)
                if event.type == "session.status_idle":
                    return seen
        raise AssertionError("the stream ended early")

    readers = [asyncio.create_task(read()) for _ in range(5)]
    await opened.wait()
    await house.say(session)
    seen = await asyncio.gather(*readers)
    logged = [event.id for event in await house.idle(session)]
    assert all(one == logged for one in seen)


@proves("event event_start", "event event_delta")
async def test_previews_make_a_prefix_of_the_event_with_the_same_id(opens: Opens) -> None:
    first = text("the whole of it, in several pieces")
    first["content"].insert(0, {"type": "thinking", "thinking": "hm", "signature": "c2ln"})
    script = Script([first | {"stop_at": "content_block_delta"}], waits=True)
    house = await opens(script)
    session = await house.session()
    client = house.client()
    seen: list[Any] = []
    stream = await client.beta.sessions.events.stream(session, event_deltas=["agent.message", "agent.thinking"])
    async with stream, asyncio.timeout(60):
        await house.say(session)
        async for event in stream:
            seen.append(event)
            if event.type == "event_start":
                script.gate.set()
            if event.type == "session.status_idle":
                break
    assert [found for event in seen for found in undeclared(event)] == []
    message = next(event for event in seen if event.type == "agent.message")
    starts = [event.event for event in seen if event.type == "event_start"]
    pieces = [event for event in seen if event.type == "event_delta"]
    assert [start.type for start in starts] == ["agent.thinking", "agent.message"]
    assert starts[1].id == message.id and all(piece.event_id == message.id for piece in pieces)
    told = "".join(piece.delta.content.text for piece in pieces)
    assert told and message.content[0].text.startswith(told)
    at = kinds(seen)
    assert at.index("span.model_request_start") < at.index("event_start") < at.index("agent.message")
    assert "event_start" not in kinds(await house.events(session))


async def test_a_stream_that_did_not_ask_gets_no_previews(opens: Opens) -> None:
    house = await opens(Script([text("words")]))
    session = await house.session()
    async with await house.client().beta.sessions.events.stream(session) as stream, asyncio.timeout(60):
        await house.say(session)
        seen: list[Any] = []
        async for event in stream:
            seen.append(event)
            if event.type == "session.status_idle":
                break
    assert not {"event_start", "event_delta"} & set(kinds(seen))


@proves("event agent.custom_tool_use", "event user.custom_tool_result", "event user.tool_confirmation")
async def test_custom_tools_and_confirmations_go_through_the_sdk(opens: Opens) -> None:
    house = await opens(Script([calls(("weather", {"city": "Berlin"}), ("write", {"file_path": "a"})), text("done")]))
    session = await house.session()
    client = house.client()
    await house.say(session)
    events = await house.idle(session)
    custom = next(event for event in events if event.type == "agent.custom_tool_use")
    asking = next(event for event in events if event.type == "agent.tool_use")
    assert custom.input == {"city": "Berlin"}
    assert events[-1].stop_reason.event_ids == [custom.id, asking.id]
    content: Any = [{"type": "text", "text": "sunny"}]
    await client.beta.sessions.events.send(
        session,
        events=[
            {"type": "user.custom_tool_result", "custom_tool_use_id": custom.id, "content": content},
            {"type": "user.tool_confirmation", "tool_use_id": asking.id, "result": "allow"},
        ],
    )
    events = await house.idle(session, 2)
    assert [found for event in events for found in undeclared(event)] == []
    assert events[-1].stop_reason.type == "end_turn"


@proves("beta.sessions.events.tool_runner")
async def test_the_tool_runner_of_the_sdk_answers_custom_tools(opens: Opens) -> None:
    asked = []

    @beta_async_tool
    async def weather(city: str) -> str:
        """Weather."""
        asked.append(city)
        return "sunny"

    house = await opens(Script([calls(("weather", {"city": "Berlin"})), text("it is sunny")]))
    session = await house.session()
    client = house.client()
    await house.say(session)
    async with asyncio.timeout(60):
        async for call in client.beta.sessions.events.tool_runner(session, tools=[weather], max_idle=0.2):
            assert call.posted and not call.is_error
    assert asked == ["Berlin"]
    events = await house.events(session)
    assert events[-1].stop_reason.type == "end_turn"


@proves("event user.interrupt")
async def test_an_interrupt_goes_through_the_sdk(opens: Opens) -> None:
    script = Script([text("never")], waits=True)
    house = await opens(script)
    session = await house.session()
    await house.say(session)
    sent = await house.client().beta.sessions.events.send(session, events=[{"type": "user.interrupt"}])
    assert sent.data is not None and sent.data[0].type == "user.interrupt"
    events = await house.idle(session)
    assert events[-1].stop_reason.type == "end_turn"


@proves("event session.error", "event session.status_rescheduled", "event session.thread_status_rescheduled")
async def test_failures_are_events_that_the_sdk_knows(opens: Opens) -> None:
    from freehold.errors import Overloaded

    house = await opens(Script([Overloaded("busy"), text("ok")]))
    session = await house.session()
    await house.say(session)
    events = await house.idle(session)
    error = next(event for event in events if event.type == "session.error")
    assert error.error.type == "model_overloaded_error" and error.error.retry_status.type == "retrying"
    assert [found for event in events for found in undeclared(event)] == []


async def test_lists_are_filtered_ordered_and_paged(opens: Opens) -> None:
    house = await opens(Script([calls(("bash", {})), text("done")]))
    session = await house.session()
    await house.say(session)
    whole = await house.idle(session)
    listed = house.client().beta.sessions.events.list
    backwards = [event.id async for event in listed(session, order="desc", limit=3)]
    assert backwards == [event.id for event in reversed(whole)]
    page = await listed(session, limit=5)
    assert len(page.data) == 5 and page.next_page
    rest = await listed(session, limit=1000, page=page.next_page)
    assert [event.id for event in [*page.data, *rest.data]] == [event.id for event in whole]
    assert rest.next_page is None
    some = [event async for event in listed(session, types=["agent.message", "agent.tool_use"])]
    assert kinds(some) == ["agent.tool_use", "agent.message"]
    middle: Any = whole[6]
    late = [event async for event in listed(session, created_at_gt=middle.processed_at)]
    early = [event async for event in listed(session, created_at_lte=middle.processed_at)]
    assert {event.id for event in early} | {event.id for event in late} == {event.id for event in whole}
    assert middle.id in {event.id for event in early}


async def test_waiting_messages_are_listed_behind_the_log(opens: Opens) -> None:
    house = await opens(Script([calls(("weather", {})), text("done")]))
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    sent = await house.say(session, "and this")
    assert sent.data[0].processed_at is None
    events = await house.events(session)
    assert events[-1].id == sent.data[0].id and events[-1].processed_at is None
    backwards = house.client().beta.sessions.events.list(session, order="desc", limit=2)
    assert [event.id async for event in backwards][:2] == [events[-1].id, events[-2].id]


async def test_what_cannot_be_taken_is_a_400_that_names_it(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    session = await house.session()
    bad: list[tuple[dict[str, Any], str]] = [
        ({}, "events"),
        ({"events": []}, "events"),
        ({"events": [{"type": "user.nonsense"}]}, "events.0"),
        ({"events": [{"type": "user.message", "content": "hello"}]}, "events.0.content"),
        ({"events": [{"type": "user.message", "content": [{"type": "text", "text": ""}]}]}, "events.0.content.0"),
        ({"events": [{"type": "user.message", "content": [{"type": "redacted"}]}]}, "events.0.content.0"),
        (
            {
                "events": [
                    {
                        "type": "user.message",
                        "content": [
                            {"type": "text", "text": "look"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": "R0lGODlh"},
                            },
                        ],
                    }
                ]
            },
            "events.0.content.1.source.data: is no image/png",
        ),
        (
            {
                "events": [
                    {
                        "type": "user.custom_tool_result",
                        "custom_tool_use_id": "x",
                        "content": [
                            {
                                "type": "document",
                                "source": {"type": "base64", "media_type": "application/pdf", "data": "R0lGODlh"},
                            }
                        ],
                    }
                ]
            },
            "events.0.content.0.source.data: is no application/pdf",
        ),
        ({"events": [{"type": "user.tool_result", "tool_use_id": "x"}]}, "no agent.tool_use event"),
        (
            {
                "events": [
                    {"type": "user.define_outcome", "description": "x", "rubric": {"type": "text", "content": "y"}}
                ]
            },
            "not built",
        ),
        ({"events": [{"type": "system.message", "content": [{"type": "text", "text": "x"}]}]}, "must follow"),
    ]
    async with house.http() as client:
        for body, named in bad:
            answer = await client.post(f"/v1/sessions/{session}/events", json=body)
            assert answer.status_code == 400, body
            assert named in answer.json()["error"]["message"], answer.json()
        for query, named in (
            ("types[]=nonsense", "types[]"),
            ("order=sideways", "order"),
            ("limit=1001", "limit"),
            ("page=page_nonsense", "page"),
            ("created_at[gt]=yesterday", "created_at[gt]"),
            ("typos[]=agent.message", "typos[]"),
        ):
            answer = await client.get(f"/v1/sessions/{session}/events?{query}")
            assert answer.status_code == 400 and named in answer.json()["error"]["message"], query
        for query in ("event_deltas[]=agent.tool_use", "&".join(["event_deltas[]=agent.message"] * 101)):
            answer = await client.get(f"/v1/sessions/{session}/events/stream?{query}")
            assert answer.status_code == 400 and "event_deltas" in answer.json()["error"]["message"]
    assert await house.events(session) == []


async def test_another_workspace_sees_no_events(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    session = await house.session()
    stranger = house.client("other").beta.sessions
    with pytest.raises(NotFoundError):
        await stranger.events.list(session)
    with pytest.raises(NotFoundError):
        await stranger.events.stream(session)
    with pytest.raises(NotFoundError):
        await stranger.events.send(session, events=[{"type": "user.interrupt"}])


async def test_a_cursor_of_another_list_is_refused(opens: Opens) -> None:
    house = await opens(Script([text("hi")]))
    session = await house.session()
    await house.say(session)
    await house.idle(session)
    page = await house.client().beta.sessions.events.list(session, limit=2)
    assert page.next_page
    with pytest.raises(BadRequestError, match="another"):
        await house.client().beta.sessions.events.list(session, limit=2, page=page.next_page, order="desc")


@pytest.mark.parametrize(
    ("sizes", "limit", "pages"),
    [
        ([10] * 20, 1000, [20]),
        ([10] * 20, 5, [5, 5, 5, 5]),
        ([10] * 21, 20, [20, 1]),
        ([], 5, [0]),
        ([MOST_PAGE_BYTES // 4] * 10, 1000, [8, 2]),
        ([10] * 8 + [MOST_PAGE_BYTES] * 2 + [10] * 5, 10, [10, 5]),
        ([10] * 8 + [MOST_PAGE_BYTES // 16] * 64, 1000, [40, 16, 16, 0]),
    ],
)
async def test_a_page_holds_as_many_events_as_were_asked_for_or_as_fit(
    sizes: list[int], limit: int, pages: list[int]
) -> None:
    log = [Event(f"sevt_{n}", "user.message", "x" * size, None, n, n, Place(False, n)) for n, size in enumerate(sizes)]
    most = 0

    async def read(wanted: int, behind: Place | None) -> list[Event]:
        nonlocal most
        most = max(most, wanted)
        first = 0 if behind is None else behind.number + 1
        return log[first : first + wanted]

    found: list[Event] = []
    got, more = [], True
    while more:
        page, more = await fitting(read, limit, found[-1].place if found else None)
        found += page
        got.append(len(page))
    assert found == log and most <= limit + 1
    assert got == pages
