"""All live boxes of this server: opened when a session first needs one, closed when idle or too many, and at the end.

This module does not know what kind of boxes they are, or what a session is beyond its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.clock import Clock
from freehold.config import setting
from freehold.environments.base import Box, BoxDied, Boxes, BoxFailed, BoxSpec, Fenced, ToolName, ToolOutcome
from freehold.environments.workdirs import Workdir

log = logging.getLogger(__name__)
_FAILED_S = 60.0
"""How long it is remembered that a box did not open ahead of its first call."""
_SWEEP_LEAST_S = 0.5
"""Between two looks for idle boxes, however short they are kept."""
_WORDS = 500
SHELL_LOST = (
    "[The box was opened anew since the last call: shell state is gone (variables, current directory, background "
    "processes). Files are still there.]"
)

HearsOfBoxes = Callable[[str, int, int, str | None], None]
"""Is told of a box that was opened: its session, from when to when (µs since 1970), and what failed, if it did."""


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """How long boxes stay, and how many."""

    box_idle_s: float = setting(600.0, "A session's box is closed after this long without a call.", unit="s")
    max_boxes: int = setting(
        100, "More boxes than this are not kept open; the one idle longest is closed first.", least=1
    )
    early_boxes: bool = setting(
        True, "A session's box opens while the model thinks, if its agent has tools that run there."
    )
    warm_boxes: int = setting(
        1, "How many processes wait under their limits to become boxes, about 1 MB each; 0: none.", least=0
    )


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call brought. `shell_lost`: its box is a new one, and the session had another before."""

    outcome: ToolOutcome
    shell_lost: bool
    died: str | None = None
    """Why the box before it ended by itself, where nobody has been told yet."""

    @property
    def told(self) -> Sequence[Mapping[str, Any]]:
        """The content for the model, which learns here, once, that its shell is not the one that it knew."""
        return [*([{"type": "text", "text": SHELL_LOST}] if self.shell_lost else ()), *self.outcome.content]


class _Berth:
    """One session's place: its box, if it is open, and how it is used."""

    def __init__(self, now_ns: int) -> None:
        self.lock = asyncio.Lock()
        self.box: Box | None = None
        self.calls = 0
        self.used_ns = now_ns
        self.lost_untold = False
        self.opening: asyncio.Task[Box] | None = None
        """Goes on when whoever waits for it is told to stop: somebody will need that box."""
        self.failed: tuple[int, BoxFailed] | None = None
        """When and how it did not open the last time."""
        self.untold = False
        """That was ahead of a call, and the next one is to be told."""
        self.died: str | None = None
        """Why its last box ended by itself, if that is still to be told."""
        self.mourned: Box | None = None
        """The box whose death was told or noted last."""

    def death(self, box: Box) -> str | None:
        """Why that box ended by itself, for the first who asks."""
        if self.mourned is box:
            return None
        self.mourned = box
        return box.ended[-_WORDS:] or "its supervisor is gone"


