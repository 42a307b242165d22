"""Agents use MCP servers elsewhere: a real one in a process of its own, which dies, hangs, floods and leads astray."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from anthropic import BadRequestError

from freehold import testing
from freehold.agents.tools.execution import Place
from freehold.agents.tools.remote.servers import RemoteServers, RemoteSettings
from freehold.toolboxes.results import Sizes
from tests.agents.house import Json, Script, calls, text
from tests.agents.mcp_stranger import SECRET
from tests.agents.stage import Play
from tests.contract.manifest import shows_difference

ALLOW = {"permission_policy": {"type": "always_allow"}}
PRIVATE: Json = {"mcp_private_hosts": ("127.0.0.1",)}


@contextmanager
def stranger() -> Iterator[str]:
    """The address of a fresh one."""
    command = [sys.executable, "-m", "tests.agents.mcp_stranger"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with stranger() as address:
        yield address


@asynccontextmanager
async def playing(
    script: Script, url: str, settings: Json | None = None, config: Any = ALLOW, networking: Any = None, **server: Any
) -> AsyncIterator[Play]:
    async with testing.server(upstream=script, settings={**PRIVATE, **(settings or {})}, strict=True) as running:
        yield await visiting(running, url, config, networking)


async def visiting(running: testing.Running, url: str, config: Any = ALLOW, networking: Any = None) -> Play:
    client = running.client
    toolset: Any = {"type": "mcp_toolset", "mcp_server_name": "far", "default_config": config}
    servers: Any = [{"type": "url", "name": "far", "url": url}]
    agent = await client.beta.agents.create(
        name="visitor", model="claude-haiku-4-5", mcp_servers=servers, tools=[toolset]
    )
    cloud: Any = {"type": "cloud", **({"networking": networking} if networking else {})}
    environment = await client.beta.environments.create(name="here", config=cloud)
    return Play(running, (await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)).id)


def of(events: list[Any], kind: str) -> list[Any]:
    return [event for event in events if event.type == kind]


def words(result: Any) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


async def test_its_tools_are_listed_called_side_by_side_and_answered_in_blocks(address: str) -> None:
    uses = [("add", {"a": 2, "b": 3}), ("meet", {"name": "one"}), ("meet", {"name": "two"}), ("fail", {})]
    more = [("picture", {}), ("add", {"a": "x"}), ("steps", {})]
    script = Script([calls(*((f"mcp__far__{name}", given) for name, given in [*uses, *more])), text("done")])
    async with playing(script, f"{address}/mcp") as play:
        await play.say()
        events = await play.idle(1)
    offered = {tool["name"]: tool for tool in script.asked[0]["tools"]}
    assert offered["mcp__far__add"]["description"] == "Add two numbers."
    assert offered["mcp__far__add"]["input_schema"]["required"] == ["a", "b"]
    first = of(events, "agent.mcp_tool_use")[0]
    assert (first.mcp_server_name, first.name) == ("far", "add")
    added, one, two, failed, picture, wrong, steps = of(events, "agent.mcp_tool_result")
    assert words(added) == "5" and not added.is_error
    assert (words(one), words(two), words(steps)) == ("one met the other", "two met the other", "three steps")
    assert failed.is_error and "no luck today" in words(failed)
    assert picture.content[0].source.media_type == "image/png"
    assert wrong.is_error and "b" in words(wrong)
    assert not of(events, "session.error")


async def test_its_calls_ask_by_default_and_what_is_switched_off_is_not_offered(address: str) -> None:
    script = Script([calls(("mcp__far__add", {"a": 1, "b": 1})), text("done")])
    async with playing(script, f"{address}/mcp", config={}) as play:
        agent = (await play.client.beta.sessions.retrieve(play.session)).agent
        assert agent.tools[0].default_config.permission_policy.type == "always_ask"  # type: ignore[union-attr]
        await play.say()
        [use] = of(await play.idle(1), "agent.mcp_tool_use")
        assert use.evaluated_permission == "ask"
        allowed: Any = {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"}
        await play.client.beta.sessions.events.send(play.session, events=[allowed])
        assert words(of(await play.idle(2), "agent.mcp_tool_result")[0]) == "2"


async def test_a_server_that_cannot_be_met_is_told_and_the_turn_goes_on(address: str) -> None:
    script = Script([text("without it")])
    port = address.rpartition(":")[2]
    cases = {
        f"{address}/door/rude": "the connection ended|it said",
        f"{address}/door/mute": "did not answer within",
        f"{address}/door/away?to=http://localhost:{port}/mcp": "it said: Redirect to",
        f"{address}/nothing": "it said: Not Found",
        f"{address}/locked/": "HTTP 401",
        "http://127.0.0.1:1/mcp": "cannot connect",
    }
    async with testing.server(upstream=script, settings={**PRIVATE, "mcp_connect_s": 2.0}, strict=True) as running:
        for url, told in cases.items():
            play = await visiting(running, url)
            await play.say()
            events = await play.idle(1)
            [error] = of(events, "session.error")
            kind = "mcp_authentication_failed_error" if "401" in told else "mcp_connection_failed_error"
            assert (error.error.type, error.error.mcp_server_name) == (kind, "far")
            assert error.error.retry_status.type == "retrying"
            assert any(option in error.error.message for option in told.split("|")), error.error.message
            assert words(of(events, "agent.message")[0]) == "without it"
            assert "tools" not in script.asked[-1]


async def test_what_is_private_is_not_reached_unless_the_operator_says_so(address: str) -> None:
    port = address.rpartition(":")[2]
    script = Script([text("without it")])
    async with testing.server(upstream=script, settings={"mcp_private_hosts": ("elsewhere.test",)}) as running:
        for url in (f"https://127.0.0.1:{port}/mcp", f"https://localhost:{port}/mcp", "https://169.254.169.254/mcp"):
            play = await visiting(running, url)
            await play.say()
            [error] = of(await play.idle(1), "session.error")
            assert "not allowed here" in error.error.message
        with pytest.raises(BadRequestError, match="must begin with https://"):
            await visiting(running, f"http://127.0.0.1:{port}/mcp")


@shows_difference("mcp-servers-of-limited-environments")
async def test_a_limited_environment_must_allow_the_server(address: str) -> None:
    limited = {"type": "limited", "allowed_hosts": ["example.com"]}
    script = Script([text("without it"), text("with it")])
    async with playing(script, f"{address}/mcp", networking=limited) as play:
        await play.say()
        [error] = of(await play.idle(1), "session.error")
        assert "allow_mcp_servers" in error.error.message
        open_to = await visiting(play.running, f"{address}/mcp", networking={**limited, "allow_mcp_servers": True})
        await open_to.say()
        assert not of(await open_to.idle(1), "session.error")


async def test_an_environment_without_networking_of_its_own_limits_nothing(address: str) -> None:
    async def no_credentials(workspace_id: str, url: str) -> Json:
        return {}

    servers = RemoteServers(RemoteSettings(**PRIVATE), Sizes(1000, 1000), no_credentials)
    place = Place("sesn_1", "wrkspc_1", 1, {"type": "self_hosted"})
    found = await servers.tools(place, {"name": "far", "url": f"{address}/mcp"})
    assert "add" in [tool.name for tool in found]
    result = await servers.call(place, f"{address}/mcp", "nothing", {})
    assert result.is_error
    await servers.close()


async def test_a_server_that_dies_in_the_middle_leaves_the_outcome_open_and_is_met_again() -> None:
    script = Script([calls(("mcp__far__die", {}), ("mcp__far__hang", {})), text("oh"), text("again")])
    with stranger() as address:
        async with playing(script, f"{address}/mcp") as play:
            await play.say()
            events = await play.idle(1)
            results = of(events, "agent.mcp_tool_result")
            assert all(result.is_error and "not known" in words(result) for result in results)
            errors = of(events, "session.error")
            assert [error.error.type for error in errors] == ["mcp_connection_failed_error"] * 2
            await play.say()
            assert len(of(await play.idle(2), "session.error")) == 3
    assert "tools" in script.asked[0] and "tools" not in script.asked[-1]


async def test_what_hangs_or_floods_is_given_up(address: str) -> None:
    use = calls(("mcp__far__hang", {}), ("mcp__far__flood", {"megabytes": 50}), ("mcp__far__flood", {"megabytes": 2}))
    script = Script([use, text("so be it")])
    async with playing(script, f"{address}/mcp", {"mcp_call_s": 3.0, "mcp_answer_bytes": 1 << 20}) as play:
        await play.say()
        events = await play.idle(1)
    for result in of(events, "agent.mcp_tool_result"):
        assert result.is_error and "not known" in words(result)


async def test_an_interrupt_does_not_wait_for_the_server(address: str) -> None:
    script = Script([calls(("mcp__far__hang", {})), text("never")])
    async with playing(script, f"{address}/mcp") as play:
        await play.say()
        async with await play.client.beta.sessions.events.stream(play.session) as stream:
            async for event in stream:
                if event.type in ("agent.mcp_tool_use", "span.model_request_end"):
                    break
        await play.client.beta.sessions.events.send(play.session, events=[{"type": "user.interrupt"}])
        events = await play.idle(1)
        assert of(events, "session.status_idle")[0].stop_reason.type == "end_turn"


async def test_a_workspace_shows_its_credential_and_it_is_seen_nowhere(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    script = Script([calls(("mcp__far__add", {"a": 20, "b": 22})), text("done")])
    path = "/freehold/v1/mcp_credentials"
    async with playing(script, f"{address}/locked/") as play:
        body = {"url": f"{address}/locked", "headers": {"authorization": f"Bearer {SECRET}"}}
        made: Any = await play.client.post(path, cast_to=object, body=body)
        assert made["headers"] == ["authorization"] and SECRET not in str(made)
        await play.say()
        events = await play.idle(1)
        assert words(of(events, "agent.mcp_tool_result")[0]) == "42"
        listed: Any = await play.client.get(path, cast_to=object)
        assert [one["url"] for one in listed["data"]] == [f"{address}/locked"]
        gone: Any = await play.client.delete(f"{path}/{made['id']}", cast_to=object)
        assert gone["type"] == "mcp_credential_deleted"
        await play.say()
        [error] = of(await play.idle(2), "session.error")
        assert error.error.type == "mcp_authentication_failed_error"
        lines = [record.getMessage() for record in caplog.records if not record.name.startswith("anthropic")]
        assert SECRET not in str(events) and SECRET not in "\n".join(lines)
        kept = b"".join(file.read_bytes() for file in play.running.data.rglob("freehold.db*"))
        assert SECRET.encode() not in kept
        wrong: Json
        for wrong in ({"url": "ftp://x"}, {"headers": {}}, {"headers": {"host": "x"}}, {"headers": {"a": "b\r\nc: d"}}):
            with pytest.raises(BadRequestError):
                await play.client.post(path, cast_to=object, body={**body, **wrong})
