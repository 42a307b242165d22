"""Breakpoints of Claude's prompt cache: set by this server where it is told to, and watched by the doctor.

Not in the stack where `caching` is `client` everywhere and the doctor is off. Nothing of a request changes but for the
bytes of its breakpoints; see `caching/plan.py` for where they go.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import msgspec

from freehold.calls import Call, Handler, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.gateway.attempts import attempts_of
from freehold.gateway.caching.cacher import Cacher, Planned, has_marks
from freehold.gateway.caching.doctor import Doctor, Finding
from freehold.gateway.caching.layout import lay_out
from freehold.gateway.caching.unmarking import unmarked
from freehold.ids import NewId
from freehold.store.cache_misses import MissRow
from freehold.wire.envelopes import parse_fields, replace_fields

PING_AFTER_S = 280.0
"""Five minutes, less what a request takes on its way."""
MOST_PINGS = 11
MOST_KEPT_ALIVE = 100
"""Prefixes of one process that are kept warm at a time."""
PING_SOURCE = "freehold.keep-alive"


class KeepsMisses(Protocol):
    """See `store.cache_misses.CacheMisses`."""

    def add(self, row: MissRow) -> None:
        """Keep one; nobody waits."""
        ...


@dataclass(frozen=True, slots=True)
class Watching:
    """The doctor, and where what it finds is kept. `excerpts`: with a few bytes of the requests."""

    doctor: Doctor
    misses: KeepsMisses
    excerpts: bool = True


class Caching:
    """See the module. `pings` begins to work once `ask` is set: the whole pipeline, so that pings are recorded too."""

    def __init__(self, cacher: Cacher, watching: Watching | None, clock: Clock, ids: NewId) -> None:
        self.cacher = cacher
        self.watching = watching
        self.clock = clock
        self.ids = ids
        self.ask: Handler | None = None
        self._pings: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> bool:
        """Whether it has anything to do."""
        settings = self.cacher.settings
        modes = {settings.caching, *settings.caching_routes.values()}
        return modes != {"client"} or self.watching is not None

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""
        watches = self.watching is not None

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            if call.route != "messages" or call.source == PING_SOURCE:
                return inner(call)
            mode = self.cacher.mode(call.model)
            marks = has_marks(call)
            if mode == "auto" and (not marks or self.cacher.settings.caching_override):
                return _Planned(self, inner, _without(call) if marks else call)
            if mode == "off" and marks:
                call = _without(call)
                marks = False
            return _Watched(self, inner, call) if watches and marks else inner(call)

        return handle

    def look(self, call: Call, planned: Planned | None) -> None:
        """The call is over: learn from it, and see what it has missed."""
        attempts = attempts_of(call)
        usage = attempts[-1].facts.usage if attempts else None
        if usage is None:
            return
        now_us = self.clock.now_us()
        if planned is not None:
            self.cacher.answered(call, planned, usage, now_us)
        layout = planned.layout if planned is not None else lay_out(call)
        if self.watching is not None and layout is not None:
            finding = self.watching.doctor.look(call, layout, usage, now_us)
            if finding is not None:
                self._keep(call, finding, now_us)

    def _keep(self, call: Call, finding: Finding, now_us: int) -> None:
        watching, caller = self.watching, call.caller
        if watching is None or caller is None:
            return
        before, after = (finding.before, finding.after) if watching.excerpts else ("", "")
        watching.misses.add(
            MissRow(
                call.request_id,
                caller.workspace_id,
                caller.key_id,
                call.model[:128],
                finding.culprit,
                finding.path[:128],
                before,
                after,
                finding.lost_tokens,
                finding.cost_nanodollars,
                finding.warmed_by,
                now_us,
            )
        )

    def keep_alive(self, call: Call, planned: Planned) -> None:
        """Keep the prefix of that call warm while it waits for the next one."""
        wanted = self.cacher.settings.caching_keep_alive
        if wanted and self.ask is not None and len(self._pings) < MOST_KEPT_ALIVE:
            task = asyncio.create_task(self._ping(call, planned), name="cache keep-alive")
            self._pings.add(task)
            task.add_done_callback(self._pings.discard)

    async def _ping(self, call: Call, planned: Planned) -> None:
        node = planned.plan.ends[-1].node
        seen_us = node.last_us
        for _ in range(MOST_PINGS):
            await self.clock.sleep(PING_AFTER_S)
            if node.last_us != seen_us or self.ask is None:
                return
            ping = _ping_of(call, self.ids("req"), self.clock.monotonic_ns())
            started_us = self.clock.now_us()
            try:
                async with self.ask(ping) as reply:
                    if reply.status >= 300:
                        return
            except FreeholdError:
                return  # a budget, a limit, an upstream that is away: then the prefix goes cold
            self.cacher.begun(planned, started_us)

    async def close(self) -> None:
        """Let the prefixes go cold."""
        for task in self._pings:
            task.cancel()
        await asyncio.gather(*self._pings, return_exceptions=True)


class _Watched:
    """A call whose breakpoints are its client's."""

    __slots__ = ("_caching", "_call", "_context")

    def __init__(self, caching: Caching, inner: Handler, call: Call) -> None:
        self._caching = caching
        self._call = call
        self._context = inner(call)

    async def __aenter__(self) -> Reply:
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._caching.look(self._call, None)


class _Planned:
    """A call whose breakpoints are set here."""

    __slots__ = ("_caching", "_call", "_context", "_planned")

    def __init__(self, caching: Caching, inner: Handler, call: Call) -> None:
        self._caching = caching
        cacher = caching.cacher
        self._planned = planned = cacher.plan(call, caching.clock.now_us())
        if planned is not None and planned.plan.marks:
            body, fields = cacher.marked(call, planned)
            call = msgspec.structs.replace(call, body=body, fields=fields)
        self._call = call
        self._context = inner(call)

    async def __aenter__(self) -> Reply:
        started_us = self._caching.clock.now_us()
        reply = await self._context.__aenter__()
        if self._planned is not None and reply.status < 300:
            self._caching.cacher.begun(self._planned, started_us)
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        planned = self._planned
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            if planned is not None:
                self._caching.look(self._call, planned)
                if planned.plan.keep_alive and error is None:
                    self._caching.keep_alive(self._call, planned)


def _without(call: Call) -> Call:
    body = unmarked(call.body, call.fields)
    return msgspec.structs.replace(call, body=body, fields=parse_fields(body))


def _ping_of(call: Call, request_id: str, started_ns: int) -> Call:
    """The same prefix with no answer: `max_tokens` of 0 reads the cache and generates nothing."""
    body = replace_fields(call.body, call.fields, {"max_tokens": b"0", "stream": None})
    fields = {**call.fields, "max_tokens": b"0"}
    fields.pop("stream", None)
    return msgspec.structs.replace(
        call,
        request_id=request_id,
        body=body,
        fields=fields,
        stream=False,
        started_ns=started_ns,
        source=PING_SOURCE,
        deadline_ns=None,
        first_byte_ns=None,
        notes={},
    )
