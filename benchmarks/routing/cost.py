"""What a routing decision costs a call: the gateway's harness, the small scenario, a named model against `auto`.

`python -m benchmarks.routing.cost [ROUNDS]` writes `benchmarks/results/routing-cost.json`: CPU of the server process
for each call, all ways in turn in one run, and the median of the differences. The server is one that has learned: calls
of the key that taught it are decided by rules and learner, those of another key by rules alone. Besides, what the
decision itself takes in a loop (signals, prices, rule, the look of a trained learner, and the text of the record),
which the noise of a busy machine does not reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import compiled
from benchmarks.gateway.run import ADMIN_KEY, SCENARIOS, Bench, Scenario, Target
from freehold import is_compiled
from freehold.calls import Call, Caller, Reply
from freehold.clock import SystemClock
from freehold.gateway.middleware.routing import Judging, Routing
from freehold.gateway.reading import read_call
from freehold.gateway.routing.asking import Asking, Shadows
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.learner import features_of
from freehold.gateway.routing.learning import Learning, route_name, shape_of
from freehold.gateway.routing.plain import asking_for, decide_plainly
from freehold.gateway.routing.router import Router
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.gateway.routing.signals import read_signals
from freehold.ids import new_id
from freehold.ledger.rates import Rates
from freehold.store.route_samples import SampleRow
from freehold.testing import server

RESULTS = Path(__file__).parents[1] / "results" / "routing-cost.json"
_ROUNDS = 7
_LOOPS, _TIMES = 9, 3000
_LESSONS = 300


class Left(Scenario):
    """The same load with the choice of the model left to the server."""

    def body(self) -> bytes:
        """The request."""
        request = json.loads(Scenario.body(self))
        return json.dumps({**request, "model": "auto"}).encode()


async def taught(folder: Path) -> str:
    """Make a data folder whose server has learned from the admin key's calls; gives a key that taught it nothing."""

    @asynccontextmanager
    async def agrees(call: Call) -> AsyncIterator[Reply]:
        said = {"type": "text", "text": "yes"}
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [said],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 20, "output_tokens": 1},
        }
        yield Reply(200, [(b"content-type", b"application/json")], whole=json.dumps(message).encode())

    settings = {"admin_key": ADMIN_KEY, "routing_shadow_share": 1.0}
    async with server(upstream=agrees, data=folder, settings=settings) as running:
        client = running.new_client(ADMIN_KEY)
        for _ in range(_LESSONS):  # prompts that are not like these would close the gate
            await client.messages.create(**json.loads(Left("auto", 1, 1.0).body()))
        made = await client.post("/freehold/v1/keys", body={"name": "other", "role": "member"}, cast_to=object)
        assert isinstance(made, dict)
        return str(made["secret"])


def through_the_gateway(rounds: int) -> dict[str, float]:
    """Microseconds of CPU a call, named and left to the server, and what the latter two add."""
    small = SCENARIOS[0]
    left = Left("auto", small.connections, small.seconds)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as on_exit:
        other = asyncio.run(taught(Path(folder) / "data-learned"))
        bench = Bench(Path(folder), on_exit)
        learned = bench.freehold("learned")
        untaught = dataclasses.replace(learned, headers=(f"x-api-key: {other}",))
        ways = {"named": (learned, small), "rules": (untaught, left), "rules_and_learner": (learned, left)}
        seen: dict[str, list[float]] = {name: [] for name in ways}
        for target, scenario in ways.values():
            bench.load(target, scenario, 1.0)
            assert scenario is small or _has_learned(target) == (target is learned), "the learner must have been asked"
        for _ in range(rounds):
            for name, (target, scenario) in ways.items():
                seen[name].append(bench.load(target, scenario, scenario.seconds)["cpu_s_per_1k"] * 1000)
    found = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    added = {
        f"{name}_add": round(statistics.median(b - a for a, b in zip(seen["named"], seen[name], strict=True)), 2)
        for name in ("rules", "rules_and_learner")
    }
    return found | added


def _has_learned(target: Target) -> bool:
    """Whether what was learned stands in the record of the newest decision."""

    def get(path: str) -> dict[str, Any]:
        address = f"http://127.0.0.1:{target.port}/freehold/v1/routing/decisions{path}"
        request = urllib.request.Request(address, headers={"x-api-key": ADMIN_KEY})
        found: dict[str, Any] = json.loads(urllib.request.urlopen(request, timeout=30).read())
        return found

    inputs = get(f"/{get('')['data'][0]['call_id']}")["inputs"]
    return "learned" in inputs and bool(inputs["learned"]["familiar"])


class _Nowhere:
    async def last_about(self, conversation: str) -> str | None:
        """Nothing was kept."""
        return None

    def add(self, row: SampleRow) -> None:
        """Nothing is kept."""

    async def newest(self, limit: int) -> list[SampleRow]:
        """Nothing was kept."""
        return []


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
        asking = Asking(SystemClock(), new_id)
        judging = Judging(asking, Shadows(asking, learning, _Nowhere(), 0.0, random.random))
        routing = Routing(router, _Nowhere(), SystemClock(), judging)
        least = float("inf")
        for _ in range(_LOOPS):
            began = time.process_time()
            for _ in range(_TIMES):
                model = decide_plainly(routing.router, call, read_signals(call), routing.clock.now_us())
                assert model is not None
                asking_for(call, model)
            least = min(least, (time.process_time() - began) / _TIMES)
        known = learning.look(call, read_signals(call))
        assert (known is not None and known.familiar) == (name != "rules"), "the learner must have been asked"
        found[name] = round(least * 1e6, 2)
    return found


def main() -> None:
    compiled.run_compiled()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "compiled": is_compiled(),
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
