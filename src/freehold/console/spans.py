"""Spans of time that pages show: how long, and in buckets of which width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold.console.visit import Visit


@dataclass(frozen=True, slots=True)
class Span:
    """The last so many seconds, in buckets that the API names."""

    seconds: int
    width: str

    def query(self, visit: Visit) -> Mapping[str, str]:
        """What asks `/freehold/v1/traffic` for it; an admin sees all workspaces."""
        whose = "all" if visit.admin else "own"
        return {"starting_at": self.since(), "bucket_width": self.width, "workspaces": whose}

    def since(self) -> str:
        """When it began, if it ends now."""
        return (datetime.now(UTC) - timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


SPANS: Mapping[str, Span] = {
    "hour": Span(3_600, "1m"),
    "day": Span(86_400, "1h"),
    "week": Span(7 * 86_400, "1h"),
    "month": Span(30 * 86_400, "1d"),
}


def span_of(name: str) -> Span:
    """The span of that name, or a day."""
    return SPANS.get(name, SPANS["day"])
