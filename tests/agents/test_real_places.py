"""Two servers on one database whose folders differ: a session stays where its files are, or goes on with a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from anthropic import APIStatusError

from freehold.agents.stranded import Stranded
from freehold.app.sessions import Rescuing
from freehold.environments.copies import Copies
from freehold.environments.site import site_of
from freehold.environments.snapshots import Snapshots
from freehold.ids import new_id
from freehold.store.look import look
from freehold.testing import Running, server

TOOLS: Any = [
    {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_allow"}}},
]


async def said(running: Running, session: str, command: str) -> None:
    text = f"Run this in bash:\n```bash\n{command}\n```"
    event: Any = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    await running.client.beta.sessions.events.send(session, events=[event])


async def events(running: Running, session: str, *kinds: str) -> list[Any]:
    listed = await running.client.beta.sessions.events.list(session, limit=100)
    return [event for event in listed.data if event.type in kinds]


async def rested(running: Running, session: str, times: int) -> None:
    async with asyncio.timeout(120):
        while len(await events(running, session, "session.status_idle")) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # the server that writes may be another one


def stranded(running: Running, *, rescuing: bool = False) -> Stranded:
    """What a server's own does, without a minute of waiting."""
    parts = running.application._parts
    boxes, clock = parts.sessions.boxes, parts.ground.clock
    copies = Copies(Path(str(running.data) + "-copies"), Snapshots(boxes.chores), clock)

    rescue = Rescuing(copies, boxes.workdirs) if rescuing else None
    return Stranded(parts.ground.store, boxes.site, rescue=rescue, clock=clock, ids=new_id, silent_s=0.0)


@pytest.mark.timeout(120)
async def test_a_session_stays_where_its_files_are_until_a_copy_is_asked_for(database_url: str, tmp_path: Path) -> None:
    copies = tmp_path / "b-copies"
    settings: Mapping[str, Any] = {"database": database_url, "file_copies": str(copies)}
    async with server(data=tmp_path / "a", settings=settings) as first:
        beta = first.client.beta
        environment = await beta.environments.create(name="here", config={"type": "cloud"})
        agent = await beta.agents.create(name="worker", model="claude-haiku-5-5", tools=TOOLS)
        session = (await beta.sessions.create(agent=agent.id, environment_id=environment.id)).id
        await said(first, session, "echo precious > kept.txt; cat kept.txt")
        await rested(first, session, 1)
        assert (copies / f"{session}.tar.zst").exists()
        here = first.application._parts.sessions.boxes.site
        key = first.key
    assert site_of(tmp_path / "a" / "sessions") == here
    assert (await look(database_url)).places == {here: 1}

    async with server(data=tmp_path / "b", settings={"database": database_url, "admin_key": key}) as second:
        second.key = key
        await said(second, session, "cat kept.txt")
        await stranded(second).look()
        await stranded(second).look()
        [told] = await events(second, session, "session.error")
        assert here.partition("/")[0] in told.error.message and told.error.retry_status.type == "retrying"
        assert (await second.client.beta.sessions.retrieve(session)).status == "running"
        with pytest.raises(APIStatusError, match="ask a server there") as refused:
            await second.client.get(f"/freehold/v1/sessions/{session}/points", cast_to=object)
        assert refused.value.status_code == 400
        await stranded(second, rescuing=True).look()
        await rested(second, session, 2)
        _, lost = await events(second, session, "session.error")
        assert "is lost" in lost.error.message
        results = await events(second, session, "agent.tool_result")
        assert "precious" in str(results[-1].content)

    async with server(data=tmp_path / "a", settings={"database": database_url, "admin_key": key}) as first:
        first.key = key
        await said(first, session, "cat kept.txt")
        await stranded(first).look()
        assert len(await events(first, session, "session.error")) == 3  # now its files are at the other place
