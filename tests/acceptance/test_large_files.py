"""Files of 500 MB through a real server process: its memory stays flat, a crash in mid-upload leaves no orphan."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from freehold.testing import ServerProcess
from freehold.wire.frames import frame
from freehold.wire.grammar import unfold
from tests.environments.conftest import require_bubblewrap
from tests.scripted_upstream import Line, Request, scripted

MB = 1 << 20
SIZES = [pytest.param(32, id="32MB"), pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(0)], id="500MB")]
ROOM_KB = 48 << 10
"""What the server may need above what it held before, whatever the size of the file."""
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
TYPE = {"content-type": "multipart/form-data; boundary=b"}


class Memory:
    """The most that a process has held since this was made, above what it held then."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")  # begins the high-water mark anew
        self._before_kb = self._kb("VmRSS")

    def grown_kb(self) -> int:
        return self._kb("VmHWM") - self._before_kb

    def _kb(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def http(server: ServerProcess) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {server.key}"}
    return httpx2.AsyncClient(base_url=server.address, headers=headers, timeout=300, trust_env=False)


async def body(megabytes: int, digest: Any) -> AsyncIterator[bytes]:
    piece = random.Random(7).randbytes(MB)
    yield HEAD
    for _ in range(megabytes):
        digest.update(piece)
        yield piece
    yield TAIL


@pytest.mark.parametrize("megabytes", SIZES)
async def test_an_upload_of_any_size_leaves_the_servers_memory_flat(tmp_path: Path, megabytes: int) -> None:
    with ServerProcess(tmp_path, arguments=["--upstream", "simulator"]) as server:
        async with http(server) as client:
            await client.post("/v1/files", content=body(1, hashlib.sha256()), headers=TYPE)
            memory, digest = Memory(server.pid), hashlib.sha256()
            reply = await client.post("/v1/files", content=body(megabytes, digest), headers=TYPE)
            grown_kb = memory.grown_kb()
        assert reply.status_code == 200 and reply.json()["size_bytes"] == megabytes * MB
        assert grown_kb < ROOM_KB, f"{grown_kb:,} kB more at the peak"
        sha256 = digest.hexdigest()
        assert (tmp_path / "blobs" / sha256[:2] / sha256).stat().st_size == megabytes * MB


@pytest.mark.parametrize("megabytes", SIZES)
async def test_an_output_of_any_size_is_taken_and_downloaded_with_flat_memory(tmp_path: Path, megabytes: int) -> None:
    require_bubblewrap()
    command = f"cd /mnt/session/outputs && head -c {megabytes * MB} /dev/urandom > big.bin && sha256sum big.bin"

    async def answer(request: Request, line: Line) -> None:
        if len(request.json()["messages"]) == 1:
            call = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": command}}
            answered = said([call], "tool_use")
        else:
            answered = said([{"type": "text", "text": "done"}], "end_turn")
        await line.begin_stream()
        await line.chunk(answered)
        await line.chunk(b"")

    async with scripted(answer) as upstream:
        with ServerProcess(tmp_path, arguments=["--upstream", upstream.url]) as server:
            async with http(server) as client:
                memory = Memory(server.pid)
                session, digest = await _output(client)
                (made,) = (await client.get("/v1/files", params={"scope_id": session})).json()["data"]
                assert made["size_bytes"] == megabytes * MB and made["downloadable"]
                got = hashlib.sha256()
                async with client.stream("GET", f"/v1/files/{made['id']}/content") as reply:
                    async for piece in reply.aiter_bytes():
                        got.update(piece)
                assert got.hexdigest() == digest
            assert memory.grown_kb() < ROOM_KB, f"{memory.grown_kb():,} kB more at the peak"
    assert upstream.errors == []


async def _output(client: httpx2.AsyncClient) -> tuple[str, str]:
    """A session whose agent has made the file; its id, and the digest that the agent saw."""

    async def post(path: str, **fields: Any) -> Any:
        reply = await client.post(path, json=fields)
        assert reply.status_code == 200, reply.text
        return reply.json()

    tools = [{"type": "agent_toolset_20260401"}]
    agent = await post("/v1/agents", name="maker", model="claude-haiku-4-5", tools=tools)
    environment = await post("/v1/environments", name="here")
    hello = [{"type": "user.message", "content": [{"type": "text", "text": "make it"}]}]
    made = await post("/v1/sessions", agent=agent["id"], environment_id=environment["id"], initial_events=hello)
    async with asyncio.timeout(60):
        while True:
            events = (await client.get(f"/v1/sessions/{made['id']}/events")).json()["data"]
            if events[-1]["type"] == "session.status_idle":
                result = next(event for event in events if event["type"] == "agent.tool_result")
                return made["id"], result["content"][0]["text"].split()[0]
            await asyncio.sleep(0.1)  # another process's session: nothing here tells of it


def said(content: list[Any], stop_reason: str) -> bytes:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return b"".join(frame(event["type"], json.dumps(event).encode()) for event in unfold(message))


async def test_a_crash_in_mid_upload_leaves_no_orphan_after_the_sweep(tmp_path: Path) -> None:
    incoming = tmp_path / "blobs" / "incoming"
    begun = asyncio.Event()

    async def broken_off() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(4):
            yield bytes(MB)
        begun.set()
        await asyncio.Event().wait()

    server = ServerProcess(tmp_path, arguments=["--upstream", "simulator"])
    with server:
        async with http(server) as client:
            upload = asyncio.create_task(client.post("/v1/files", content=broken_off(), headers=TYPE))
            await begun.wait()
            async with asyncio.timeout(60):
                while not list(incoming.iterdir()):  # noqa: ASYNC110 (another process's folder)
                    await asyncio.sleep(0.02)
            server.kill()
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        assert len(list(incoming.iterdir())) == 1
        server.start()
        async with asyncio.timeout(60):
            while list(incoming.iterdir()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with http(server) as client:
            assert (await client.get("/v1/files")).json()["data"] == []
