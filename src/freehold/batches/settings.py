"""Settings of message batches."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.config import setting


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Who works on message batches, and how hard."""

    batch_engine: str = setting(
        "auto",
        "`local`: each request is a call through the gateway; `upstream`: the upstream's own batch API, at half "
        "price; `auto`: the upstream's where it has one and the deadline allows, else local.",
    )
    batch_concurrency: int = setting(
        64, "Calls of batches that one server process has open at once, at most; fewer while others use the upstream."
    )
    batch_attempts: int = setting(
        5, "How often a request of a batch is tried that fails inside the upstream, before its result is `errored`."
    )
    batch_poll_s: float = setting(
        60.0, "The longest time between two looks at a batch of the upstream's; the first come sooner.", unit="s"
    )
