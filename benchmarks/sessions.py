"""What sessions cost: turns a second over many sessions, and how soon a message that was sent is seen.

`python benchmarks/sessions.py [--quick] [--sessions 100] [--database URL] [--poll]` prints JSON.

A real server on a free port, the simulator without delay behind it, the log on disk. Every session sends a message and
waits until it is idle again, over and over. `--poll` uses the official SDK and asks for the events every 50 ms, which
measures the client too; else each session reads its stream over a bare connection. Latencies are taken on the idle
server, in turns with the disk's own commit (4 KB and fdatasync in the same folder): read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from anthropic import AsyncAnthropic

from freehold.launch import ServerProcess

_POLL_S = 0.05
_YOUNG = 5
"""Pairs of turns that a session is measured for before the next one takes its place."""
_MODEL = "claude-haiku-4-5"
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": _MODEL,
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 2},
}
_BOX_TOOLS: list[Any] = [{"type": "agent_toolset_20260401"}]


class Line:
    """One kept connection to the server."""

    def __init__(self, address: str, key: str) -> None:
        self._where = urlsplit(address)
        self._key = key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: object) -> dict[str, Any]:
        """A request with its JSON answer."""
        reader = await self._send("POST", path, json.dumps(body).encode())
        length = int(_header(await self._head(reader), "content-length"))
        answer: dict[str, Any] = json.loads(await reader.readexactly(length))
        return answer

    async def stream(self, path: str) -> asyncio.StreamReader:
        """An event stream, after its head."""
        reader = await self._send("GET", path, b"")
        await self._head(reader)
        return reader

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()

    def forget(self) -> None:
        """Connect anew for what comes next."""
        self._reader = self._writer = None

    async def _send(self, verb: str, path: str, body: bytes) -> asyncio.StreamReader:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._where.hostname, self._where.port)
        lines = [f"{verb} {path} HTTP/1.1", "host: x", f"authorization: Bearer {self._key}"]
        head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
        self._writer.write(head.encode() + body)
        return self._reader

    async def _head(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if " 200 " not in head.split("\r\n", 1)[0]:
            raise SystemExit(f"the server answered {head.splitlines()[0]}")
        return head


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    raise SystemExit(f"the answer has no {name}")


def hello(words: str) -> dict[str, Any]:
    return {"events": [{"type": "user.message", "content": [{"type": "text", "text": words}]}]}


async def until(reader: asyncio.StreamReader, kind: bytes) -> None:
    """Read a stream up to the first event of that kind."""
    while (await reader.readline()).strip() != b"event: " + kind:
        pass


class Stage:
    """A running server with one agent and one environment."""

    def __init__(self, server: ServerProcess, agent: str, environment: str) -> None:
        self.server = server
        self._agent = agent
        self._environment = environment

    @classmethod
    async def open(cls, server: ServerProcess, tools: list[Any]) -> Stage:
        """With these tools of the agent."""
        async with AsyncAnthropic(base_url=server.address, api_key=server.key) as client:
            agent = await client.beta.agents.create(name="bench", model=_MODEL, tools=tools)
            environment = await client.beta.environments.create(name="bench", config={"type": "cloud"})
        return cls(server, agent.id, environment.id)

    def line(self) -> Line:
        """A new connection."""
        return Line(self.server.address, self.server.key)

    async def session(self, line: Line) -> str:
        """A new session; its id."""
        made = await line.post("/v1/sessions", {"agent": self._agent, "environment_id": self._environment})
        return str(made["id"])


async def streaming_turns(stage: Stage, sessions: int, seconds: float) -> list[float]:
    """Every session sends, waits for idle on its stream, and sends again. Gives how long each turn took."""
    took: list[float] = []

    async def work(until_s: float) -> None:
        sending, reading = stage.line(), stage.line()
        session = await stage.session(sending)
        stream = await reading.stream(f"/v1/sessions/{session}/events/stream")
        while time.perf_counter() < until_s:
            began = time.perf_counter()
            await sending.post(f"/v1/sessions/{session}/events", hello("Say hello."))
            await until(stream, b"session.status_idle")
            took.append(time.perf_counter() - began)
        sending.close()
        reading.close()

    end = time.perf_counter() + seconds
    await asyncio.gather(*(work(end) for _ in range(sessions)))
    return took


async def polling_turns(stage: Stage, sessions: int, seconds: float) -> list[float]:
    """The same with the official SDK, which asks for all events every 50 ms: one turn a session."""
    took: list[float] = []
    async with AsyncAnthropic(base_url=stage.server.address, api_key=stage.server.key, max_retries=0) as client:
        line = stage.line()
        made = [await stage.session(line) for _ in range(sessions)]
        line.close()

        async def work(session: str) -> None:
            began = time.perf_counter()
            content: Any = [{"type": "text", "text": "Say hello."}]
            await client.beta.sessions.events.send(session, events=[{"type": "user.message", "content": content}])
            idle = client.beta.sessions.events.list
            while not [event async for event in idle(session, types=["session.status_idle"])]:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
            took.append(time.perf_counter() - began)

        await asyncio.gather(*(work(session) for session in made))
    return took


async def turns(stage: Stage, asked: argparse.Namespace) -> dict[str, Any]:
    measure = polling_turns if asked.poll else streaming_turns
    await measure(stage, 5, 1.0)  # warm
    began = time.perf_counter()
    took = await measure(stage, asked.sessions, asked.seconds)
    elapsed = time.perf_counter() - began
    rates = {"turns_per_s": len(took) / elapsed, "turns": len(took), "sessions": asked.sessions}
    return rates | {"turn_p50_ms": statistics.median(took) * 1e3, "client": "sdk polling" if asked.poll else "streams"}


async def latencies(stage: Stage, folder: Path, rounds: int) -> dict[str, Any]:
    """Send to first event, in turns with the disk's own commit."""
    sending, reading = stage.line(), stage.line()
    session = await stage.session(sending)
    stream = await reading.stream(f"/v1/sessions/{session}/events/stream")
    disk, first = [], []
    for _ in range(rounds):
        disk.append(await ms(lambda: asyncio.to_thread(commit, folder)))
        began = time.perf_counter()
        seen = asyncio.create_task(until(stream, b"user.message"))
        await sending.post(f"/v1/sessions/{session}/events", hello("Say hello."))
        await seen
        first.append((time.perf_counter() - began) * 1e3)
        await until(stream, b"session.status_idle")
    sending.close()
    reading.close()
    disk_ms, first_ms = statistics.median(disk), statistics.median(first)
    bar_ms = 1.5 * disk_ms + 3
    return {
        "disk_commit_ms": disk_ms,
        "send_to_first_event_ms": first_ms,
        "bar_ms": bar_ms,
        "within_bar": first_ms <= bar_ms,
    }


