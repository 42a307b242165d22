"""What a routing decision costs a call: the gateway's harness, the small scenario, a named model against `auto`.

`python -m benchmarks.routing.cost` writes `benchmarks/results/routing-cost.json`: CPU of the server process for each
call, both ways in turn in one run, and the difference of the medians; besides, what the decision itself takes in a loop
(signals, prices, rule, the look of a trained learner, and the text of the record), which the noise of a busy machine
does not reach.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gateway.run import SCENARIOS, Bench, Scenario
from freehold.calls import Caller
from freehold.clock import SystemClock
from freehold.gateway.middleware.routing import Routing, asking_for
from freehold.gateway.reading import read_call
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.learner import features_of
from freehold.gateway.routing.learning import Learning, route_name, shape_of
from freehold.gateway.routing.router import Router
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.gateway.routing.signals import read_signals
from freehold.ledger.rates import Rates

RESULTS = Path(__file__).parents[1] / "results" / "routing-cost.json"
_ROUNDS = 7
_LOOPS, _TIMES = 9, 3000


class Left(Scenario):
    """The same load with the choice of the model left to the server."""

    def body(self) -> bytes:
        """The request."""
        request = json.loads(Scenario.body(self))
        return json.dumps({**request, "model": "auto"}).encode()


def through_the_gateway(rounds: int) -> dict[str, float]:
    """Microseconds of CPU a call, named and left to the server."""
    small = SCENARIOS[0]
    ways = {"named": small, "auto": Left("auto", small.connections, small.seconds)}
    seen: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as on_exit:
        bench = Bench(Path(folder), on_exit)
        server = bench.freehold()
        for scenario in ways.values():
            bench.load(server, scenario, 1.0)
        for _ in range(rounds):
            for name, scenario in ways.items():
                seen[name].append(bench.load(server, scenario, scenario.seconds)["cpu_s_per_1k"] * 1000)
    found = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    return {**found, "added": round(statistics.median(b - a for a, b in zip(*seen.values(), strict=True)), 2)}


class _Nowhere:
    async def last_about(self, conversation: str) -> str | None:
        """Nothing was kept."""
        return None


def in_a_loop() -> dict[str, float]:
    """Microseconds of CPU of one decision, by rules alone and with a trained learner; the least of several loops."""
    body = Left("auto", 1, 1.0).body()
    call = read_call("messages", body, [], request_id="req_1", started_ns=0)
    call.caller = Caller("wrkspc_one", "apikey_one", "member")
    learning = Learning(0.02)
    found = {}
    for name in ("rules", "rules_and_learner"):
        if name == "rules_and_learner":
            text = read_signals(call).text
            route = learning.route(route_name(call))
            for number in range(300):
                route.judge(features_of(text), shape_of(text), 0.0)
                route.learner.see(features_of(b"another word %d" % number))
        router = Router(rulebook(RoutingSettings()), Estimates(Rates.load()), learning)
        routing = Routing(router, _Nowhere(), SystemClock())
        least = float("inf")
        for _ in range(_LOOPS):
            began = time.process_time()
            for _ in range(_TIMES):
                decision = routing.decide_plainly(call, read_signals(call))
                assert decision is not None
                asking_for(call, decision.model or "")
            least = min(least, (time.process_time() - began) / _TIMES)
        known = learning.look(call, read_signals(call))
        assert (known is not None and known.familiar) == (name != "rules"), "the learner must have been asked"
        found[name] = round(least * 1e6, 2)
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "unit": "microseconds of CPU a call",
        "decision": in_a_loop(),
        "gateway": through_the_gateway(rounds) if rounds else None,
    }
    if rounds:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
