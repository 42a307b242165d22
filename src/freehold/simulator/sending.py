"""Sends one reply as reads of a stream, at its pace and with its fault, and says how much of it was sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from freehold.calls import Attempted, NotAnswered
from freehold.clock import Clock
from freehold.errors import UpstreamFailed
from freehold.simulator import stream
from freehold.simulator.faults import Fault
from freehold.simulator.pace import Drawn
from freehold.wire.reads import Read

_EVENTS_PER_READ = 8
"""Without a pace; small enough that whoever reads sees a stream, large enough to cost little."""
_BROKEN_FRAME = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_d\n\n'


@dataclass(slots=True)
class Sent:
    """How far a stream has got."""

    pieces: int = 0
    complete: bool = False


@dataclass(slots=True)
class _Buffer:
    data: bytes = b""
    borders: list[int] = field(default_factory=list)

    def add(self, event: bytes) -> None:
        self.data += event
        self.borders.append(len(self.data))

    def take(self) -> Read:
        read = Read(self.data, self.borders)
        self.data, self.borders = b"", []
        return read


def broken_off() -> NotAnswered:
    """What a connection reset is to the caller of an upstream."""
    return NotAnswered(Attempted.UNANSWERED, UpstreamFailed("The connection was reset by the upstream."))


async def reads(
    message: dict[str, Any],
    request_id: str,
    clock: Clock,
    *,
    pace: Drawn,
    waits: dict[int, float],
    fault: Fault | None,
    sent: Sent,
) -> AsyncGenerator[Read, None]:
    """The stream of a message. `waits` are pauses before content blocks; `sent` is kept up to date.

    Raises:
        NotAnswered: the fault is a reset in the middle.
    """
    buffer = _Buffer()
    paced = bool(pace.first_s or pace.per_token_s)
    first = True
    for event, block, brought in stream.events(message):
        if fault is not None and (sent.pieces >= fault.after and (brought or block < 0 < sent.pieces)):
            if buffer.borders:
                yield buffer.take()
            if fault.kind == "stall":
                await clock.sleep(fault.seconds)
            elif fault.kind != "slow":
                for last in _ending(fault, request_id):
                    yield last
                return
            fault = None
        pause = waits.pop(block, 0.0)
        if paced and brought:
            pause += (pace.first_s if first else 0.0) + brought * pace.per_token_s
            first = False
        if pause:
            if buffer.borders:
                yield buffer.take()
            await clock.sleep(pause)
        buffer.add(event)
        sent.pieces += brought
        if len(buffer.borders) >= _EVENTS_PER_READ:
            yield buffer.take()
    sent.complete = True
    if buffer.borders:
        yield buffer.take()


def _ending(fault: Fault, request_id: str) -> list[Read]:
    """The last read of a stream that a fault ends."""
    if fault.kind == "reset":
        raise broken_off()
    if fault.kind == "overloaded_in_stream":
        event = stream.error_event("overloaded_error", "Overloaded", request_id)
        return [Read(event, [len(event)])]
    if fault.kind == "malformed":
        return [Read(_BROKEN_FRAME, [len(_BROKEN_FRAME)])]
    return []  # truncated: it just ends