async def tool_costs(stage: Stage, folder: Path, rounds: int) -> dict[str, Any]:
    """A turn with a command that does nothing against the plain turn before it.

    Sessions are young: a turn with a tool asks the model twice, and in a long one that is the simulator's work, which
    reads the whole history each time.
    """
    plain, with_tool, disk = [], [], []

    async def young(pairs: int) -> None:
        sending, reading = stage.line(), stage.line()
        session = await stage.session(sending)
        stream = await reading.stream(f"/v1/sessions/{session}/events/stream")

        async def turn(words: str) -> None:
            await sending.post(f"/v1/sessions/{session}/events", hello(words))
            await until(stream, b"session.status_idle")

        command = "Run this:\n```bash\ntrue\n```"
        await turn(command)  # the box is open
        for _ in range(pairs):
            disk.append(await ms(lambda: asyncio.to_thread(commit, folder)))
            plain.append(await ms(lambda: turn("Say hello.")))
            with_tool.append(await ms(lambda: turn(command)))
        sending.close()
        reading.close()

    for done in range(0, rounds, _YOUNG):
        await young(min(_YOUNG, rounds - done))
    added = [tool - without for tool, without in zip(with_tool, plain, strict=True)]
    disk_ms, added_ms = statistics.median(disk), statistics.median(added)
    medians = {"plain_turn_ms": statistics.median(plain), "turn_with_bash_ms": statistics.median(with_tool)}
    bar = {"added_ms": added_ms, "bar_ms": 2 * disk_ms + 5, "within_bar": added_ms <= 2 * disk_ms + 5}
    return medians | bar | {"disk_commit_ms": disk_ms}


