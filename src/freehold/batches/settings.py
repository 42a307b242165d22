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
    batch_chunk_requests: int = setting(
        5_000, "Requests that are handed to the upstream's batch API in one piece, at most; so many are in memory."
    )
    offload_hold_s: float = setting(
        300.0, "How long a call with `x-freehold-offload` is held for others to come, before a batch is made.", unit="s"
    )
    offload_reserve_s: float = setting(
        180.0, "So long before its deadline a call that no batch has answered is asked interactively.", unit="s"
    )
    offload_batch_s: float = setting(
        3600.0, "How long a batch of such calls is expected to take, until twenty of them have shown it.", unit="s"
    )
    batch_poll_s: float = setting(
        60.0, "The longest time between two looks at a batch of the upstream's; the first come sooner.", unit="s"
    )
