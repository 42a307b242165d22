"""Faults on order: what goes wrong, and for which requests. Sends nothing itself; `sending.py` carries a fault out.

A fault comes from the request's own header (`x-freehold-fault: overloaded; times=2`), or from an order: the next so
many requests, every nth, the nth, a share of them by chance, or all within a span of time; of one model or of all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from freehold.errors import FreeholdError, InvalidRequest
from freehold.wire.envelopes import error_from

Kind = Literal[
    "rate_limit",
    "api_error",
    "bad_gateway",
    "unavailable",
    "timeout",
    "overloaded",
    "overloaded_in_stream",
    "reset",
    "stall",
    "slow",
    "malformed",
    "truncated",
    "wrong_content_type",
]
KINDS: tuple[str, ...] = get_args(Kind)
_STATUS: Mapping[str, tuple[int, str, str]] = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "api_error": (500, "api_error", "Internal server error"),
    "bad_gateway": (502, "api_error", "Bad gateway"),
    "unavailable": (503, "api_error", "Service unavailable"),
    "timeout": (504, "timeout_error", "Request timed out"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "overloaded_in_stream": (529, "overloaded_error", "Overloaded"),
}
_LONGEST_S = 600.0
_MOST_ORDERS = 100
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    `after` counts tokens that are sent before a stream is hit (0: after `message_start`, before the first token); for
    `reset` -1 is before the answer. `seconds` is how long a `stall` lasts, or the time to the first token of `slow`.
    """

    kind: Kind
    after: int = 0
    seconds: float = 1.0
    per_second: float = 5.0
    """Tokens per second of `slow`."""
    retry_after_s: float | None = None
    retry_after_ms: float | None = None

    def error(self) -> FreeholdError | None:
        """The error answer that the fault is, if it is one."""
        if self.kind not in _STATUS:
            return None
        status, kind, message = _STATUS[self.kind]
        error = error_from({"type": kind, "message": message}, status)
        if self.retry_after_s is not None:
            error.headers["retry-after"] = f"{self.retry_after_s:g}"
        if self.retry_after_ms is not None:
            error.headers["retry-after-ms"] = f"{self.retry_after_ms:g}"
        return error


@dataclass(frozen=True, slots=True)
class Order:
    """A fault and whom it hits. Of several conditions all must hold; none given: every request."""

    fault: Fault
    times: int | None = None
    """So many requests, then no more."""
    every: int | None = None
    at: tuple[int, ...] = ()
    """Of the requests since the order, counted from 1."""
    rate: float | None = None
    """A share of the requests, from 0 to 1; which ones follows from the seed."""
    model: str | None = None
    from_us: int | None = None
    until_us: int | None = None


@dataclass(slots=True)
class _Standing:
    order: Order
    seen: int = 0
    hit: int = 0

    def meets(self, model: str, chance: float, now_us: int) -> bool:
        order = self.order
        if order.model is not None and order.model != model:
            return False
        if order.from_us is not None and now_us < order.from_us:
            return False
        if order.until_us is not None and now_us >= order.until_us:
            return False
        self.seen += 1
        due = (
            (order.every is None or self.seen % order.every == 0)
            and (not order.at or self.seen in order.at)
            and (order.rate is None or chance < order.rate)
            and (order.times is None or self.hit < order.times)
        )
        self.hit += due
        return due