class Fleet:
    """Keeps at most `max_boxes` open, each for `box_idle_s` after its last call."""

    def __init__(self, boxes: Boxes, settings: BoxSettings, clock: Clock, heard: HearsOfBoxes | None = None) -> None:
        self._heard = heard
        self._boxes = boxes
        self._settings = settings
        self._clock = clock
        self._berths: dict[str, _Berth] = {}
        self._closing = False

    async def call(
        self, spec: BoxSpec, name: ToolName, arguments: Mapping[str, Any], *, key: str, epoch: int
    ) -> CallResult:
        """Run a tool in the session's box, opening it first where there is none.

        Raises:
            BoxFailed: it could not be opened; nothing was run.
            BoxDied: it went away during the call; `Boxes.outcome` may know what became of it.
            Fenced: a newer epoch has this session.
        """
        with self._in_use(spec.session_id) as berth:
            box = await self._box(spec, berth)
            lost, berth.lost_untold = berth.lost_untold, False
            died, berth.died = berth.died, None
            try:
                outcome = await box.call(name, arguments, key=key, epoch=epoch)
            except BoxDied as gone:
                gone.news = berth.death(box) or ""
                raise
            return CallResult(outcome, lost, died)

    async def warm(self, spec: BoxSpec) -> None:
        """Open the session's box now, because a call is likely to come (the model is thinking).

        Nothing is raised: what goes wrong is told by the next call. No other box is closed for it.
        """
        berth = self._berths.get(spec.session_id)
        if not self._settings.early_boxes or self._closing or self.is_open(spec.session_id):
            return
        if self.count() >= self._settings.max_boxes or (berth and berth.failed and self._is_fresh(berth.failed[0])):
            return
        with self._in_use(spec.session_id) as berth:
            try:
                await self._box(spec, berth, ahead=True)
            except BoxFailed:
                berth.untold = True
            except (BoxDied, Fenced):
                return

    def is_open(self, session_id: str) -> bool:
        """Whether that session has a live box here."""
        berth = self._berths.get(session_id)
        return bool(berth and berth.box and berth.box.alive)

    def count(self) -> int:
        """How many boxes are open."""
        return sum(1 for session_id in self._berths if self.is_open(session_id))

    async def end(self, session_id: str) -> None:
        """Close that session's box: it was deleted, archived or interrupted for good. Its files stay."""
        berth = self._berths.get(session_id)
        if berth is not None:
            async with berth.lock:
                await self._close(session_id, berth)

    async def sweep(self) -> None:
        """Close what has been idle for too long, then the oldest of what is too many."""
        idle = sorted((berth.used_ns, session_id) for session_id, berth in self._berths.items() if not berth.calls)
        now_ns = self._clock.monotonic_ns()
        surplus = len(self._berths) - self._settings.max_boxes
        for place, (used_ns, session_id) in enumerate(idle):
            if place < surplus or now_ns - used_ns >= self._settings.box_idle_s * 1e9:
                try:
                    await self._close_if_idle(session_id)
                except Exception:  # the outer edge of a job: one that cannot be closed keeps no other open
                    log.exception("the idle box of %s could not be closed; it is tried again", session_id)

    async def run(self) -> None:
        """Sweep for ever; `app/` starts this as a task and cancels it."""
        while True:
            await self._clock.sleep(min(30.0, max(_SWEEP_LEAST_S, self._settings.box_idle_s / 4)))
            await self.sweep()

    async def close(self) -> None:
        """Close every box; calls that run end with `BoxDied`."""
        self._closing = True
        await asyncio.gather(*(self.end(session_id) for session_id in list(self._berths)))
        await self._boxes.close()

    @contextlib.contextmanager
    def _in_use(self, session_id: str) -> Iterator[_Berth]:
        """The session's place, which is not closed meanwhile for being idle."""
        berth = self._berths.setdefault(session_id, _Berth(self._clock.monotonic_ns()))
        berth.calls += 1
        try:
            yield berth
        finally:
            berth.calls -= 1
            berth.used_ns = self._clock.monotonic_ns()

    async def _box(self, spec: BoxSpec, berth: _Berth, *, ahead: bool = False) -> Box:
        async with berth.lock:
            if self._closing:
                raise BoxDied("the server is stopping; nothing was run")
            if berth.box is not None and berth.box.alive:
                return berth.box
            if not ahead:
                self._tell_failure(berth)
            if berth.opening is None or berth.opening.done():
                berth.opening = asyncio.create_task(self._open(spec, berth), name=f"opening of {spec.session_id}")
                berth.opening.add_done_callback(_looked_at)
            box = await asyncio.shield(berth.opening)
        if len(self._berths) > self._settings.max_boxes:
            await self.sweep()
        return box

    async def _open(self, spec: BoxSpec, berth: _Berth) -> Box:
        if berth.box is not None:
            berth.died = berth.death(berth.box) or berth.died
        had_one = berth.box is not None or await asyncio.to_thread(_had_box, spec)
        try:
            berth.box = await self._opened(spec)
        except BoxFailed as error:
            berth.failed = self._clock.monotonic_ns(), error
            raise
        berth.failed, berth.lost_untold = None, had_one
        log.debug("box of %s opened%s", spec.session_id, " again" if had_one else "")
        return berth.box

    def _tell_failure(self, berth: _Berth) -> None:
        """Raise what went wrong ahead of this call, if nobody has heard of it."""
        untold, berth.untold = berth.untold, False
        if untold and berth.failed is not None and self._is_fresh(berth.failed[0]):
            raise berth.failed[1]

    def _is_fresh(self, when_ns: int) -> bool:
        return self._clock.monotonic_ns() - when_ns < _FAILED_S * 1e9

    async def _opened(self, spec: BoxSpec) -> Box:
        if self._heard is None:
            return await self._boxes.open(spec)
        began_us, failed = self._clock.now_us(), "box_failed"
        try:
            box = await self._boxes.open(spec)
            failed = ""
            return box
        finally:
            self._heard(spec.session_id, began_us, self._clock.now_us(), failed or None)

    async def _close_if_idle(self, session_id: str) -> None:
        berth = self._berths.get(session_id)
        if berth is None:
            return
        async with berth.lock:
            if not berth.calls:
                await self._close(session_id, berth)

    async def _close(self, session_id: str, berth: _Berth) -> None:
        """Under the berth's lock."""
        if berth.opening is not None and not berth.opening.done():
            berth.opening.cancel()
            await asyncio.wait([berth.opening])
        if berth.box is not None:
            with contextlib.suppress(BoxDied, Fenced):
                await berth.box.close()
            berth.mourned = berth.box  # it did not end by itself
        if self._berths.get(session_id) is berth and not berth.calls:
            del self._berths[session_id]


def _looked_at(opening: asyncio.Task[Box]) -> None:
    """How it failed shows to whoever waits for it; nobody may."""
    if not opening.cancelled():
        opening.exception()


def _had_box(spec: BoxSpec) -> bool:
    return "epoch" in Workdir(spec.workdir).meta()