def resident_mb(pid: int) -> float:
    """What the server keeps in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def idle_streams(stage: Stage, count: int) -> dict[str, Any]:
    """What so many idle sessions with an open stream each add to the server's memory."""
    lines = [stage.line() for _ in range(count)]
    sessions = [await stage.session(lines[0]) for _ in range(count)]
    before_mb = resident_mb(stage.server.pid)
    for line, session in zip(lines, sessions, strict=True):
        line.close()
        line.forget()
        await line.stream(f"/v1/sessions/{session}/events/stream")
    added_mb = resident_mb(stage.server.pid) - before_mb
    for line in lines:
        line.close()
    return {
        "sessions": count,
        "added_mb": added_mb,
        "bar_mb": 60 * count / 1000,
        "within_bar": added_mb <= 60 * count / 1000,
    }


async def one_turn_each(stage: Stage, count: int) -> float:
    """Seconds until so many new sessions have had one turn, all begun at once."""
    lines = [stage.line() for _ in range(count)]
    made = [await stage.session(lines[0]) for _ in range(count)]
    lines[0].close()
    lines[0].forget()
    streams = [
        await line.stream(f"/v1/sessions/{session}/events/stream") for line, session in zip(lines, made, strict=True)
    ]

    async def turn(session: str, stream: asyncio.StreamReader, senders: asyncio.Semaphore) -> None:
        async with senders:
            sending = stage.line()
            await sending.post(f"/v1/sessions/{session}/events", hello("Say hello."))
            sending.close()
        await until(stream, b"session.status_idle")

    senders = asyncio.Semaphore(64)
    began = time.perf_counter()
    await asyncio.gather(*(turn(session, stream, senders) for session, stream in zip(made, streams, strict=True)))
    elapsed = time.perf_counter() - began
    for line in lines:
        line.close()
    return elapsed


class PacedModel:
    """A server that answers every message with the same words, after as long a wait as it is told."""

    def __init__(self) -> None:
        self.wait_s = 0.0
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
        body = b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        self._answer = head.encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await reader.readexactly(int(_header(head, "content-length")))
                await asyncio.sleep(self.wait_s)
                writer.write(self._answer)
        writer.close()


async def waiting_sessions(folder: Path, count: int, wait_s: float) -> dict[str, Any]:
    """The same turns with a model that answers at once and with one that takes its time."""
    model = PacedModel()
    listening = await asyncio.start_server(model.serve, "127.0.0.1", 0, backlog=4096)
    port = listening.sockets[0].getsockname()[1]
    with ServerProcess(folder / "waiting", arguments=[f"--upstream=http://127.0.0.1:{port}"]) as server:
        stage = await Stage.open(server, [])
        await one_turn_each(stage, 20)  # warm
        quick_s = await one_turn_each(stage, count)
        model.wait_s = wait_s
        slow_s = await one_turn_each(stage, count)
    listening.close()
    bar_s = wait_s + 1.3 * quick_s
    return {
        "sessions": count,
        "wait_s": wait_s,
        "quick_s": quick_s,
        "slow_s": slow_s,
        "bar_s": bar_s,
        "within_bar": slow_s <= bar_s,
    }


def commit(folder: Path) -> None:
    """What the disk needs for one commit."""
    with (folder / "commit").open("ab") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fdatasync(file.fileno())


async def ms(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


def machine() -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 seconds and 10 rounds")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--database", help="left out: SQLite in a temporary folder")
    parser.add_argument("--poll", action="store_true", help="the official SDK, polling every 50 ms")
    asked = parser.parse_args()
    if asked.quick:
        asked.seconds = 3.0
    rounds, many = (10, 100) if asked.quick else (50, 1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = [f"--database={asked.database}"] if asked.database else []
        with ServerProcess(folder / "data", arguments=["--upstream=simulator", *database]) as server:
            talking = await Stage.open(server, [])
            results: dict[str, Any] = {"latency": await latencies(talking, folder, rounds)}
            results["turns"] = await turns(talking, asked)
            results["bash"] = await tool_costs(await Stage.open(server, _BOX_TOOLS), folder, rounds)
        with ServerProcess(folder / "idle", arguments=["--upstream=simulator", *database]) as server:
            results["idle"] = await idle_streams(await Stage.open(server, []), many)
        results["waiting"] = await waiting_sessions(folder, many, 2.0)
    print(json.dumps({"machine": machine(), "results": results}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
