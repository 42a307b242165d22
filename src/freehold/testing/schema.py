"""An empty database with the newest schema, made once a process: migrations cost more than all else a server starts."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from freehold.clock import SystemClock
from freehold.store.engine import Store


@functools.cache
def empty_database() -> bytes:
    """The bytes of a SQLite file that a store opens without a migration."""
    with tempfile.TemporaryDirectory(prefix="freehold-schema-") as folder, ThreadPoolExecutor(1) as beside:
        path = Path(folder) / "freehold.db"
        beside.submit(asyncio.run, _make(path)).result()  # the caller's own loop may be running
        return path.read_bytes()


async def _make(path: Path) -> None:
    await (await Store.open(f"sqlite:///{path}", clock=SystemClock())).close()
