"""Which engine works on a new batch: what the operator says, or else the cheaper one that can keep the deadline."""

from __future__ import annotations

from freehold.batches.lifecycle import EXPIRES_US, Chooser
from freehold.errors import InvalidRequest, Misconfigured
from freehold.store.batches import Engine

PROMISED_S = EXPIRES_US / 1_000_000
"""An upstream's batch API promises nothing sooner than this."""


def chooser(chosen: str, *, has_batches: bool, cheaper: bool) -> Chooser:
    """From a batch's deadline in seconds (`None`: none but its 24 hours), whether a hard budget holds for it, and an
    alias in it whose model is chosen here (`None`: there is none), to its engine. What is handed to an upstream cannot
    be stopped or decided call by call, so such a batch is worked on here.

    `chosen` is the setting, `has_batches` whether the upstream has a batch API that can be used, `cheaper` whether that
    is known to cost less than single calls.

    Raises:
        Misconfigured: the setting names no engine, or one that this upstream does not have.
    """
    if chosen not in ("auto", "local", "upstream"):
        raise Misconfigured(f"batch_engine: must be auto, local or upstream, not {chosen!r}")
    if chosen == "upstream" and not has_batches:
        raise Misconfigured("batch_engine is upstream, but this upstream has no batch API; set it to auto or local")

    def choose(deadline_s: float | None, limited: bool, left: str | None = None) -> Engine:
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
        if chosen == "upstream" and left is not None:
            raise InvalidRequest(
                f"requests: the model {left[:80]!r} is chosen here, call by call, and this server hands every batch to "
                "its upstream, which does not know it: name a model, or set batch_engine to auto or local."
            )
        if chosen == "auto":
            here = hurried or limited or left is not None
            return "upstream" if has_batches and cheaper and not here else "local"
        return "upstream" if chosen == "upstream" else "local"

    return choose
