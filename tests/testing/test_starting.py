"""The in-process server of the test kit: whole, separate from others, with the official clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from freehold.calls import Call, Reply
from freehold.errors import Misconfigured
from freehold.testing import HandClock, server, server_in_thread
from freehold.toolboxes.base import ToolResult, ToolSpec
from freehold.toolboxes.current import NOBODY, Asker

MODEL = "claude-haiku-5-5"
TOOLS = '''
from anthropic import beta_tool


@beta_tool
def count_books() -> str:
    """Count the books on the shelf."""
    return "12"
'''


async def test_an_official_client_gets_whole_and_streamed_answers() -> None:
    async with server(strict=True) as running:
        whole = await running.client.messages.create(
            model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "hello there"}]
        )
        assert whole.stop_reason == "end_turn"
        async with running.client.messages.stream(
            model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "hello there"}]
        ) as stream:
            texts = [text async for text in stream.text_stream]
        assert len(texts) > 1
        assert [block.text for block in whole.content if block.type == "text"] == ["".join(texts)]


async def test_the_sync_client_works_from_a_thread() -> None:
    async with server(strict=True) as running:
        await running.client.beta.environments.create(name="made by the async one", config={"type": "cloud"})
        client = running.sync_client
        names = await asyncio.to_thread(lambda: [entry.name for entry in client.beta.environments.list()])
    assert names == ["made by the async one"]


def test_a_test_without_a_loop_has_a_server_too() -> None:
    with server_in_thread(strict=True) as running:
        message = running.sync_client.messages.create(
            model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "hello"}]
        )
    assert message.model == MODEL


def test_a_server_that_does_not_start_says_why_in_the_test(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no such Python file"), server_in_thread(tools=[tmp_path / "none.py"]):
        pytest.fail("it started")


async def test_two_servers_know_nothing_of_each_other() -> None:
    async with server() as one, server() as two:
        stranger = two.new_client(one.key, max_retries=0)
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.beta.environments.list()
        assert one.data != two.data
    assert not one.data.exists()


async def test_a_key_of_another_workspace_is_made_in_one_line() -> None:
    async with server() as running:
        other = running.new_client(await running.new_key(workspace="other"))
        await running.client.beta.environments.create(name="mine", config={"type": "cloud"})
        assert [entry.name async for entry in other.beta.environments.list()] == []


async def test_a_session_runs_in_the_process_and_its_events_stream(tmp_path: Path) -> None:
    (tmp_path / "shelf.py").write_text(TOOLS, "utf-8")
    async with server(tools=[tmp_path / "shelf.py"], strict=True) as running:
        beta = running.client.beta
        environment = await beta.environments.create(name="one", config={"type": "cloud"})
        agent = await beta.agents.create(
            name="Keeper",
            model=MODEL,
            mcp_servers=[{"type": "url", "name": "shelf", "url": "toolbox:shelf"}],
            tools=[
                {
                    "type": "mcp_toolset",
                    "mcp_server_name": "shelf",
                    "default_config": {"permission_policy": {"type": "always_allow"}},
                }
            ],
        )
        session = await beta.sessions.create(agent=agent.id, environment_id=environment.id)
        seen, told = [], ""
        text = {"type": "text", "text": "Count the books about tea."}
        async with await beta.sessions.events.stream(session.id) as events:
            sent: Any = {"type": "user.message", "content": [text]}
            await beta.sessions.events.send(session.id, events=[sent])
            async for event in events:
                assert event.type != "event_start" and event.type != "event_delta", "nobody asked for previews"
                seen.append(event.id)
                if event.type == "agent.mcp_tool_result":
                    told = "".join(block.text for block in event.content or [] if block.type == "text")
                if event.type == "session.status_idle":
                    break
        assert told == "12"
        assert seen == [event.id async for event in beta.sessions.events.list(session.id)]


async def test_any_handler_can_answer_the_calls() -> None:
    @asynccontextmanager
    async def overloaded(call: Call) -> AsyncIterator[Reply]:
        body = b'{"type":"error","error":{"type":"invalid_request_error","message":"from the test"}}'
        yield Reply(400, [(b"content-type", b"application/json")], whole=body)

    async with server(upstream=overloaded) as running:
        with pytest.raises(anthropic.BadRequestError, match="from the test"):
            await running.client.messages.create(
                model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "hello"}]
            )


async def test_time_stands_still_on_a_clock_that_is_turned_by_hand() -> None:
    clock = HandClock()
    async with server(clock=clock) as running:
        first = await running.client.beta.environments.create(name="first", config={"type": "cloud"})
        await clock.advance(3600)
        second = await running.client.beta.environments.create(name="second", config={"type": "cloud"})
    assert (first.created_at[:19], second.created_at[:19]) == ("2026-01-01T00:00:00", "2026-01-01T01:00:00")


class Stubborn:
    """A toolbox that cannot be closed."""

    name = "stubborn"

    def tools(self) -> Sequence[ToolSpec]:
        return []

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, key: str, session_id: str = "", asker: Asker = NOBODY
    ) -> ToolResult:
        raise AssertionError("nobody calls it")

    async def close(self) -> None:
        raise OSError("it does not close")


async def test_a_part_that_cannot_be_closed_keeps_no_other_open() -> None:
    with pytest.raises(OSError, match="does not close"):
        async with server(toolboxes={"stubborn": Stubborn()}):
            pass
    assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
