"""What features need to know of an answer, whole or streamed: who answered, why it stopped, what it used, what failed.

Both forms have the same facts, so that record, budgets and retries never ask which it was. `tap` reads them.
"""

from __future__ import annotations

import msgspec


class Iteration(msgspec.Struct, frozen=True, gc=False):
    """One model pass inside an answer (beta): the message's top-level numbers leave out some of them (compaction)."""

    kind: str
    model: str | None
    input_tokens: int
    output_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_read_tokens: int


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What an answer used. `input_tokens` are those after the last cache breakpoint: the whole input is the four added.

    `None` where the upstream did not say.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    web_searches: int = 0
    web_fetches: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: tuple[Iteration, ...] = ()


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is known of an answer by now."""

    message_id: str | None = None
    model: str | None = None
    """The model that answered; a fallback may have changed it."""
    stop_reason: str | None = None
    usage: Usage | None = None
    error_type: str | None = None
    error_message: str | None = None
    complete: bool = False
    """It ended as it should: a whole JSON answer, or a stream up to its `message_stop`. An error is not complete."""
    begun: bool = False
    """Something of a message is there: a 2xx JSON answer, or `message_start`."""
