"""What the simulated Claude billed: every request of late, and totals per key since the start.

Computed from `model.prices` alone, so that a gateway's bill can be held against it. Bounded: of single requests the
latest are kept, of keys so many; what falls out of the list stays in the totals.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

MOST_KEYS = 10_000
OTHERS = "(others)"
"""Where the totals of further keys go, so that no key can fill the memory."""


class Line(msgspec.Struct, frozen=True):
    """One answered request on the bill. `status` other than 200, or a count, costs nothing."""

    request_id: str
    key: str
    workspace: str
    at_us: int
    model: str = ""
    route: str = "messages"
    status: int = 200
    error_type: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    nanodollars: int = 0
    batch: bool = False
    message_id: str | None = None
    fault: str | None = None


@dataclass(slots=True)
class Total:
    """Sums over requests."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    nanodollars: int = 0

    def add(self, line: Line) -> None:
        """Count one line in."""
        self.requests += 1
        self.errors += line.status >= 400
        self.input_tokens += line.input_tokens
        self.output_tokens += line.output_tokens
        self.cache_read_tokens += line.cache_read_tokens
        self.cache_write_tokens += line.cache_write_5m_tokens + line.cache_write_1h_tokens
        self.nanodollars += line.nanodollars


@dataclass(slots=True)
class Account:
    """The bill of one simulator; `most_lines` requests are kept one by one."""

    most_lines: int = 1_000
    total: Total = field(default_factory=Total)
    _lines: deque[Line] = field(init=False)
    _by_key: OrderedDict[str, Total] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._lines = deque(maxlen=self.most_lines)

    def add(self, line: Line) -> None:
        """Put one request on the bill."""
        self._lines.append(line)
        self.total.add(line)
        key = line.key if line.key in self._by_key or len(self._by_key) < MOST_KEYS else OTHERS
        if key not in self._by_key:
            self._by_key[key] = Total()
        self._by_key[key].add(line)

    def lines(self, *, key: str | None = None, request_id: str | None = None) -> Sequence[Line]:
        """The latest lines, oldest first, of one key or one request if asked."""
        return [
            line
            for line in self._lines
            if (key is None or line.key == key) and (request_id is None or line.request_id == request_id)
        ]

    def of_key(self, key: str) -> Total:
        """The totals of one key; zeros for one never seen."""
        return self._by_key.get(key, Total())

    def show(self) -> dict[str, Any]:
        """All totals as JSON."""
        return {"total": asdict(self.total), "keys": {key: asdict(total) for key, total in self._by_key.items()}}
