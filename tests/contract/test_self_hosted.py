"""Self-hosted environments with the official SDK's own worker, poller and tool runner, unmodified."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

from anthropic import beta_async_tool
from anthropic.lib.tools.agent_toolset import AgentToolContext, beta_agent_toolset_20260401

from tests.agents.house import Script, calls, text
from tests.contract.elsewhere import Elsewhere, elsewhere, ended
from tests.contract.manifest import proves
from tests.contract.strict import undeclared

SKILL_MD = b"---\nname: rhyme\ndescription: How to rhyme.\n---\nThe last syllables sound alike.\n"


@proves("beta.environments.work.worker", "event user.tool_result", "event agent.tool_use")
async def test_a_worker_of_the_sdk_runs_a_session_to_its_end(tmp_path: Path) -> None:
    script = Script(
        [
            calls(("write", {"file_path": "poem.txt", "content": "moon over the river\n"})),
            calls(("bash", {"command": "wc -w < poem.txt"}), ("read", {"file_path": "skills/rhyme/SKILL.md"})),
            calls(("bash", {"command": "cat /nowhere"})),
            text("Four words."),
        ]
    )
    async with elsewhere(script) as place:
        skill = await place.client.skills.create(files=[("rhyme/SKILL.md", SKILL_MD)])
        session = await place.session(skills=[{"type": "custom", "skill_id": skill.id}])
        log = await _worked(place, session, tmp_path)
        items = [item async for item in place.client.beta.environments.work.list(place.environment)]
        await place.client.beta.sessions.archive(session)
    answers = ["".join(block.text for block in event.content) for event in log if event.type == "user.tool_result"]
    assert answers[:2] == ["wrote 20 bytes to poem.txt", "4"]
    assert "sound alike" in answers[2] and "No such file" in answers[3]
    assert (tmp_path / "poem.txt").read_text() == "moon over the river\n", "it ran on this side"
    assert [item.state for item in items] == ["stopped"]
    assert [found for event in log for found in undeclared(event)] == []
    [given] = [m for m in script.asked[-1]["messages"][-1]["content"] if m["type"] == "tool_result"]
    assert given["is_error"] and "No such file" in given["content"][0]["text"]
    prompt = script.asked[0]["system"]
    assert "skills/rhyme/SKILL.md — rhyme: How to rhyme." in prompt
    assert "/mnt/session" not in prompt and "/workspace" not in prompt


@proves("beta.environments.work.poller")
async def test_the_poller_and_the_tool_runner_serve_the_sessions_of_an_environment(tmp_path: Path) -> None:
    @beta_async_tool
    async def price_of(article: str) -> str:
        """Say what an article costs."""
        return f"{article}: 42 yuan"

    own: Any = {
        "type": "custom",
        "name": "price_of",
        "description": "Say what an article costs.",
        "input_schema": {"type": "object", "properties": {"article": {"type": "string"}}},
    }

    async def reply(body: Any) -> Any:
        answered = len(body["messages"]) > 1
        uses = ("bash", {"command": "echo inkstone"}), ("price_of", {"article": "brush"})
        return text("So.") if answered else calls(*uses)

    async with elsewhere(Script([reply])) as place:
        sessions = [await place.session([{"type": "agent_toolset_20260401"}, own]) for _ in range(2)]
        events, served = place.running.new_client("none").beta.sessions.events, []
        poller = place.running.new_client("none").beta.environments.work.poller(
            environment_id=place.environment, environment_key=place.key, drain=True, block_ms=None
        )
        async with asyncio.timeout(120), AgentToolContext(workdir=tmp_path) as context:
            async for item in poller:
                tools: Any = [*beta_agent_toolset_20260401(context), price_of]
                async for call in events.tool_runner(
                    item.data.id, tools=tools, environment_key=place.key, max_idle=0.2
                ):
                    served.append((item.data.id, call.name, call.posted, call.is_error))
        logs = [await place.log(session) for session in sessions]
        states = [item.state async for item in place.client.beta.environments.work.list(place.environment)]
    assert sorted(served) == sorted((s, name, True, False) for s in sessions for name in ("bash", "price_of"))
    assert all(ended(log) for log in logs) and states == ["stopped", "stopped"]


async def test_a_worker_waits_for_leave_and_never_runs_what_was_refused(tmp_path: Path) -> None:
    asks = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}
    script = Script(
        [calls(("bash", {"command": "touch allowed"}), ("bash", {"command": "touch refused"})), text("I see.")]
    )
    async with elsewhere(script) as place:
        session = await place.session([asks])
        allowed, refused = await place.waits(session)
        worker = asyncio.create_task(_worked(place, session, tmp_path))
        confirm: Any = "user.tool_confirmation"
        await place.client.beta.sessions.events.send(
            session,
            events=[
                {"type": confirm, "tool_use_id": refused, "result": "deny", "deny_message": "Not that."},
                {"type": confirm, "tool_use_id": allowed, "result": "allow"},
            ],
        )
        log = await worker
    assert (tmp_path / "allowed").exists() and not (tmp_path / "refused").exists()
    results = {event.tool_use_id: event for event in log if event.type == "user.tool_result"}
    assert list(results) != [] and results[refused].is_error and "Not that." in results[refused].content[0].text
    assert not results[allowed].is_error


async def test_memory_stores_go_to_the_worker_and_what_it_writes_comes_back(tmp_path: Path) -> None:
    async def look(body: Any) -> Any:
        """What it is told of its memory is where it looks."""
        [at] = re.findall(r"(/mnt/memory/\S+) \(read and write\)", body["system"])
        return calls(("bash", {"command": f"cat {at}/known.md; echo deep > {at}/new.md"}))

    async with elsewhere(Script([look, text("Kept.")])) as place:
        stores = place.client.beta.memory_stores
        store = await stores.create(name=f"of {tmp_path.name} {os.getpid()}", description="What was learned")
        await stores.memories.create(store.id, path="/known.md", content="the river is wide")
        attached: Any = [{"type": "memory_store", "memory_store_id": store.id, "access": "read_write"}]
        session = await place.session(resources=attached)
        log = await _worked(place, session, tmp_path)
        kept = {m.path: m async for m in stores.memories.list(store.id, view="full") if m.type == "memory"}
        versions = [version async for version in stores.memory_versions.list(store.id, session_id=session)]
    [answer] = [event.content[0].text for event in log if event.type == "user.tool_result"]
    assert answer.startswith("the river is wide")
    assert kept["/new.md"].content == "deep\n"
    assert [version.path for version in versions] == ["/new.md"], "it is known which session wrote it"


async def _worked(place: Elsewhere, session: str, folder: Path) -> list[Any]:
    """The log of a session after a worker has served it to its end, and has let go of it."""
    worker = place.running.new_client("none").beta.environments.work.worker(
        environment_id=place.environment, environment_key=place.key, workdir=folder, max_idle=0.2
    )
    running = asyncio.create_task(worker.run())
    try:
        log = await place.until(session, ended)
        async with asyncio.timeout(120):
            while any(item.state != "stopped" for item in await _items(place)):
                pass  # it is asked as fast as it answers
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return log


async def _items(place: Elsewhere) -> list[Any]:
    return [item async for item in place.client.beta.environments.work.list(place.environment)]
