"""The simulator as an upstream: a Handler of Messages calls without network, sockets or cost.

What it answers comes from `claude.py`; this module only sends it, whole or in reads, at the asked pace and with
the asked faults.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from freehold.calls import Call, Headers, Read, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.simulator import stream
from freehold.simulator.brains.base import Brain
from freehold.simulator.brains.echo import Echo
from freehold.simulator.brains.planner import Planner
from freehold.simulator.claude import Asked, Character, Claude, Outcome
from freehold.simulator.model import catalog
from freehold.simulator.model.limits import Limits
from freehold.simulator.model.prompt import FileBytes
from freehold.wire.envelopes import error_body

_EVENTS_PER_READ = 8
"""Without a pace; small enough that whoever reads sees a stream, large enough to cost little."""
BRAINS: Mapping[str, type[Brain]] = {"planner": Planner, "echo": Echo}


class Simulator:
    """Claude, offline, behind the interface of every upstream.

    `brain` is `"planner"`, `"echo"` or any `Brain`; `brains` gives some models another one. The same seed and the same
    requests give the same bytes.
    """

    name = "simulator"
    counts_tokens = True

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        brain: str | Brain = "planner",
        brains: Mapping[str, str | Brain] | None = None,
        limits: Limits | None = None,
        exact_counts: bool = False,
        file_bytes: FileBytes | None = None,
        history: int = 1_000,
    ) -> None:
        self._clock = clock
        chosen = {model: brain_named(one) for model, one in (brains or {}).items()}
        self.claude = Claude(
            Character(brain_named(brain), chosen, seed, exact_counts, limits, file_bytes, history),
        )

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        """Begin the call. Errors of the simulated API are replies with their status, as from the real one."""
        asked = _asked(call)
        now_us = self._clock.now_us()
        try:
            if call.route == "count_tokens":
                yield self._whole({"input_tokens": self.claude.count(asked, now_us)}, asked, call.model, now_us)
                return
            outcome = self.claude.message(asked, now_us)
        except FreeholdError as error:
            yield _refusal(error, asked.request_id)
            return
        if outcome.waited_s:
            await self._clock.sleep(outcome.waited_s)
        if outcome.request.stream:
            reads = self._reads(outcome)
            try:
                yield Reply(
                    200, self._headers(b"text/event-stream; charset=utf-8", asked, call.model, now_us), reads=reads
                )
            finally:
                await reads.aclose()
            return
        for _, seconds in outcome.answer.waits:
            await self._clock.sleep(seconds)
        self.claude.begun(outcome, self._clock.now_us())
        self.claude.billed(outcome, outcome.answer.output_tokens, self._clock.now_us())
        yield self._whole(outcome.answer.message, asked, call.model, now_us)

    async def models(self) -> Sequence[dict[str, Any]]:
        """Every model it plays, newest first, by its id; aliases answer too."""
        return [catalog.info(model, self._clock.now_us()) for model in catalog.newest_first()]

    async def close(self) -> None:
        """Nothing is held open."""

    def _whole(self, body: object, asked: Asked, model: str, now_us: int) -> Reply:
        return Reply(200, self._headers(b"application/json", asked, model, now_us), whole=msgspec.json.encode(body))

    def _headers(self, content_type: bytes, asked: Asked, model: str, now_us: int) -> Headers:
        headers: Headers = [
            (b"content-type", content_type),
            (b"request-id", asked.request_id.encode()),
            (b"anthropic-organization-id", b"org-freehold-simulator"),
        ]
        if self.claude.limits:
            headers += self.claude.limits.headers(asked.workspace, catalog.find(model), now_us)
        return headers

    async def _reads(self, outcome: Outcome) -> AsyncGenerator[Read, None]:
        waits = dict(outcome.answer.waits)
        self.claude.begun(outcome, self._clock.now_us())
        sent = 0
        complete = False
        try:
            data = b""
            borders: list[int] = []
            for event, block, brought in stream.events(outcome.answer.message):
                if block in waits:
                    if data:
                        yield Read(data, borders)
                        data, borders = b"", []
                    await self._clock.sleep(waits.pop(block))
                data += event
                borders.append(len(data))
                sent += brought
                if len(borders) == _EVENTS_PER_READ:
                    yield Read(data, borders)
                    data, borders = b"", []
            complete = True
            if data:
                yield Read(data, borders)
        finally:
            output = outcome.answer.output_tokens
            self.claude.billed(outcome, output if complete else min(sent, output), self._clock.now_us())


def brain_named(brain: str | Brain) -> Brain:
    """The brain of that name, or the brain itself.

    Raises:
        ValueError: there is none of that name.
    """
    if not isinstance(brain, str):
        return brain
    if brain not in BRAINS:
        raise ValueError(f"there is no brain {brain!r}; known are {', '.join(sorted(BRAINS))}")
    return BRAINS[brain]()


def _asked(call: Call) -> Asked:
    caller = call.caller
    if caller is None:
        return Asked(call.body, call.request_id)
    return Asked(call.body, call.request_id, caller.workspace_id, caller.key_id)


def _refusal(error: FreeholdError, request_id: str) -> Reply:
    headers: Headers = [(b"content-type", b"application/json"), (b"request-id", request_id.encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return Reply(error.status, headers, whole=error_body(error, request_id))
