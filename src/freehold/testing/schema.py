"""An empty database with the newest schema, made once a process: migrations cost more than all else a server starts."""

from __future__ import annotations

import asyncio
import functools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from freehold.clock import SystemClock
from freehold.store.engine import Store


def write_empty_database(path: Path) -> None:
    """A SQLite file that a store opens without a migration; its owner's alone, as a store makes it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_empty_database())


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory(prefix="freehold-schema-") as folder, ThreadPoolExecutor(1) as beside:
        path = Path(folder) / "freehold.db"
        beside.submit(asyncio.run, _make(path)).result()  # the caller's own loop may be running
        return path.read_bytes()


async def _make(path: Path) -> None:
    await (await Store.open(f"sqlite:///{path}", clock=SystemClock())).close()
