"""What a brain is: from what the model sees to a list of steps. Knows no ids, tokens, streams or limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from freehold.simulator.model.request import Request


@dataclass(frozen=True, slots=True)
class Think:
    """Thinking; left out by the simulator when the request does not allow any."""

    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """Text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Use:
    """A tool call."""

    name: str
    input: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds before the next step is sent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an HTTP error instead; only as the first step (after waits)."""

    status: int
    type: str
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Stop with `refusal`; what was said before stands."""

    category: str | None = None
    explanation: str | None = None


Step = Think | Say | Use | Wait | Fail | Refuse


class Brain(Protocol):
    """Writes answers. It must give the same steps for the same request."""

    def answer(self, request: Request) -> Sequence[Step]:
        """The steps of the reply to a request that has passed every rule."""
        ...
