"""The attempts of one call: what each upstream was asked and what became of it. Features meet here, not each other.

An attempt carries the one tap on its answer's bytes; whoever needs to know of the answer reads its `facts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from freehold.calls import Call
from freehold.clock import Clock
from freehold.errors import FreeholdError
from freehold.wire.facts import Facts
from freehold.wire.tap import Tap

_NOTE = "attempts"


class Attempt:
    """One try at one upstream."""

    __slots__ = (
        "cost_nanodollars",
        "early_failure",
        "first_read_ns",
        "lost",
        "model",
        "price_version",
        "started_ns",
        "status",
        "tap",
        "upstream",
        "upstream_request_id",
        "whole",
    )

    def __init__(
        self, upstream: str, model: str, started_ns: int, status: int | None = None, whole: Facts | None = None
    ) -> None:
        self.upstream = upstream
        self.model = model
        """What the upstream was asked for."""
        self.started_ns = started_ns
        self.status = status
        """`None`: it gave no reply."""
        self.lost = False
        """It gave no reply, and may have been billed all the same: it was on its way when it failed, or the client
        left.
        """
        self.upstream_request_id: str | None = None
        self.first_read_ns: int | None = None
        """When the first bytes of its answer's body were here."""
        self.whole = whole
        self.tap: Tap | None = None
        self.early_failure: FreeholdError | None = None
        """Why its stream failed before any content, though it had begun; nothing of it was handed on then."""
        self.cost_nanodollars: int | None = None
        """`None`: it used nothing that is known, or no price is known."""
        self.price_version: str | None = None

    def reading(self, clock: Clock) -> Callable[[bytes], None]:
        """Its answer is a stream: what is to be told the bytes of each read."""
        tap = self.tap = Tap()

        def note(data: bytes) -> None:
            if self.first_read_ns is None:
                self.first_read_ns = clock.monotonic_ns()
            tap.read(data)

        return note

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
