"""What traffic would have cost with other breakpoints: it passes the simulator's prompt cache, once for each way.

Costs are those of input alone, as the simulator bills them; output is the same for all. The bound is clairvoyant and
knows no minimum, no limit of breakpoints and no look-back: each token of a prefix is read if any earlier request within
the time to live wrote it, else written once at the cheapest rate that pays, or not at all. No I/O.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from freehold.calls import Call, Caller
from freehold.errors import FreeholdError
from freehold.gateway.caching.cacher import Cacher, CachingSettings, Planned
from freehold.gateway.caching.unmarking import unmarked
from freehold.gateway.middleware.caching import MOST_PINGS, PING_AFTER_S
from freehold.gateway.reading import read_call
from freehold.ledger.rates import Rates
from freehold.simulator import contexts
from freehold.simulator.model import catalog, prices
from freehold.simulator.model import request as requests
from freehold.simulator.model.cache import Breakpoint, PrefixCache, breakpoints
from freehold.simulator.model.prompt import Position, Prompt, lay_out
from freehold.simulator.model.request import Request
from freehold.wire import contract
from freehold.wire.envelopes import parse_fields
from freehold.wire.facts import Usage

_SECOND_US = 1_000_000
_SYSTEM_LEVEL = 1
_5M_US, _1H_US = 300 * _SECOND_US, 3600 * _SECOND_US


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request: when, and what, with the breakpoints that its client has set."""

    at_us: int
    request: dict[str, Any]
    begun_after_us: int = _SECOND_US
    """Then its answer had begun, and others saw what it wrote into the cache."""
    key_id: str = ""
    source: str | None = None
    task_type: str | None = None


class Read(msgspec.Struct, frozen=True):
    """A request as the model sees it."""

    sent: Sent
    request: Request
    prompt: Prompt


def read(sent: Sent) -> Read:
    """The request laid out as a prefix.

    Raises:
        FreeholdError: it asks for a model, or for something else, that the simulator does not know.
    """
    contract.check("messages.create", sent.request)
    return Read(sent, *_seen(sent.request))


def readable(traffic: Sequence[Sent]) -> tuple[list[Read], list[str]]:
    """The requests that can be replayed, in the order of their times, and why each of the others cannot."""
    found, refused = [], []
    for sent in sorted(traffic, key=lambda one: one.at_us):
        try:
            found.append(read(sent))
        except FreeholdError as error:
            refused.append(error.message)
    return found, refused


def _seen(body: Mapping[str, Any]) -> tuple[Request, Prompt]:
    managed = contexts.read(*_laid_out(body), _laid_out)
    return managed.request, managed.prompt


def _laid_out(body: Mapping[str, Any]) -> tuple[Request, Prompt]:
    request = requests.read(body, catalog.find(body["model"]))
    return request, lay_out(request)


def _none(_request: Request, _prompt: Prompt) -> list[Breakpoint]:
    return []


def _automatic(_request: Request, prompt: Prompt) -> list[Breakpoint]:
    """Anthropic's automatic caching: one breakpoint that moves along at the end."""
    return _last(prompt, lambda position: position.eligible)


def _two_points(request: Request, prompt: Prompt) -> list[Breakpoint]:
    """Two fixed points: the system prompt, or the tools where there is none, and the end."""
    start = _last(prompt, lambda position: position.eligible and position.level <= _SYSTEM_LEVEL)
    return [*start, *_automatic(request, prompt)]


def _last(prompt: Prompt, fits: Callable[[Position], bool]) -> list[Breakpoint]:
    places = (at for at in range(len(prompt.positions) - 1, -1, -1) if fits(prompt.positions[at]))
    return [Breakpoint(at, "5m") for at in places][:1]


WAYS: Mapping[str, Callable[[Request, Prompt], Sequence[Breakpoint]]] = {
    "no_cache": _none,
    "clients_marks": breakpoints,
    "automatic": _automatic,
    "two_fixed_points": _two_points,
}
"""Ways that look at one request alone."""


class Simulated:
    """The prompt cache of a simulated Claude that is asked on a clock of the traffic's, and what it bills for input."""

    def __init__(self) -> None:
        self.nanodollars = 0
        self._cache = PrefixCache()
        self._waiting: list[tuple[int, int, int, Any]] = []
        self._count = 0

    def ask(self, request: Request, prompt: Prompt, points: Sequence[Breakpoint], at_us: int, begun_us: int) -> Usage:
        """Send one request; what of it was read, written, and neither."""
        while self._waiting and self._waiting[0][0] <= at_us:
            seen_us, _, started_us, plan = heapq.heappop(self._waiting)
            self._cache.commit(plan, started_us, seen_us)
        made = self._cache.plan("", prompt, points, request.model.cache_minimum, at_us)
        self._count += 1
        heapq.heappush(self._waiting, (begun_us, self._count, at_us, made))
        used = prices.Tokens(made.uncached, 0, made.write_5m, made.write_1h, made.read)
        self.nanodollars += prices.bill(request.model.id, used, at_us, geo=request.geo, speed=request.speed)
        return Usage(made.uncached, 0, made.write_5m, made.write_1h, made.read)