class Faults:
    """The orders that stand."""

    def __init__(self) -> None:
        self._standing: list[_Standing] = []

    def order(self, order: Order) -> None:
        """Add an order; of several that meet a request the oldest wins.

        Raises:
            InvalidRequest: a hundred stand already.
        """
        if len(self._standing) >= _MOST_ORDERS:
            raise InvalidRequest(f"faults: {_MOST_ORDERS} orders stand already; clear them first")
        self._standing.append(_Standing(order))

    def clear(self) -> None:
        """Let everything work again."""
        self._standing.clear()

    def for_request(self, model: str, header: str | None, retry: int, chance: float, now_us: int) -> Fault | None:
        """The fault that hits a request, if any.

        `retry` is how often the client has tried this request already (`x-stainless-retry-count`), for `times=` in the
        header; `chance` a number in [0, 1) that belongs to the request.

        Raises:
            InvalidRequest: the header names no fault.
        """
        if header is not None:
            fault, times = from_header(header)
            return fault if times is None or retry < times else None
        # Every order draws for itself: two of one percent hit two different percents.
        hits = [
            standing
            for index, standing in enumerate(self._standing)
            if standing.meets(model, (chance + index * _GOLDEN) % 1, now_us)
        ]
        self._standing = [one for one in self._standing if one.order.times is None or one.hit < one.order.times]
        return hits[0].order.fault if hits else None

    @property
    def any(self) -> bool:
        """Whether an order stands."""
        return bool(self._standing)

    def show(self) -> list[dict[str, Any]]:
        """The orders as JSON, with how many requests each has seen and hit."""
        return [{**dataclasses.asdict(one.order), "seen": one.seen, "hit": one.hit} for one in self._standing]


_HEADER_NUMBERS = ("after", "seconds", "per_second", "retry_after_s", "retry_after_ms", "times")


def from_header(text: str) -> tuple[Fault, int | None]:
    """The fault of a header value such as `stall; after=3; seconds=2; times=1`, and its `times`.

    Raises:
        InvalidRequest: it is none; the message lists the kinds or the settings.
    """
    kind, *settings = (part.strip() for part in text.split(";"))
    given: dict[str, Any] = {"kind": kind}
    for setting in filter(None, settings):
        name, _, value = setting.partition("=")
        given[name.strip()] = value.strip()
    times = given.pop("times", None)
    return fault_from(given, "x-freehold-fault"), None if times is None else int(
        _number(times, "times", "x-freehold-fault")
    )


def fault_from(given: Mapping[str, Any], where: str) -> Fault:
    """A fault from its settings, each checked.

    Raises:
        InvalidRequest: names what is wrong.
    """
    kind = given.get("kind")
    if kind not in KINDS:
        raise InvalidRequest(f"{where}: {str(kind)[:60]!r} is no fault. Known are {', '.join(KINDS)}.")
    numbers = {}
    for name, value in given.items():
        if name == "kind":
            continue
        if name not in _HEADER_NUMBERS[:-1]:
            raise InvalidRequest(f"{where}: {name[:60]!r} is no setting. Known are {', '.join(_HEADER_NUMBERS)}.")
        numbers[name] = _number(value, name, where)
    after = int(numbers.pop("after", -1 if kind == "reset" else 0))
    return Fault(kind=kind, after=after, **numbers)


def order_from(given: Mapping[str, Any]) -> Order:
    """An order from JSON: the fault's settings, and `times`, `every`, `at`, `rate`, `model`, `from_us`, `until_us`.

    Raises:
        InvalidRequest: names what is wrong.
    """
    names = ("times", "every", "at", "rate", "model", "from_us", "until_us")
    own = {name: given[name] for name in names if given.get(name) is not None}
    fault = fault_from({name: value for name, value in given.items() if name not in names}, "faults")
    if "at" in own:
        values = own["at"] if isinstance(own["at"], list) else [own["at"]]
        own["at"] = tuple(int(_number(value, "at", "faults")) for value in values[:1000])
    for name in ("times", "every", "from_us", "until_us"):
        if name in own:
            own[name] = max(1 if name == "every" else 0, int(_number(own[name], name, "faults", most=float(1 << 62))))
    if "rate" in own and not 0 <= (rate := _number(own["rate"], "rate", "faults")) <= 1:
        raise InvalidRequest(f"faults: rate must be from 0 to 1, not {rate:g}")
    if not isinstance(own.get("model", ""), str):
        raise InvalidRequest("faults: model must be a model id")
    return Order(fault, **own)


def _number(value: object, name: str, where: str, *, most: float = 1e9) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidRequest(f"{where}: {name} must be a number") from None
    limit = _LONGEST_S if name == "seconds" else most
    if isinstance(value, bool) or not -1 <= number <= limit:
        raise InvalidRequest(f"{where}: {name} must be a number up to {limit:g}")
    return number
