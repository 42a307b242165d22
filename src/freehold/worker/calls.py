"""Runs one tool call of a session in its box, once: what was begun before and has no known end is told, not repeated.

The box's own journal holds results that were reached and not yet sent; beside it stands here what was begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, cast

from freehold.environments.base import BoxDied, Boxes, BoxFailed, BoxSpec, Fenced, ToolName, ToolOutcome
from freehold.environments.fleet import Fleet
from freehold.environments.tools.specs import specs
from freehold.environments.workdirs import Workdir

log = logging.getLogger(__name__)

UNKNOWN = (
    "The machine that ran this call stopped before its outcome was known. It is not repeated: verify what it did "
    "before you try again."
)
Json = dict[str, Any]


class SessionCalls:
    """The calls of one session under one lease."""

    names = frozenset[str](spec.name for spec in specs())
    """The tools that are run here; others are somebody else's."""

    def __init__(self, fleet: Fleet, boxes: Boxes, spec: BoxSpec) -> None:
        self._fleet = fleet
        self._boxes = boxes
        self._spec = spec
        self._begun = Begun(Workdir(spec.workdir))

    async def answer(self, call_id: str, name: str, given: Json) -> ToolOutcome:
        """What the call brought; whatever happens, there is an outcome."""
        try:
            if await asyncio.to_thread(self._begun.before, call_id):
                return await self._known(call_id)
            await asyncio.to_thread(self._begun.add, call_id)
        except OSError as error:
            return _told(f"The worker could not write down that the call begins, so nothing was run: {error}")
        try:
            found = await self._fleet.call(self._spec, cast(ToolName, name), given, key=call_id, epoch=self._spec.epoch)
            return ToolOutcome(found.told, found.outcome.is_error)
        except BoxFailed as error:
            return _told(f"The box could not be opened, so nothing was run: {error}")
        except (BoxDied, Fenced):
            return await self._known(call_id)
        except Exception as error:  # the outer edge of a tool
            log.exception("the tool %s of %s failed inside the worker", name, self._spec.session_id)
            return _told(f"{name} failed inside the worker ({type(error).__name__}). {UNKNOWN}")

    async def _known(self, call_id: str) -> ToolOutcome:
        """What is known of a call that was begun."""
        return await self._boxes.outcome(self._spec, call_id) or _told(UNKNOWN)


def used(workdir: Workdir) -> None:
    """The session is taken up again: its files are not old, whenever its last call was."""
    place = workdir.path / "begun"
    if place.exists():
        os.utime(place)


class Begun:
    """Which calls of a session were begun here, by any worker on its folder: on the disk before the call runs."""

    def __init__(self, workdir: Workdir) -> None:
        self._workdir = workdir
        self._place = workdir.path / "begun"
        self._ids: set[str] | None = None

    def before(self, call_id: str) -> bool:
        """It was begun."""
        return call_id in self._known()

    def add(self, call_id: str) -> None:
        """It begins now. Raises `OSError`."""
        self._workdir.make()
        fd = os.open(self._place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, f"{call_id}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        self._known().add(call_id)

    def _known(self) -> set[str]:
        if self._ids is None:
            self._ids = set(self._place.read_text("utf-8").split()) if self._place.exists() else set()
        return self._ids


def _told(text: str) -> ToolOutcome:
    return ToolOutcome([{"type": "text", "text": text}], is_error=True)