def fixed(traffic: Sequence[Read], way: Callable[[Request, Prompt], Sequence[Breakpoint]]) -> int:
    """Nanodollars of input with the breakpoints of that way."""
    simulated = Simulated()
    for one in traffic:
        at_us = one.sent.at_us
        points = way(one.request, one.prompt)
        simulated.ask(one.request, one.prompt, points, at_us, at_us + one.sent.begun_after_us)
    return simulated.nanodollars


class Ours:
    """The same planner that the gateway runs, on requests without marks; it starts knowing nothing."""

    def __init__(self, rates: Rates) -> None:
        self.simulated = Simulated()
        self.cacher = Cacher(CachingSettings(), rates)
        self.pings = 0
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0

    def run(self, traffic: Sequence[Read]) -> int:
        """Nanodollars of input, pings included."""
        for one in traffic:
            while self._due and self._due[0][0] <= one.sent.at_us:
                at_us, _, act = heapq.heappop(self._due)
                act(at_us)
            self._ask(one)
        return self.simulated.nanodollars

    def _later(self, at_us: int, act: Callable[[int], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (at_us, self._count, act))

    def _ask(self, one: Read) -> None:
        sent, call = one.sent, call_of(one.sent)
        now_us, begun_us = sent.at_us, sent.at_us + sent.begun_after_us
        planned = self.cacher.plan(call, now_us)
        if planned is None:
            self.simulated.ask(one.request, one.prompt, (), now_us, begun_us)
            return
        body, _ = self.cacher.marked(call, planned)
        request, prompt = _seen(msgspec.json.decode(body))
        points = breakpoints(request, prompt)
        usage = self.simulated.ask(request, prompt, points, now_us, begun_us)
        self._later(begun_us, lambda _: self.cacher.begun(planned, now_us))
        self.cacher.answered(call, planned, usage, now_us)
        if planned.plan.keep_alive:

            def ping(at_us: int) -> None:  # as with max_tokens of 0: only input is billed here
                self.simulated.ask(request, prompt, points, at_us, at_us + sent.begun_after_us)

            self._ping_later(ping, planned, now_us, planned.plan.ends[-1].node.last_us, MOST_PINGS)

    def _ping_later(self, ping: Callable[[int], None], planned: Planned, at_us: int, seen_us: int, left: int) -> None:
        def due(now_us: int) -> None:
            if planned.plan.ends[-1].node.last_us == seen_us:
                self.pings += 1
                ping(now_us)
                self.cacher.begun(planned, now_us)
                if left > 1:
                    self._ping_later(ping, planned, now_us, seen_us, left - 1)

        self._later(at_us + round(PING_AFTER_S * _SECOND_US), due)


def call_of(sent: Sent) -> Call:
    """The call that the gateway makes of it, without its client's breakpoints."""
    body = msgspec.json.encode(sent.request)
    body = unmarked(body, parse_fields(body))
    call = read_call("messages", body, [], request_id="req", started_ns=sent.at_us * 1000)
    call.caller = Caller("", sent.key_id, "member")
    call.source, call.task_type = sent.source, sent.task_type
    return call


def bound(traffic: Sequence[Read]) -> int:
    """The clairvoyant bound: for every block of every prefix, the cheapest course over its occurrences."""
    times: dict[bytes, list[int]] = {}
    sizes: dict[bytes, tuple[int, prices.Rates]] = {}
    for one in traffic:
        # The lowest price of the model, whatever the length: it is a bound.
        rates = prices.rates(one.request.model.id, 1, one.sent.at_us)
        before = 0
        for position in one.prompt.positions:
            times.setdefault(position.digest, []).append(one.sent.at_us)
            sizes[position.digest] = position.total - before, rates
            before = position.total
    return sum(round(sizes[key][0] * _course(at, sizes[key][1])) for key, at in times.items())


def _course(times: Sequence[int], rates: prices.Rates) -> float:
    """Nanodollars of one token at these times: nothing, five minutes or an hour are kept of it, as is cheapest."""
    endless = float("inf")
    none, five, hour = 0.0, endless, endless
    before = -_1H_US
    for at in times:
        gap = at - before
        read_5m = five + rates.read if gap < _5M_US else endless
        read_1h = hour + rates.read if gap < _1H_US else endless
        cheapest = min(none, five, hour)
        none, five, hour = (
            cheapest + rates.input,
            min(read_5m, cheapest + rates.write_5m),
            min(read_1h, cheapest + rates.write_1h),
        )
        before = at
    return min(none, five, hour)


class Costs(msgspec.Struct, frozen=True):
    """Nanodollars of input by way, `ours` and `bound` among them."""

    nanodollars: dict[str, int]
    pings: int
    """Small requests that kept prefixes warm; they are in `ours`."""


def costs(traffic: Sequence[Read], rates: Rates) -> Costs:
    """What this traffic would have cost in each way."""
    ours = Ours(rates)
    by_way = {name: fixed(traffic, way) for name, way in WAYS.items()}
    return Costs({**by_way, "ours": ours.run(traffic), "bound": bound(traffic)}, ours.pings)
