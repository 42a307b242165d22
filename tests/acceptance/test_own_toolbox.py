"""The server's own toolbox, by the official MCP client: a session is started and continued, a batch brought home."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from freehold import testing
from freehold.api.own_tools import OwnTools
from freehold.errors import Misconfigured
from freehold.inprocess import AsgiTransport
from freehold.toolboxes.inputs import Inputs

SLOW = '''
from anthropic import beta_tool
from freehold.toolboxes import current_call

@beta_tool
def count() -> str:
    """Count slowly, telling how far it is."""
    current_call().progress(1, 2, "half")
    return current_call().key
'''


@asynccontextmanager
async def connected(running: testing.Running, key: str, toolbox: str = "freehold") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"}
    transport = AsgiTransport(running.application.asgi)
    address = f"http://in-process/mcp/{toolbox}"
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=60) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tools") / "slow.py"
    file.write_text(SLOW)
    return file


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    text = "".join(block.text for block in result.content if block.type == "text")
    assert not result.is_error, text
    return json.loads(text)


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content)


async def key_of(running: testing.Running, body: dict[str, Any]) -> str:
    made: Any = await running.client.post("/freehold/v1/keys", cast_to=object, body=body)
    return str(made["secret"])


async def test_a_chat_starts_sessions_and_batches_with_the_rights_of_its_key(slow: Path) -> None:
    async with testing.server(tools=[slow]) as running:
        agent = await running.client.beta.agents.create(name="clerk", model="claude-haiku-4-5")
        await running.client.beta.environments.create(name="plain")
        me: Any = await running.client.get("/freehold/v1/me", cast_to=object)
        key = await key_of(running, {"name": "chat", "workspace_id": me["workspace_id"]})
        async with connected(running, key) as client:
            assert [one["id"] for one in await called(client, "list_agents")] == [agent.id]
            story = await called(client, "start_session", task="Say hello.", agent="clerk", wait_s=30)
            assert (story["status"], story["stop_reason"]) == ("idle", "end_turn")
            assert story["events"][-1]["type"] == "agent.message"
            again = await called(client, "send_message", session_id=story["session_id"], text="And now?", wait_s=30)
            assert again["events"][-1]["type"] == "agent.message"
            read = await called(client, "read_session", session_id=story["session_id"])
            assert [event["text"] for event in read["events"] if event["type"] == "user.message"] == [
                "Say hello.",
                "And now?",
            ]
            sessions = [session.id async for session in running.client.beta.sessions.list()]
            assert sessions == [story["session_id"]]

            prompts = [f"Say {word}." for word in ("one", "two", "three")]
            batch = await called(client, "submit_batch", model="claude-haiku-4-5", prompts=prompts, max_tokens=50)
            while batch["processing_status"] != "ended":
                batch = await called(client, "batch_progress", batch_id=batch["id"])
            results = await called(client, "batch_results", batch_id=batch["id"], offset=1)
            assert results["total"] == 3
            assert [one["custom_id"] for one in results["results"]] == ["prompt-1", "prompt-2"]
            assert all(one["text"] for one in results["results"])

            assert "say which" in await refused(client, "start_session", task="x", agent="nobody")
            for wrong in ("sesn_x/../../v1/files", "../keys", "sesn_0000"):
                await refused(client, "read_session", session_id=wrong)

        other: Any = await running.client.post("/freehold/v1/workspaces", cast_to=object, body={"name": "other"})
        foreign = await key_of(running, {"name": "foreign", "workspace_id": other["id"]})
        async with connected(running, foreign) as client:
            assert await called(client, "list_agents") == []
            for tool, arguments in (
                ("read_session", {"session_id": story["session_id"]}),
                ("batch_progress", {"batch_id": batch["id"]}),
            ):
                assert "There is no" in await refused(client, tool, **arguments)

        seen: list[tuple[float, float | None, str | None]] = []

        async def watch(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total, message))

        async with connected(running, key, "slow") as client:
            meta: Any = {"dev.freehold/idempotency-key": "mine"}
            given = await client.call_tool("count", {}, progress_callback=watch, meta=meta)
            assert given.content[0].text == "mine"  # type: ignore[union-attr]
            assert seen == [(1, 2, "half")]


async def test_an_agent_is_found_however_many_there_are() -> None:
    async with testing.server() as running:
        agents = running.client.beta.agents
        made = [await agents.create(name=f"clerk {number}", model="claude-haiku-4-5") for number in range(101)]
        await running.client.beta.environments.create(name="plain")
        me: Any = await running.client.get("/freehold/v1/me", cast_to=object)
        key = await key_of(running, {"name": "chat", "workspace_id": me["workspace_id"]})
        async with connected(running, key) as client:
            listed = [one["id"] for one in await called(client, "list_agents")]
            assert listed == [one.id for one in reversed(made)]
            story = await called(client, "start_session", task="Say hello.", agent="clerk 0", wait_s=30)
            assert (await running.client.beta.sessions.retrieve(story["session_id"])).agent.id == made[0].id
            assert "and 51 more" in await refused(client, "start_session", task="Say hello.", agent="nobody")


async def test_its_name_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "freehold.py"
    file.write_text(SLOW)
    with pytest.raises(Misconfigured, match="server's own toolbox"):
        async with testing.server(tools=[file]):
            raise AssertionError("it started")


def test_the_schemas_of_its_tools_are_schemas() -> None:
    functions = OwnTools(cast(Any, None)).functions()
    assert functions
    for function in functions:
        Inputs(function.spec.input_schema)
