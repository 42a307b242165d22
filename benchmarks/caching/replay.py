"""What caching would have cost: the same traffic through the simulator's cache, once for each way to set breakpoints.

`python -m benchmarks.caching.replay` writes `benchmarks/results/caching.json`. Costs are those of input alone, as the
simulator bills them; output is the same for all. The bound is clairvoyant and knows no minimum, no limit of breakpoints
and no look-back: each token of a prefix is read if any earlier request within the time to live wrote it, else written
once at the cheapest rate that pays, or not at all.
"""

from __future__ import annotations

import datetime
import heapq
import json
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.caching.traffic import FAMILIES, MODEL, Sent
from freehold.calls import Call, Caller
from freehold.gateway.caching.cacher import Cacher, CachingSettings, Planned
from freehold.gateway.middleware.caching import MOST_PINGS, PING_AFTER_S
from freehold.gateway.reading import read_call
from freehold.ledger.rates import Rates
from freehold.simulator.brains.echo import Echo
from freehold.simulator.claude import Asked, Character, Claude
from freehold.simulator.model import prices
from freehold.wire.facts import Usage

START_US = 1_795_000_000_000_000
BEGUN_S = 1.0
"""After so long the answer begins, and others see what was written."""
_CALLER = Caller("wrkspc_bench", "apikey_bench", "member")
_EPHEMERAL = {"type": "ephemeral"}
RESULTS = Path(__file__).parents[1] / "results" / "caching.json"


def no_cache(request: dict[str, Any]) -> dict[str, Any]:
    return request


def clients_marks(request: dict[str, Any]) -> dict[str, Any]:
    """As most examples do it: the system prompt, or the tools, get a mark; the conversation gets none."""
    made = dict(request)
    if isinstance(made.get("system"), str):
        made["system"] = [{"type": "text", "text": made["system"], "cache_control": _EPHEMERAL}]
    elif made.get("tools"):
        made["tools"] = [*made["tools"][:-1], {**made["tools"][-1], "cache_control": _EPHEMERAL}]
    return made


def automatic(request: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's automatic caching: one breakpoint that moves along at the end."""
    return {**request, "cache_control": _EPHEMERAL}


def two_points(request: dict[str, Any]) -> dict[str, Any]:
    """Two fixed points: the system prompt and the last message."""
    return {**clients_marks(request), "cache_control": _EPHEMERAL}


POLICIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no_cache": no_cache,
    "clients_marks": clients_marks,
    "automatic": automatic,
    "two_fixed_points": two_points,
}


class Simulated:
    """One simulated Claude that is asked on a clock of the traffic's, and what it bills for input."""

    def __init__(self) -> None:
        self.claude = Claude(Character(brain=Echo()))
        self.nanodollars = 0
        self._waiting: list[tuple[float, Any]] = []

    def ask(self, body: bytes, at_s: float) -> Usage:
        """Send one request; what of it was read, written, and neither."""
        self._begin(at_s)
        now_us = START_US + int(at_s * 1e6)
        asked = Asked(body, "req", self.claude.ids.source("default", body))
        outcome = self.claude.message(asked, now_us)
        self._waiting.append((at_s + BEGUN_S, outcome))
        plan = outcome.plan
        used = prices.Tokens(plan.uncached, 0, plan.write_5m, plan.write_1h, plan.read)
        self.nanodollars += prices.bill(outcome.request.model.id, used, now_us)
        return Usage(plan.uncached, 0, plan.write_5m, plan.write_1h, plan.read)

    def _begin(self, at_s: float) -> None:
        while self._waiting and self._waiting[0][0] <= at_s:
            begun_s, outcome = self._waiting.pop(0)
            self.claude.begun(outcome, START_US + int(begun_s * 1e6))


