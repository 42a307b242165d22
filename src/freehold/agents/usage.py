"""What a session has used so far, as a value that only grows. Knows no prices: a cost is handed in with the tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from freehold.money import NANODOLLARS_PER_CENT


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts of one or many model requests."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    web_searches: int = 0
    web_fetches: int = 0
    cost_nanodollars: int | None = 0
    """At list prices; `None` as soon as one request had no known price."""

    @property
    def context(self) -> int:
        """All that was in the window: the prompt, cached or not, and the answer."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.output

    def plus(self, other: Tokens) -> Tokens:
        """Both together."""
        cost = None
        if self.cost_nanodollars is not None and other.cost_nanodollars is not None:
            cost = self.cost_nanodollars + other.cost_nanodollars
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write_5m + other.cache_write_5m,
            self.cache_write_1h + other.cache_write_1h,
            self.web_searches + other.web_searches,
            self.web_fetches + other.web_fetches,
            cost,
        )

    def as_json(self) -> dict[str, Any]:
        """For a row; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Tokens:
        """What `as_json` gave."""
        return cls(**stored)


def stored(tokens: Tokens, active_us: int) -> str:
    """For the `usage` column of a session."""
    return msgspec.json.encode({"tokens": tokens.as_json(), "active_us": active_us}).decode()


def shown(stored_usage: dict[str, Any]) -> dict[str, Any]:
    """The `usage` that the API shows, from that column; `{}` is a session that has not run yet."""
    return snapshot(tokens_of(stored_usage), stored_usage.get("active_us", 0))


def tokens_of(stored_usage: dict[str, Any]) -> Tokens:
    """The counts in that column."""
    return Tokens.from_json(stored_usage["tokens"]) if stored_usage else Tokens()


def model_usage(tokens: Tokens, speed: str | None = None) -> dict[str, Any]:
    """The `model_usage` of a `span.model_request_end`."""
    shown: dict[str, Any] = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
    }
    if speed in ("standard", "fast"):
        shown["speed"] = speed
    return shown


def snapshot(tokens: Tokens, active_us: int) -> dict[str, Any]:
    """The `usage` of a session, a thread and a `session.usage` event.

    `list_cost` is in whole cents, rounded to the nearest, and left out while a used model has no known price.
    """
    shown: dict[str, Any] = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "server_tool_use": {"web_search_requests": tokens.web_searches, "web_fetch_requests": tokens.web_fetches},
        "active_seconds": active_us / 1_000_000,
    }
    if tokens.cost_nanodollars is not None:
        cents = (tokens.cost_nanodollars + NANODOLLARS_PER_CENT // 2) // NANODOLLARS_PER_CENT
        shown["list_cost"] = {"amount": str(cents), "currency": "USD"}
    return shown
