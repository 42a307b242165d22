"""What a stream waits for the gateway, and how late its event loop is: `python -m benchmarks.gateway.streams`.

Paced streams, twenty a second straight to the fake Claude and twenty through each gateway (`hold_ms` 0, and its
default), all in the same seconds: time to the first byte and to the first content, and what the gateway adds. Then a
thousand slow streams are held open, while `/health` is asked all the time: its answer cannot come sooner than the loop
gets to it, so its time is a bound of the loop's lag; what was asked while the thousand came in all at once stands
apart. Writes `benchmarks/results/gateway-streams.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import compiled
from benchmarks.gateway import run
from benchmarks.gateway.run import ADMIN_KEY, GATEWAY_CORE, RESULTS, Bench, Scenario, Target, about

PACE = Scenario("pace", 64, 3.0, rate=20, think_ms=50, tick_ms=10, stream=True)
SLOW = Scenario("slow", 1000, 2.0, think_ms=50, tick_ms=200, stream=True)
RATE = 20
OPENING_S = 1.0


class Gateway(Bench):
    """Servers with settings of their own."""

    def with_hold(self, name: str, hold_ms: str | None) -> Target:
        """`freehold serve`; `None`: the default."""
        port = run._free_port()
        command = [sys.executable, "-m", "freehold", "serve", "--port", str(port), "--data", str(self._folder / name)]
        given = {"FREEHOLD_ADMIN_KEY": ADMIN_KEY, "FREEHOLD_UPSTREAM": f"http://127.0.0.1:{self.direct.port}"}
        if hold_ms is not None:
            given["FREEHOLD_HOLD_MS"] = hold_ms
        process = self._start(command, GATEWAY_CORE, {**compiled.environment(), **given})
        return run._wait_for(Target(name, port, process, (f"x-api-key: {ADMIN_KEY}",)))


async def stream(target: Target, seen: list[tuple[float, float]]) -> None:
    """One stream: milliseconds to its first event and to its first content."""
    body = PACE.body()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    head = ["POST /v1/messages HTTP/1.1", "host: x", "connection: close", *target.headers]
    head += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
    began, first = time.perf_counter(), 0.0
    writer.write("\r\n".join(head).encode() + body)
    text = b""
    while b"content_block_delta" not in text:
        data = await reader.read(65536)
        assert data, text
        text += data
        if not first and b"event:" in text:
            first = time.perf_counter()
    seen.append(((first - began) * 1000, (time.perf_counter() - began) * 1000))
    while await reader.read(65536):
        pass
    writer.close()


async def paced(targets: list[Target], seconds: float) -> dict[str, list[tuple[float, float]]]:
    """All targets side by side, a little apart."""
    seen: dict[str, list[tuple[float, float]]] = {target.name: [] for target in targets}
    tasks, began = [], time.perf_counter()
    for number in range(int(seconds * RATE)):
        for at, target in enumerate(targets):
            due = began + (number + at / len(targets)) / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(stream(target, seen[target.name])))
    await asyncio.gather(*tasks)
    return seen


def figures(values: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    ordered = sorted(values)
    return {"p50": round(ordered[len(ordered) // 2], 3), "p99": round(ordered[int(len(ordered) * 0.99)], 3)}


async def lag(target: Target, over: threading.Event) -> list[tuple[float, float]]:
    """`/health` on one connection until it is over: when it was asked, and the milliseconds that it took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    seen = []
    while not over.is_set():
        began = time.perf_counter()
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        seen.append((began, (time.perf_counter() - began) * 1000))
        await asyncio.sleep(0.01)
    writer.close()
    return seen


def main() -> None:
    """Measure, print, write."""
    compiled.run_compiled()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    result: dict[str, Any] = about()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as on_exit:
        bench = Gateway(Path(folder), on_exit)
        os.sched_setaffinity(0, {run.LOAD_CORE % (os.cpu_count() or 1)})
        none, usual = bench.with_hold("hold_0", "0"), bench.with_hold("hold_default", None)
        asyncio.run(paced([bench.direct, none, usual], 2.0))
        seen = asyncio.run(paced([bench.direct, none, usual], seconds))
        for at, what in enumerate(("first_byte_ms", "first_content_ms")):
            all_of = {name: figures([pair[at] for pair in pairs]) for name, pairs in seen.items()}
            added = {
                name: {key: round(value - all_of["direct"][key], 3) for key, value in found.items()}
                for name, found in all_of.items()
                if name != "direct"
            }
            result[what] = {**all_of, "added": added}
        over, found = threading.Event(), []
        probe = threading.Thread(target=lambda: found.extend(asyncio.run(lag(usual, over))))
        probe.start()
        began = time.perf_counter()
        load = bench.load(usual, SLOW, SLOW.seconds)
        over.set()
        probe.join()
        opening = [took for at, took in found if at < began + OPENING_S]
        open_ = [took for at, took in found if at >= began + OPENING_S]
        result["lag"] = {"streams": load["done"], **figures(open_), "most": round(max(open_), 3), "asked": len(open_)}
        result["lag_while_they_come"] = {**figures(opening), "most": round(max(opening), 3), "asked": len(opening)}
        result["load_average"] = os.getloadavg()[0]
    (RESULTS / "gateway-streams.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