def fixed(traffic: Sequence[Sent], policy: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    simulated = Simulated()
    for sent in traffic:
        simulated.ask(Sent(sent.at_s, policy(sent.request)).body(), sent.at_s)
    return simulated.nanodollars


class Ours:
    """The same planner that the gateway runs, on requests without marks; it starts knowing nothing."""

    def __init__(self) -> None:
        self.simulated = Simulated()
        self.cacher = Cacher(CachingSettings(), Rates.load())
        self.pings = 0
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0

    def run(self, traffic: Sequence[Sent]) -> int:
        """Nanodollars of input, pings included."""
        for sent in traffic:
            while self._due and self._due[0][0] <= sent.at_s:
                at_s, _, act = heapq.heappop(self._due)
                act(at_s)
            self._ask(sent)
        return self.simulated.nanodollars

    def _later(self, at_s: float, act: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (at_s, self._count, act))

    def _ask(self, sent: Sent) -> None:
        now_us = START_US + int(sent.at_s * 1e6)
        call = call_of(sent.body(), now_us)
        planned = self.cacher.plan(call, now_us)
        if planned is None:
            self.simulated.ask(call.body, sent.at_s)
            return
        body, _ = self.cacher.marked(call, planned)
        usage = self.simulated.ask(body, sent.at_s)
        self._later(sent.at_s + BEGUN_S, lambda _: self.cacher.begun(planned, now_us))
        self.cacher.answered(call, planned, usage, now_us)
        if planned.plan.keep_alive:
            node = planned.plan.ends[-1].node
            self._ping_later(body, planned, sent.at_s, node.last_us, MOST_PINGS)

    def _ping_later(self, body: bytes, planned: Planned, at_s: float, seen_us: int, left: int) -> None:
        def ping(now_s: float) -> None:
            if planned.plan.ends[-1].node.last_us == seen_us:
                self.pings += 1
                self.simulated.ask(body, now_s)  # as with max_tokens of 0: only input is billed here
                self.cacher.begun(planned, START_US + int(now_s * 1e6))
                if left > 1:
                    self._ping_later(body, planned, now_s, seen_us, left - 1)

        self._later(at_s + PING_AFTER_S, ping)


def call_of(body: bytes, now_us: int) -> Call:
    call = read_call("messages", body, [], request_id="req", started_ns=now_us * 1000)
    call.caller = _CALLER
    return call


def bound(traffic: Sequence[Sent]) -> int:
    """The clairvoyant bound: for every block of every prefix, the cheapest course over its occurrences."""
    claude = Claude(Character(brain=Echo()))
    times: dict[bytes, list[float]] = {}
    sizes: dict[bytes, int] = {}
    rest = 0
    for sent in traffic:
        prompt = claude._read(sent.body(), "messages.create").prompt
        before = 0
        for position in prompt.positions:
            times.setdefault(position.digest, []).append(sent.at_s)
            sizes[position.digest] = position.total - before
            before = position.total
    rates = prices.rates(MODEL, 1000, START_US)
    return rest + sum(round(sizes[key] * _course(at, rates)) for key, at in times.items())


def _course(times: Sequence[float], rates: prices.Rates) -> float:
    """Nanodollars of one token at these times: nothing, five minutes or an hour are kept of it, as is cheapest."""
    endless = float("inf")
    none, five, hour = 0.0, endless, endless
    before = -endless
    for at in times:
        gap = at - before
        read_5m = five + rates.read if gap < 300 else endless
        read_1h = hour + rates.read if gap < 3600 else endless
        cheapest = min(none, five, hour)
        none, five, hour = (
            cheapest + rates.input,
            min(read_5m, cheapest + rates.write_5m),
            min(read_1h, cheapest + rates.write_1h),
        )
        before = at
    return min(none, five, hour)


def table(size: int, seed: int, families: Sequence[str] = tuple(FAMILIES)) -> dict[str, dict[str, int]]:
    """Nanodollars by family and policy."""
    found: dict[str, dict[str, int]] = {}
    for name in families:
        traffic = list(FAMILIES[name](random.Random(f"{seed} {name}"), size))
        row = {policy: fixed(traffic, made) for policy, made in POLICIES.items()}
        found[name] = {**row, "ours": Ours().run(traffic), "bound": bound(traffic)}
    return found


def totals(rows: dict[str, dict[str, int]]) -> dict[str, int]:
    first = next(iter(rows.values()))
    return {policy: sum(row[policy] for row in rows.values()) for policy in first}


def main() -> None:
    size, seeds = (int(sys.argv[1]) if len(sys.argv) > 1 else 400), (1, 2, 3)
    runs = {seed: table(size, seed) for seed in seeds}
    for seed, rows in runs.items():
        print(f"seed {seed}, {size} requests a family: dollars of input")
        for name, row in {**rows, "all": totals(rows)}.items():
            cells = "  ".join(f"{policy} {cost / 1e9:8.4f}" for policy, cost in row.items())
            print(
                f"  {name:16} {cells}  ours/bound {row['ours'] / row['bound']:.3f}"
                f"  ours/none {row['ours'] / row['no_cache']:.3f}"
            )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "model": MODEL,
        "requests_a_family": size,
        "unit": "nanodollars of input",
        "runs": {str(seed): {**rows, "all": totals(rows)} for seed, rows in runs.items()},
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
