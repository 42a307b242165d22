"""The attempts of one call: what each upstream was asked and what became of it. Features meet here, not each other.

An attempt carries the one tap on its answer's bytes; whoever needs to know of the answer reads its `facts`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.calls import Call
from freehold.errors import FreeholdError
from freehold.wire.facts import Facts, Tap

_NOTE = "attempts"


class Attempt(msgspec.Struct):
    """One try at one upstream."""

    upstream: str
    model: str
    """What the upstream was asked for."""
    started_ns: int
    status: int | None = None
    """`None`: it gave no reply."""
    lost: bool = False
    """It gave no reply, and may have been billed all the same: it was on its way when it failed, or the client left."""
    upstream_request_id: str | None = None
    first_read_ns: int | None = None
    """When the first bytes of its answer's body were here."""
    whole: Facts | None = None
    tap: Tap | None = None
    early_failure: FreeholdError | None = None
    """Why its stream failed before any content, though it had begun; nothing of it was handed on then."""
    cost_nanodollars: int | None = None
    """`None`: it used nothing that is known, or no price is known."""
    price_version: str | None = None

    @property
    def facts(self) -> Facts:
        """What is known of its answer by now."""
        if self.whole is not None:
            return self.whole
        return self.tap.facts if self.tap is not None else _NOTHING


_NOTHING = Facts()


def attempts_of(call: Call) -> list[Attempt]:
    """The attempts so far, in order; the last one is that which was answered, if any was."""
    found: Any = call.notes.get(_NOTE)
    if found is None:
        found = call.notes[_NOTE] = []
    attempts: list[Attempt] = found
    return attempts
