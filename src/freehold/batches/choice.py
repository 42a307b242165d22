"""Which engine works on a new batch: what the operator says, or else the cheaper one that can keep the deadline."""

from __future__ import annotations

from collections.abc import Callable

from freehold.batches.lifecycle import EXPIRES_US
from freehold.errors import InvalidRequest, Misconfigured
from freehold.store.batches import Engine

PROMISED_S = EXPIRES_US / 1_000_000
"""An upstream's batch API promises nothing sooner than this."""


def chooser(chosen: str, *, has_batches: bool, cheaper: bool) -> Callable[[float | None, bool], Engine]:
    """From a batch's deadline in seconds (`None`: none but its 24 hours) and whether a hard budget holds for it to its
    engine. What is handed to an upstream cannot be stopped call by call, so a limited batch is worked on here.

    `chosen` is the setting, `has_batches` whether the upstream has a batch API that can be used, `cheaper` whether that
    is known to cost less than single calls.

    Raises:
        Misconfigured: the setting names no engine, or one that this upstream does not have.
    """
    if chosen not in ("auto", "local", "upstream"):
        raise Misconfigured(f"batch_engine: must be auto, local or upstream, not {chosen!r}")
    if chosen == "upstream" and not has_batches:
        raise Misconfigured("batch_engine is upstream, but this upstream has no batch API; set it to auto or local")

    def choose(deadline_s: float | None, limited: bool) -> Engine:
        hurried = deadline_s is not None and deadline_s < PROMISED_S
        if chosen == "upstream" and hurried:
            raise InvalidRequest(
                "x-freehold-deadline-s: this server hands every batch to its upstream, which promises nothing within "
                "24 hours; leave the header out."
            )
        if chosen == "upstream" and limited:
            raise InvalidRequest(
                "A hard budget holds for this batch, and this server hands every batch to its upstream, which cannot "
                "be held to it: set batch_engine to auto or local, or make the budget a soft one."
            )
        if chosen == "auto":
            return "upstream" if has_batches and cheaper and not hurried and not limited else "local"
        return "upstream" if chosen == "upstream" else "local"

    return choose
