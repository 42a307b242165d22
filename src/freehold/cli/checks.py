"""What `freehold doctor` looks at: each check really does the thing, and says what to do where it fails.

Nothing of the user's is changed: the database is only read, and what must be tried out is tried in a folder of its own
beside the data.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold.app.application import Application
from freehold.app.build import build
from freehold.app.settings import DataSettings, SafetySettings
from freehold.config import Configuration
from freehold.environments.base import Boxes, Capabilities
from freehold.environments.examining import Examinable
from freehold.environments.site import host_of, site_in
from freehold.errors import FreeholdError
from freehold.store.look import look
from freehold.upstreams.base import ListsModels

Level = Literal["ok", "note", "bad"]
_LITTLE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `note`: it works, but not as well as it could; `bad`: it does not work."""

    subject: str
    level: Level
    detail: str
    remedy: str = ""


def data_folder(data: Path) -> Finding:
    """Whether everything can be kept there."""
    place = data if data.exists() else nearest(data)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        told = f"{data} cannot be written: {error.strerror}"
        return Finding("data folder", "bad", told, "Choose another one with --data.")
    free = shutil.disk_usage(place).free
    if free < _LITTLE_BYTES:
        return Finding("data folder", "note", f"{data}: only {free >> 20} MB are free", "Make room, or use --data.")
    return Finding("data folder", "ok", f"{data}: writable, {free >> 30} GB free")


def nearest(data: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (data.absolute(), *data.absolute().parents) if path.exists())


async def database(settings: DataSettings) -> Finding:
    """Whether it answers and has a schema that this version can use."""
    if settings.database is None and not (settings.data / "freehold.db").exists():
        return Finding("database", "ok", "SQLite in the data folder; the first start makes it")
    try:
        seen = await look(settings.database or f"sqlite:///{settings.data.resolve() / 'freehold.db'}")
    except FreeholdError as error:
        return Finding("database", "bad", error.message, "Check --database.")
    here = site_in(settings.data / "sessions")
    elsewhere = {host_of(place): count for place, count in seen.places.items() if place != here}
    if elsewhere:
        told = ", ".join(f"{count} on {host}" for host, count in sorted(elsewhere.items()))
        return Finding(
            "database",
            "note",
            f"{seen.dialect} answers; it has sessions whose files are elsewhere: {told}",
            "Only servers there can go on with them; or share the data folder, or set file_copies and take_over_files.",
        )
    if seen.schema == seen.newest:
        return Finding("database", "ok", f"{seen.dialect} answers, its schema is up to date")
    return Finding("database", "ok", f"{seen.dialect} answers; the next start brings its schema to {seen.newest}")


async def parts(trial: Configuration) -> AsyncIterator[Finding]:
    """Toolboxes, upstream and boxes of a server that is made of `trial` and keeps nothing of value."""
    try:
        application = await build(trial)
    except FreeholdError as error:
        yield Finding("server", "bad", error.message)
        return
    try:
        yield await _upstream(application)
        async for finding in _boxes(application.boxes, trial.section(SafetySettings).unsafe_no_isolation):
            yield finding
    finally:
        await application.stop()


async def _upstream(application: Application) -> Finding:
    upstream = application.upstream
    told = application.describe()[0]
    if not isinstance(upstream, ListsModels):
        return Finding("upstream", "note", f"{told}; it cannot be asked for its models")
    try:
        models = await upstream.models()
    except FreeholdError as error:
        return Finding("upstream", "bad", f"{told}: {error.message}", "Check the address, the key and the network.")
    return Finding("upstream", "ok", f"{told}; {len(models)} models")


async def _boxes(boxes: Boxes, unsafe: bool) -> AsyncIterator[Finding]:
    found = await boxes.probe()
    yield _isolation(found, unsafe)
    more = await boxes.examine() if found.isolated and isinstance(boxes, Examinable) else ()
    for protection in (*found.protections, *more):
        level: Level = "ok" if protection.present else "note"
        yield Finding(f"  {protection.name}", level, protection.detail, "" if protection.present else protection.remedy)


def _isolation(found: Capabilities, unsafe: bool) -> Finding:
    if found.isolated:
        return Finding("box", "ok", f"a real one was opened with {found.backend}; it is isolated")
    detail = found.reason or f"{found.backend} does not isolate"
    if unsafe:
        return Finding("box", "note", detail, "Agent tools run all the same, because unsafe_no_isolation is set.")
    return Finding("box", "bad", detail, "Until then agent tools are refused; everything else works.")
