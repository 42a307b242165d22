"""How a running server is, from what its parts know: nothing is tried out, nothing is waited for."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence

from freehold import build
from freehold.api.doctor import Finding
from freehold.app.parts import Parts

_LITTLE_BYTES = 2 << 30


async def examined(parts: Parts) -> Sequence[Finding]:
    """Every finding, what matters first."""
    disk = await asyncio.to_thread(shutil.disk_usage, parts.ground.data)
    return [_database(parts), _record(parts), _boxes(parts), _room(disk.free), *_parts(parts)]


def _database(parts: Parts) -> Finding:
    store = parts.ground.store
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[store.dialect]
    if store.healthy:
        return Finding("database", "ok", f"{name}; {store.commits:,} commits since the start")
    return Finding("database", "bad", f"{name}: writes fail", "Is the disk full, or the database away? See the log.")


def _record(parts: Parts) -> Finding:
    lost = parts.ground.store.rows_lost
    if not lost:
        return Finding("record of calls", "ok", "no row was lost since the start")
    return Finding("record of calls", "bad", f"{lost:,} rows were lost", "The database was away or too slow.")


def _boxes(parts: Parts) -> Finding:
    boxes = parts.sessions.boxes
    if boxes.isolated:
        return Finding("boxes", "ok", f"{boxes.described}; {boxes.fleet.count()} open")
    return Finding("boxes", "bad", boxes.described, "`freehold doctor` on the machine says what is missing.")


def _room(free_bytes: int) -> Finding:
    if free_bytes < _LITTLE_BYTES:
        return Finding("data folder", "note", f"only {free_bytes >> 20:,} MB are free", "Make room.")
    return Finding("data folder", "ok", f"{free_bytes >> 30:,} GB free")


def _parts(parts: Parts) -> Sequence[Finding]:
    toolboxes = ", ".join(sorted(parts.toolboxes)) or "none"
    told = "a collector is told" if parts.lasting.exports is not None else "no collector is named (otlp_url)"
    return [
        Finding("upstreams", "ok", f"answers come from {parts.answered_by}"),
        Finding("toolboxes", "ok", toolboxes),
        Finding("telemetry", "ok", told),
        Finding("version", "ok", build()),
    ]
