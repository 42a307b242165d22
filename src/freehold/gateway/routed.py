"""What routing leaves on a call whose model it has chosen: for the header of its answer, and for its record."""

from __future__ import annotations

from typing import cast

from freehold.calls import Call

ROUTE = b"x-freehold-route"
_NOTE = "routed"


class Routed:
    """`said` is the header's value; the rest goes into the row of the call, see `store/tables.py`."""

    __slots__ = ("conversation", "decided", "said")

    def __init__(self, said: bytes, conversation: str | None, decided: str) -> None:
        self.said = said
        self.conversation = conversation
        self.decided = decided


_NOT = (None, None)


def note_routed(call: Call, routed: Routed) -> None:
    """Note it on the call."""
    call.notes[_NOTE] = routed


def said_of(call: Call) -> bytes | None:
    """What the header shall say; `None`: the client named its model."""
    found = cast("Routed | None", call.notes.get(_NOTE))
    return found.said if found is not None else None


def decided_of(call: Call) -> tuple[str | None, str | None]:
    """(name of the conversation, decision), as the row has them."""
    found = cast("Routed | None", call.notes.get(_NOTE))
    return (found.conversation, found.decided) if found is not None else _NOT
