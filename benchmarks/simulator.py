"""What the simulator costs as an HTTP server: CPU per small answer (bar 0.35 ms) and per stream event (bar 60 µs).

    python -m benchmarks.simulator [--requests 6000] [--json]

The server is a process of its own; its CPU time is read from the kernel (all threads, in nanoseconds where there is
schedstat) before and after the load. The load comes from this process over 16 kept connections, on another core where
there are two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import sys
import time
from pathlib import Path

_SMALL = {
    "model": "claude-haiku-5-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hello, Claude. How are you today?"}],
}
_LONG = {
    "model": "claude-haiku-4-5",
    "max_tokens": 2000,
    "stream": True,
    "messages": [{"role": "user", "content": "a word or two " * 90}],
}
_CONNECTIONS = 16
_ROUNDS = 3
_BAR_SMALL_MS = 0.35
_BAR_EVENT_US = 60.0


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """One request on a kept connection: the body of the answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    assert b" 200 " in head.split(b"\r\n", 1)[0], head
    if b"content-length:" in lower:
        size = int(lower.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return await reader.readexactly(size)
    body = b""
    while True:
        size = int(await reader.readline(), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if not size:
            return body


def raw(body: object, brain: str) -> bytes:
    """The bytes of a request."""
    data = json.dumps(body).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {brain}\r\ncontent-type: application/json\r\n"
    return head.encode() + f"content-length: {len(data)}\r\n\r\n".encode() + data


async def load(port: int, request: bytes, count: int) -> int:
    """Send so many over all connections; how many events (or answers) came."""

    async def one(number: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        events = 0
        for _ in range(number):
            events += (await exchange(reader, writer, request)).count(b"event: ") or 1
        writer.close()
        return events

    return sum(await asyncio.gather(*[one(count // _CONNECTIONS) for _ in range(_CONNECTIONS)]))


async def measure(brain: str, request: object, count: int) -> tuple[float, int]:
    """CPU seconds of the server for so many requests, and how many events or answers came."""
    code = (
        "import sys, uvicorn; from freehold.simulator.served import Served, Settings; "
        "uvicorn.run(Served(Settings(brain=sys.argv[1])), fd=int(sys.argv[2]), log_level='warning', "
        "access_log=False, loop='uvloop', http='httptools')"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        listener.set_inheritable(True)
        command = [sys.executable, "-c", code, brain, str(listener.fileno())]
        server = await asyncio.create_subprocess_exec(*command, pass_fds=[listener.fileno()])
    try:
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(server.pid, {0})
        data = raw(request, brain)
        await load(port, data, _CONNECTIONS * 4)
        before = cpu_s(server.pid)
        events = await load(port, data, count)
        return cpu_s(server.pid) - before, events
    finally:
        server.terminate()
        await server.wait()


async def median(brain: str, request: object, count: int) -> float:
    """CPU seconds per answer or event: the median of a few rounds, each with a server of its own."""
    rounds = [await measure(brain, request, count) for _ in range(_ROUNDS)]
    return statistics.median(spent / came for spent, came in rounds)


async def main() -> int:
    """Measure and print; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    per_round = options.requests // _ROUNDS
    found: dict[str, float | str] = {"at": time.strftime("%Y-%m-%d"), "python": platform.python_version()}
    for brain in ("planner", "echo"):
        found[f"small_{brain}_ms"] = round(await median(brain, _SMALL, per_round) * 1e3, 4)
    found["stream_event_us"] = round(await median("echo", _LONG, max(per_round // 10, _CONNECTIONS)) * 1e6, 2)
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:>20}  {value}" for name, value in found.items()))
    good = float(found["small_planner_ms"]) <= _BAR_SMALL_MS and float(found["stream_event_us"]) <= _BAR_EVENT_US
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
