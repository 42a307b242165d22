"""A real server and clients that are broken, slow, greedy, or gone: bounds of size, time and memory, and the drain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from freehold.launch import NotStarted, ServerProcess
from tests.gateway.house import BODY, ENDING, EVENTS, MESSAGE, START, RawClient, text_delta, until
from tests.scripted_upstream import Line, Request, Script, ScriptedUpstream, scripted

STREAM_BODY = json.dumps({**BODY, "stream": True}).encode()
MB = 1 << 20


@asynccontextmanager
async def running(
    folder: Path, script: Script | None = None, **settings: object
) -> AsyncIterator[tuple[ServerProcess, ScriptedUpstream]]:
    """A server process over a scripted upstream."""

    async def nothing(_: Request, line: Line) -> None:
        await line.answer(200, MESSAGE)

    async with scripted(script or nothing) as upstream:
        environment = {f"FREEHOLD_{name.upper()}": str(value) for name, value in settings.items()}
        arguments = ["--upstream", upstream.url]
        server = ServerProcess(
            folder / "data", arguments=arguments, environment={**environment, "FREEHOLD_UPSTREAM_KEY": "sk-x"}
        )
        try:
            await asyncio.to_thread(server.start)
            yield server, upstream
        finally:
            await asyncio.to_thread(server.stop)


def memory_bytes(server: ServerProcess, kind: str = "VmRSS") -> int:
    """Of the process now; `VmHWM`: the most it ever was."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) * 1024


async def told(raw: RawClient) -> tuple[int, str]:
    """Status and error type of the next answer, which must be Claude's envelope; then the connection must end."""
    status, headers = await raw.head()
    body = json.loads(await raw.body(headers))
    assert body["type"] == "error" and body["request_id"] == dict(headers)["request-id"]
    assert await raw.reader.read() == b""
    return status, body["error"]["type"]


async def test_what_is_no_http_gets_claude_s_envelope(tmp_path: Path) -> None:
    async with running(tmp_path, head_patience_s=1.0) as (server, _):
        for broken in (b"HELLO\r\n\r\n", b"POST /v1/messages HTTP/1.1\r\nbad header\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            async with RawClient.connected(server.address) as raw:
                raw.writer.write(broken)
                assert await told(raw) == (400, "invalid_request_error")
        async with RawClient.connected(server.address) as raw:
            raw.writer.write(b"POST /v1/messages HTTP/1.1\r\nx-long: ")
            with_patience = asyncio.create_task(told(raw))
            for _ in range(20):
                raw.writer.write(b"x" * 8192)
                await asyncio.sleep(0)
            assert await with_patience == (431, "invalid_request_error")
        async with RawClient.connected(server.address) as raw:
            raw.writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n")
            assert await told(raw) == (408, "timeout_error")
        async with RawClient.connected(server.address) as raw:
            async with asyncio.timeout(120):
                assert await raw.reader.read() == b""  # a connection on which nothing comes


async def test_many_requests_on_one_connection_are_not_taken_for_a_long_head(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, _), RawClient.connected(server.address) as raw:
        body = json.dumps({**BODY, "system": "x" * 40_000}).encode()
        for _ in range(5):
            await raw.post_as(server.key, body)
            status, headers = await raw.head()
            await raw.body(headers)
            assert status == 200


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, keep_alive_s=1) as (server, _), RawClient.connected(server.address) as raw:
        raw.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        status, headers = await raw.head()
        await raw.body(headers)
        async with asyncio.timeout(120):
            assert (status, await raw.reader.read()) == (200, b"")


async def test_a_slow_reader_holds_the_upstream_back_and_is_let_go_in_the_end(tmp_path: Path) -> None:
    """Complaint #1–#4: memory does not grow with what a client does not take."""
    sent = 0
    ended = asyncio.Event()

    async def flood(_: Request, line: Line) -> None:
        nonlocal sent
        await line.begin_stream()
        await line.chunk(START)
        part = text_delta("x" * 60_000)
        try:
            for _number in range(2000):
                await line.chunk(part)
                sent += len(part)
        except ConnectionError:
            pass
        finally:
            ended.set()

    async with running(tmp_path, flood, reader_patience_s=2) as (server, _):
        before = memory_bytes(server)
        async with RawClient.connected(server.address) as raw:
            await raw.post_as(server.key, STREAM_BODY)
            await raw.head()
            async with asyncio.timeout(60):
                await ended.wait()
            assert sent < 40 * MB
            assert memory_bytes(server) - before < 24 * MB


async def test_four_megabytes_of_text_and_thirty_two_of_images_pass_with_flat_memory(tmp_path: Path) -> None:
    """A request of 1,000,000 tokens, and the largest that the API takes."""
    text = json.dumps({**BODY, "messages": [{"role": "user", "content": "word " * 800_000}]}).encode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * (31 * MB)}}
    images = json.dumps({**BODY, "messages": [{"role": "user", "content": [image]}]}).encode()
    sizes: list[int] = []

    async def note(request: Request, line: Line) -> None:
        sizes.append(len(request.body))
        await line.answer(200, MESSAGE)

    async with running(tmp_path, note) as (server, _):

        async def send(body: bytes) -> None:
            async with RawClient.connected(server.address) as raw:
                await raw.post_as(server.key, body)
                status, headers = await raw.head()
                assert (status, await raw.body(headers)) == (200, MESSAGE)

        peaks = []
        for _round in range(7):
            await send(text)
            await send(images)
            peaks.append(memory_bytes(server, "VmHWM"))
        assert sizes == [len(text), len(images)] * 7
        assert peaks[-1] - peaks[2] < 2 * len(images)  # four more rounds; what one of them needs may overlap twice


async def test_a_stop_waits_for_streams_and_not_for_ever(tmp_path: Path) -> None:
    goes_on = asyncio.Event()

    async def script(request: Request, line: Line) -> None:
        await line.begin_stream()
        for data in EVENTS[:4]:
            await line.chunk(data)
        async with asyncio.timeout(60):
            await goes_on.wait()
        if "endless" in request.json()["messages"][0]["content"]:
            await line.closed_by_peer()
            return
        for data in EVENTS[4:]:
            await line.chunk(data)
        await line.chunk(b"")

    async with running(tmp_path, script, answers_drain_s=3) as (server, upstream):
        endless = json.dumps({**BODY, "stream": True, "messages": [{"role": "user", "content": "endless"}]}).encode()
        async with RawClient.connected(server.address) as short, RawClient.connected(server.address) as long:
            await short.post_as(server.key, STREAM_BODY)
            await long.post_as(server.key, endless)
            await short.head()
            await long.head()
            os.kill(server.pid, signal.SIGTERM)
            await until(lambda: _refuses(server))
            goes_on.set()
            whole = b"".join([chunk async for chunk in short.chunks()])
            assert whole == b"".join(EVENTS)
            async with asyncio.timeout(120):
                cut = await long.reader.read()
            assert ENDING[-1] not in cut
        await until(lambda: _ended(server))
        assert await asyncio.to_thread(server.stop) == 0
        assert "everything acknowledged is on disk" in server.output
        assert len(upstream.requests) == 2


def _ended(server: ServerProcess) -> bool:
    try:
        return server.pid == 0
    except NotStarted:
        return True


def _refuses(server: ServerProcess) -> bool:
    """Whether nobody can connect any more."""
    try:
        with socket.create_connection(("127.0.0.1", urlsplit(server.address).port or 0), 1):
            return False
    except OSError:
        return True
