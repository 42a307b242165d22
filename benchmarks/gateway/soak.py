"""Memory of the gateway after a million small calls and a hundred thousand streams, beside that after ten thousand.

`python benchmarks/gateway/soak.py` writes `benchmarks/results/gateway-soak.json`; it takes several minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import compiled
from benchmarks.gateway.run import RESULTS, SCENARIOS, Bench, Target, about

SMALL = next(one for one in SCENARIOS if one.name == "small")
BURST = next(one for one in SCENARIOS if one.name == "burst")
MOST_MB = 150.0
MOST_GROWTH = 1.2
_AT_REST_S = 1.0
"""The last rows are written by then."""


def soak(bench: Bench, target: Target, *, first: int, calls: int, streams: int) -> dict[str, Any]:
    """Resident memory after `first` small calls and a tenth as many streams, and after all."""
    began = time.monotonic()
    seen: dict[str, Any] = {"idle_mb": target.memory_mb()}
    made, streamed = _made(bench, target, first, first // 10)
    seen |= {"first_calls": made, "first_streams": streamed, "first_mb": _rested_mb(target)}
    more, more_streams = _made(bench, target, calls - made, streams - streamed)
    seen |= {"calls": made + more, "streams": streamed + more_streams, "after_mb": _rested_mb(target)}
    seen["growth"] = round(seen["after_mb"] / seen["first_mb"], 3)
    seen["wall_s"] = round(time.monotonic() - began)
    return seen


def _made(bench: Bench, target: Target, calls: int, streams: int) -> tuple[int, int]:
    return _until(bench, target, calls), _until(bench, target, streams, stream=True)


def _until(bench: Bench, target: Target, count: int, *, stream: bool = False) -> int:
    """Windows of load until there were so many calls; how many there were."""
    done = 0
    while done < count:
        seconds = min(20.0, max(0.2, (count - done) / 8_000))
        done += bench.load(target, BURST if stream else SMALL, seconds)["done"]
    return done


def _rested_mb(target: Target) -> float:
    time.sleep(_AT_REST_S)
    return target.memory_mb()


def main() -> int:
    """Soak, print, write."""
    compiled.run_compiled()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "gateway-soak.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="freehold-soak-") as folder, contextlib.ExitStack() as on_exit:
        bench = Bench(Path(folder), on_exit)
        target = bench.freehold()
        seen = soak(bench, target, first=10_000, calls=options.calls, streams=options.streams)
    told = {**about(), "load_average": round(os.getloadavg()[0], 2), **seen}
    print(json.dumps(told, indent=1))
    options.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0 if seen["after_mb"] <= MOST_MB and seen["growth"] <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
