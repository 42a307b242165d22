"""A session's files over time: forked at a rest, compared, taken away and brought back; byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from freehold.inprocess import AsgiTransport
from tests.agents.house import Script, calls, text
from tests.agents.stage import Play, play
from tests.environments.conftest import require_bubblewrap

MANY = (
    "mkdir -p many; for d in $(seq 50); do mkdir many/$d; for f in $(seq 100); do echo $d-$f > many/$d/$f; done; done; "
    "head -c 300000 /dev/urandom > many/noise; ln -s noise many/link; echo one > state"
)
CHANGE = "echo two > state; rm -r many/7; echo new > many/new; echo home > ~/kept"


def tree(folder: Path) -> dict[str, str]:
    """Every path with its kind, mode and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        mode = "link" if path.is_symlink() else oct(seen.st_mode)
        found[str(path.relative_to(folder))] = f"{mode} {hashlib.sha256(data).hexdigest()}"
    return found


@asynccontextmanager
async def http(stage: Play) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {stage.running.key}"}
    transport = AsgiTransport(stage.running.application.asgi)
    base = f"http://test/freehold/v1/sessions/{stage.session}"
    async with httpx2.AsyncClient(transport=transport, base_url=base, headers=headers, timeout=60) as client:
        yield client


async def piped(data: bytes, *argv: str) -> bytes:
    done = await asyncio.to_thread(subprocess.run, argv, input=data, capture_output=True, check=True)
    return bytes(done.stdout)


async def points(client: httpx2.AsyncClient) -> list[str]:
    return [point["event_id"] for point in (await client.get("/points")).json()["data"]]


def workspace(stage: Play, session: str | None = None) -> Path:
    return stage.running.data / "sessions" / (session or stage.session) / "workspace"


@pytest.fixture(autouse=True)
def _boxes() -> None:
    require_bubblewrap()


async def test_a_session_of_5000_files_is_forked_at_an_event_byte_for_byte_and_goes_on_by_itself() -> None:
    script = Script(
        [
            calls(("bash", {"command": MANY})),
            text("made"),
            calls(("bash", {"command": CHANGE})),
            text("changed"),
            calls(("bash", {"command": "cat state; ls many/7 | wc -l; cat many/link | wc -c"})),
            text("seen"),
        ]
    )
    async with play(script) as stage, http(stage) as client:
        await stage.turn(1)
        as_it_was = tree(workspace(stage))
        assert len(as_it_was) > 5_000
        await stage.turn(2)
        now = tree(workspace(stage))
        first, second = await points(client)

        made = (await client.post("/fork", json={"event_id": first, "title": "another way"})).json()
        assert tree(workspace(stage, made["id"])) == as_it_was and tree(workspace(stage)) == now

        fork = Play(stage.running, made["id"])
        told = await fork.events()
        assert [event.type for event in told] == [event.type for event in await stage.events()][: len(told)]
        assert told[-1].type == "session.status_idle"
        assert not {event.id for event in told} & {event.id for event in await stage.events()}
        use = next(event for event in told if event.type == "agent.tool_use")
        assert next(event for event in told if event.type == "agent.tool_result").tool_use_id == use.id
        row = await stage.client.beta.sessions.retrieve(fork.session)
        assert row.title == "another way" and row.status == "idle"
        results = await fork.turn(2)
        assert "shell state is gone" in results[-1] and results[-1].split()[-3:] == ["one", "100", "300000"]

        changes = (await client.get("/diff", params={"from": first, "to": second})).json()["data"]
        what = {change["path"]: change["what"] for change in changes}
        assert what["workspace/state"] == "changed" and what["workspace/many/new"] == "added"
        assert what["home/kept"] == "added" and what["workspace/many/7/100"] == "removed"
        assert len(what) == 1 + 1 + 1 + 101
        assert (await client.get("/diff")).json() == {"data": []}
        for misspelt in ("/diff?form=x", "/archive?event=x"):
            refused = await client.get(misspelt)
            assert refused.status_code == 400 and "no such parameter" in refused.json()["error"]["message"]


async def test_the_budget_of_a_session_goes_with_its_fork() -> None:
    limit: Any = {"type": "limit", "max_list_cost": {"amount": "50", "currency": "USD"}}
    async with play(Script([text("hi")])) as stage:
        plain = await stage.client.beta.sessions.retrieve(stage.session)
        capped = await stage.client.beta.sessions.create(
            agent=plain.agent.id, environment_id=plain.environment_id, budget=limit
        )
        session = Play(stage.running, capped.id)
        await session.turn(1)
        async with http(session) as client:
            made = (await client.post("/fork", json={})).json()
        fork = await stage.client.beta.sessions.retrieve(made["id"])
        assert fork.budget is not None and fork.budget.max_list_cost.amount == "50"


async def test_only_rests_can_be_forked_and_the_nearest_is_named() -> None:
    script = Script([text("hi"), calls(("bash", {"command": "echo x > y"})), text("done")])
    async with play(script) as stage, http(stage) as client:
        assert (await client.post("/fork", json={})).status_code == 400
        await stage.turn(1)
        await stage.turn(2)
        first, second = await points(client)
        events = await stage.events()
        result = next(event for event in events if event.type == "agent.tool_result")
        refused = await client.post("/fork", json={"event_id": result.id})
        assert refused.status_code == 400 and second in refused.json()["error"]["message"]
        message = next(event for event in events if event.type == "agent.message")
        assert first in (await client.post("/fork", json={"event_id": message.id})).json()["error"]["message"]
        for body in ({"event_id": "sevt_none"}, {"event_id": 7}, {"at": first}, {"title": ""}):
            assert (await client.post("/fork", json=body)).status_code == 400, body
        empty = (await client.post("/fork", json={"event_id": first})).json()
        assert not workspace(stage, empty["id"]).exists() or not tree(workspace(stage, empty["id"]))


async def test_files_are_taken_away_as_an_archive_and_brought_into_another_session() -> None:
    script = Script([calls(("bash", {"command": "mkdir d; echo one > d/f"})), text("done")])
    look = [calls(("bash", {"command": "cat d/f; echo two > d/f"})), text("seen")]
    async with play(Script([*script.lines, *look])) as stage, http(stage) as client:
        await stage.turn(1)
        (rest,) = await points(client)
        archive = (await client.get("/archive")).content
        listed = await piped(archive, "tar", "--zstd", "-t")
        assert b"workspace/d/f\n" in listed
        await stage.turn(2)
        assert (workspace(stage) / "d" / "f").read_text() == "two\n"
        then = (await client.get("/archive", params={"event_id": rest})).content
        assert (await client.post("/archive", content=then)).status_code == 200
        assert (workspace(stage) / "d" / "f").read_text() == "one\n"
        evil = io.BytesIO()
        with tarfile.open(fileobj=evil, mode="w") as tar:
            link = tarfile.TarInfo("workspace/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        packed = await piped(evil.getvalue(), "zstd", "-q")
        for bad in (b"nothing", packed):
            refused: Any = await client.post("/archive", content=bad)
            assert refused.status_code == 400 and (workspace(stage) / "d" / "f").read_text() == "one\n"
        assert not list((stage.running.data / "sessions").glob(".export*"))
