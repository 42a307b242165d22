"""The simulator as an upstream: a Handler of Messages calls without network, sockets or cost.

What it answers comes from `claude.py`; this module only sends it, whole or in reads, at the asked pace and with the
asked faults.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from freehold.calls import Call, Headers, Reply
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.simulator import sending
from freehold.simulator.brains.base import Brain
from freehold.simulator.brains.echo import Echo
from freehold.simulator.brains.planner import Planner
from freehold.simulator.claude import Asked, Character, Claude, Outcome
from freehold.simulator.faults import Fault, Faults
from freehold.simulator.model import catalog
from freehold.simulator.model.ids import Source
from freehold.simulator.model.limits import Limits
from freehold.simulator.model.prompt import FileBytes
from freehold.simulator.pace import AT_ONCE, Drawn, Pace, Spread
from freehold.wire.envelopes import error_body
from freehold.wire.headers import first

BRAINS: Mapping[str, type[Brain]] = {"planner": Planner, "echo": Echo}
IDS = "simulator.ids"
"""The note under which a face hands over the ids it has begun to use for this call."""
_JSON = b"application/json"
_STREAM = b"text/event-stream; charset=utf-8"


class Simulator:
    """Claude, offline, behind the interface of every upstream.

    `brain` is `"planner"`, `"echo"` or any `Brain`; `brains` gives some models another one. The same seed and the same
    requests give the same bytes. `limits` of `None`: none are enforced, and their headers left out.
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
        pace: Pace = AT_ONCE,
        faults: Faults | None = None,
        file_bytes: FileBytes | None = None,
        history: int = 1_000,
        keep_bodies: bool = False,
    ) -> None:
        self._clock = clock
        chosen = {model: brain_named(one) for model, one in (brains or {}).items()}
        character = Character(brain_named(brain), chosen, seed, exact_counts, limits, file_bytes, history, keep_bodies)
        self.claude = Claude(character)
        self.pace = pace
        self.faults = faults or Faults()

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        """Begin the call. Errors of the simulated API are replies with their status, as from the real one.

        Raises:
            NotAnswered: only as a fault that was ordered (`reset`).
        """
        asked = _asked(call, self.claude)
        try:
            fault = self._fault(call, asked)
            counted = self._count(asked, call) if call.route == "count_tokens" else None
            outcome = None if counted else self.claude.message(asked, self._clock.now_us())
        except FreeholdError as error:
            counted, outcome = refusal(error, asked.request_id), None
        if outcome is None:
            assert counted is not None
            yield counted
            return
        if outcome.waited_s:
            await self._clock.sleep(outcome.waited_s)
        pace = self._drawn(outcome, fault)
        if outcome.request.stream:
            async with self._stream(outcome, pace, fault) as reply:
                yield reply
        else:
            yield await self._whole(outcome, pace, fault)

    @property
    def may_wait(self) -> bool:
        """Whether replies can take time by the simulator's settings, so that it pays to notice a client that leaves."""
        return self.pace is not AT_ONCE or self.faults.any or self.claude.scripted

    async def models(self) -> Sequence[dict[str, Any]]:
        """Every model it plays, newest first, by its id; aliases answer too."""
        return [catalog.info(model, self._clock.now_us()) for model in catalog.newest_first()]

    async def close(self) -> None:
        """Nothing is held open."""

    def _fault(self, call: Call, asked: Asked) -> Fault | None:
        header = first(call.headers, b"x-freehold-fault")
        retry = first(call.headers, b"x-stainless-retry-count") or "0"
        chance = asked.ids.fraction("fault")
        tried = int(retry) if retry.isdecimal() and len(retry) < 6 else 0
        now_us = self._clock.now_us()
        try:
            fault = self.faults.for_request(call.model, header, tried, chance, now_us)
        except FreeholdError as wrong:
            self.claude.note_error(asked, wrong, call.route, now_us)
            raise
        if fault is None:
            return None
        error = fault.error()
        if error is not None and not (fault.kind == "overloaded_in_stream" and call.stream):
            self.claude.note_error(asked, error, call.route, self._clock.now_us(), fault.kind)
            raise error
        if fault.kind == "reset" and (fault.after < 0 or not call.stream):
            lost = sending.broken_off()
            self.claude.note_error(asked, lost.cause, call.route, self._clock.now_us(), fault.kind)
            raise lost
        return fault

    def _drawn(self, outcome: Outcome, fault: Fault | None) -> Drawn:
        pace = self.pace
        if fault is not None and fault.kind == "slow":
            pace = Pace(Spread(fault.seconds), Spread(max(fault.per_second, 0.01)))
        if pace is AT_ONCE:
            return Drawn(0.0, 0.0)
        return pace.draw(outcome.asked.ids.fraction("first"), outcome.asked.ids.fraction("speed"))

    def _count(self, asked: Asked, call: Call) -> Reply:
        now_us = self._clock.now_us()
        body = self.claude.count(asked, now_us)
        return Reply(200, self._headers(_JSON, asked, call.model), whole=msgspec.json.encode(body))

    async def _whole(self, outcome: Outcome, pace: Drawn, fault: Fault | None) -> Reply:
        seconds = pace.whole_s(outcome.answer.output_tokens) + sum(pause for _, pause in outcome.answer.waits)
        if fault is not None and fault.kind == "stall":
            seconds += fault.seconds
        try:
            if seconds:
                await self._clock.sleep(seconds)
        finally:
            # A whole answer is billed also when nobody waits for it any more.
            now_us = self._clock.now_us()
            self.claude.begun(outcome, now_us)
            self.claude.billed(outcome, outcome.answer.output_tokens, now_us, fault.kind if fault else None)
        body = msgspec.json.encode(outcome.answer.message)
        if fault is not None and fault.kind in ("malformed", "truncated"):
            body = body[: len(body) // 2]
        headers = self._headers(_content_type(_JSON, fault), outcome.asked, outcome.request.asked_model)
        return Reply(200, headers, whole=body)

    @asynccontextmanager
    async def _stream(self, outcome: Outcome, pace: Drawn, fault: Fault | None) -> AsyncIterator[Reply]:
        """A streamed reply; what was sent of it is billed when it ends, however that is."""
        self.claude.begun(outcome, self._clock.now_us())
        sent = sending.Sent()
        answer = outcome.answer
        harmless = fault is None or fault.kind in ("slow", "wrong_content_type")
        reads = sending.reads(
            answer.message,
            outcome.asked.request_id,
            self._clock,
            pace=pace,
            waits=dict(answer.waits),
            fault=None if harmless else fault,
            sent=sent,
        )
        headers = self._headers(_content_type(_STREAM, fault), outcome.asked, outcome.request.asked_model)
        try:
            yield Reply(200, headers, reads=reads)
        finally:
            await reads.aclose()
            output = answer.output_tokens
            if not sent.complete:
                output = min(output, -(-sent.pieces * outcome.request.model.token_percent // 100))
            self.claude.billed(outcome, output, self._clock.now_us(), fault.kind if fault else None)

    def _headers(self, content_type: bytes, asked: Asked, model: str) -> Headers:
        headers: Headers = [
            (b"content-type", content_type),
            (b"request-id", asked.request_id.encode()),
            (b"anthropic-organization-id", b"org-freehold-simulator"),
        ]
        if self.claude.limits:
            headers += self.claude.limits.headers(asked.workspace, catalog.find(model), self._clock.now_us())
        return headers


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


def refusal(error: FreeholdError, request_id: str) -> Reply:
    """An error as a reply, with its headers."""
    headers: Headers = [(b"content-type", _JSON), (b"request-id", request_id.encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return Reply(error.status, headers, whole=error_body(error, request_id))


def _content_type(right: bytes, fault: Fault | None) -> bytes:
    return b"text/html; charset=utf-8" if fault and fault.kind == "wrong_content_type" else right


def _asked(call: Call, claude: Claude) -> Asked:
    caller = call.caller
    workspace = caller.workspace_id if caller else "default"
    noted = call.notes.get(IDS)
    ids = noted if isinstance(noted, Source) else claude.ids.source(workspace, call.body)
    return Asked(call.body, call.request_id, ids, workspace, caller.key_id if caller else "default")
