"""What `freehold doctor` looks at: each check really does the thing, and says what to do where it fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold.app import Application, DataSettings, Replacements, SafetySettings, build
from freehold.config import Configuration
from freehold.environments.base import Boxes, Capabilities
from freehold.errors import FreeholdError
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


async def findings(configuration: Configuration) -> AsyncIterator[Finding]:
    """Every check in its order, each as soon as it is known."""
    data = configuration.section(DataSettings).data
    folder = _data_folder(data)
    yield folder
    if folder.level == "bad":
        return
    try:
        application = await build(configuration, Replacements())
    except FreeholdError as error:
        yield Finding("server", "bad", error.message)
        return
    try:
        yield Finding("database", "ok", f"{application.store.dialect} answers, its schema is up to date")
        yield await _upstream(application)
        async for finding in _boxes(application.boxes, configuration.section(SafetySettings).unsafe_no_isolation):
            yield finding
    finally:
        await application.stop()


def _data_folder(data: Path) -> Finding:
    place = data if data.exists() else data.absolute().parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Finding("data folder", "bad", f"{data} cannot be written", "Choose another one with --data.")
    free = shutil.disk_usage(place).free
    if free < _LITTLE_BYTES:
        return Finding("data folder", "note", f"{data}: only {free >> 20} MB are free", "Make room, or use --data.")
    return Finding("data folder", "ok", f"{data}: writable, {free >> 30} GB free")


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
    for protection in found.protections:
        level: Level = "ok" if protection.present else "note"
        yield Finding(f"  {protection.name}", level, protection.detail, "" if protection.present else protection.remedy)


def _isolation(found: Capabilities, unsafe: bool) -> Finding:
    if found.isolated:
        return Finding("box", "ok", f"a real one was opened with {found.backend}; it is isolated")
    detail = found.reason or f"{found.backend} does not isolate"
    if unsafe:
        return Finding("box", "note", detail, "Agent tools run all the same, because unsafe_no_isolation is set.")
    return Finding("box", "bad", detail, "Until then agent tools are refused; everything else works.")
