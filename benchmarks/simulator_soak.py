"""A million requests through one simulator: its memory must stay flat. `tests/simulator/test_soak.py` runs a slice.

    python -m benchmarks.simulator_soak [--requests 1000000] [--seed 1]

Every request is different and of a different kind by turns: whole, streamed, with tools, cached, refused, faulty, from
thousands of keys and workspaces. After a first part, in which caches and histories fill up, the process may not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.calls import Call, Caller, NotAnswered
from freehold.clock import HandClock
from freehold.simulator.faults import order_from
from freehold.simulator.model.limits import Limits
from freehold.simulator.upstream import Simulator

_MODELS = ("claude-haiku-5-5", "claude-haiku-4-5", "claude-opus-5-5", "no-such-model")
_TOOL = {"name": "get_user", "input_schema": {"type": "object", "properties": {"user_id": {"type": "string"}}}}
_PREFIX = "a long prefix that is worth caching " * 30


@dataclass(frozen=True, slots=True)
class Found:
    """What a run saw: requests, answers by status, and resident bytes after the warm-up and at the end."""

    requests: int
    statuses: dict[int, int]
    warm_bytes: int
    end_bytes: int

    @property
    def grown_bytes(self) -> int:
        """How much the process grew after the warm-up."""
        return self.end_bytes - self.warm_bytes


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _request(number: int, chance: random.Random) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": chance.choice(_MODELS[: 4 if number % 50 == 0 else 3]),
        "max_tokens": 40,
        "messages": [{"role": "user", "content": f"Request {number}: look up user u_{number}"}],
        "stream": number % 3 == 0,
    }
    if number % 4 == 0:
        request["tools"] = [_TOOL]
    if number % 7 == 0:
        request["system"] = [
            {"type": "text", "text": f"{number % 5000} {_PREFIX}", "cache_control": {"type": "ephemeral"}}
        ]
        request["diagnostics"] = {"previous_message_id": f"msg_{number}"}
    return request


async def run(requests: int, seed: int, *, warm: float = 0.4) -> Found:
    """Send so many requests; `warm` is the share after which memory is first looked at."""
    clock = HandClock()
    limits = Limits(requests=10**9, input_tokens=10**12, output_tokens=10**12)
    simulator = Simulator(clock, seed=seed, limits=limits)
    simulator.faults.order(order_from({"kind": "overloaded", "rate": 0.01}))
    simulator.faults.order(order_from({"kind": "reset", "rate": 0.01}))
    chance = random.Random(seed)
    statuses: dict[int, int] = {}
    warm_bytes = 0
    for number in range(requests):
        if number == int(requests * warm):
            warm_bytes = resident_bytes()
        request = _request(number, chance)
        caller = Caller(f"wrkspc_{number % 20_000}", f"key_{number % 30_000}", "member")
        body = json.dumps(request).encode()
        call = Call(f"req_{number}", "messages", body, {}, [], request["model"], request["stream"], 0, caller)
        status = await _send(simulator, call)
        statuses[status] = statuses.get(status, 0) + 1
        if number % 1000 == 0:
            await clock.advance(1)
    return Found(requests, statuses, warm_bytes, resident_bytes())


async def _send(simulator: Simulator, call: Call) -> int:
    try:
        async with simulator(call) as reply:
            if reply.reads is not None:
                async for _ in reply.reads:
                    pass
            return reply.status
    except NotAnswered:
        return 0


def main() -> int:
    """Run and print; 1 if the process grew by more than a tenth after the warm-up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = asyncio.run(run(options.requests, options.seed))
    print(json.dumps({"requests": found.requests, "statuses": found.statuses, "warm_mb": found.warm_bytes >> 20}))
    print(f"grown by {found.grown_bytes / 1e6:.1f} MB after the warm-up")
    return 0 if found.grown_bytes <= found.warm_bytes // 10 else 1


if __name__ == "__main__":
    sys.exit(main())
