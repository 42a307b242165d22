"""What a session does next, decided from its fold alone. Pure: the same session always gives the same step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.agents.caps import REACHED, is_reached
from freehold.agents.session import Session, ToolCall

MOST_PAUSES = 20
"""Replies in a row that stop with `pause_turn`: the API pauses after 10 rounds of its own tools each time."""


Waiting = Literal["this_turn", "next_turn", "kept", "flushed"]
"""What becomes of messages that wait when a turn ends: they are taken into this turn, which goes on; the session goes
idle and they begin the next turn at once; they go on waiting (for results that the model is owed first); or they are
put into the log and the session goes idle all the same (the turn is dead, a person must say how to go on)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Put the transcript to the model."""


@dataclass(frozen=True, slots=True)
class RunTools:
    """Answer these calls, each by running it or by saying why not."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Go idle."""

    stop_reason: Mapping[str, Any]
    stop_details: Mapping[str, Any] | None = None
    waiting: Waiting = "next_turn"


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Close every open call and go idle."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The wait after a failure is over: say that it runs again, then go on."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing: it is idle or has ended."""


Step = Ask | RunTools | Finish | Interrupt | Resume | Rest


def next_step(session: Session) -> Step:
    """What to do with a session as it stands."""
    if session.interrupted:
        return Interrupt()
    if session.status in ("idle", "terminated"):
        return Rest()
    if session.status == "rescheduling":
        return Resume()
    if session.open_calls:
        return _with_open_calls(session.open_calls)
    if session.pauses > MOST_PAUSES:
        return Finish({"type": "end_turn"})
    if session.owes_reply:
        return Finish(REACHED, waiting="kept") if is_reached(session.cap_cents, session.tokens) else Ask()
    return _finish(session)


def _with_open_calls(calls: list[ToolCall]) -> Step:
    runnable = tuple(call for call in calls if call.runnable)
    if runnable:
        return RunTools(runnable)
    waiting = [call.id for call in calls]
    return Finish({"type": "requires_action", "event_ids": waiting}, waiting="kept")


def _finish(session: Session) -> Finish:
    if session.last_stop == "refusal":
        return Finish({"type": "refusal"}, session.last_stop_details)
    if session.last_stop == "model_context_window_exceeded":
        return Finish({"type": "retries_exhausted"}, waiting="flushed")
    return Finish({"type": "end_turn"}, waiting="this_turn")
