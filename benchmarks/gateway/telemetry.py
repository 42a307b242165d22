"""What telemetry costs a call, by the gateway's own harness: `python benchmarks/gateway/telemetry.py`.

Four servers get the same load in turn: without a collector, with metrics and logs to one, with traces of one call in a
hundred, with traces of all. Counting calls for `/metrics` cannot be switched off; what it costs is timed by itself.
Bars: metrics 10 % of a call's CPU, traces of one in a hundred 5 %, of all 60 µs a call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import compiled
from benchmarks.gateway.run import RESULTS, SCENARIOS, Bench, Target, about

SMALL = next(one for one in SCENARIOS if one.name == "small")
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "metrics": {"FREEHOLD_TRACE_SHARE": "0", "FREEHOLD_OTLP_METRICS_S": "1"},
    "traces_1_percent": {"FREEHOLD_TRACE_SHARE": "0.01", "FREEHOLD_OTLP_METRICS_S": "0"},
    "traces_all": {"FREEHOLD_TRACE_SHARE": "1", "FREEHOLD_OTLP_METRICS_S": "0"},
}
BARS = {"metrics_percent": 10.0, "traces_1_percent_percent": 5.0, "traces_all_us": 60.0}


class Receiver(BaseHTTPRequestHandler):
    """Takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take it."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def receiving(on_exit: contextlib.ExitStack) -> str:
    """A collector as a process of its own, so that its work is not ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--receive", str(port)])
    on_exit.callback(process.wait)
    on_exit.callback(process.terminate)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return f"http://127.0.0.1:{port}"


def counting_us() -> float:
    """Microseconds to count one call, median of rounds."""
    from freehold.telemetry.calls import CallMetrics, Ended

    metrics, rounds = CallMetrics(), []
    for _ in range(9):
        began = time.process_time_ns()
        for number in range(20_000):
            tokens = (number & 1023, 20, 0, 0, 5)
            metrics.ended(Ended("messages", "claude", "m", 200, False, 1, 40_000 + number, 7_000, tokens, 300))
        rounds.append((time.process_time_ns() - began) / 20_000 / 1000)
    return statistics.median(rounds)


def run(rounds: int, seconds: float) -> dict[str, Any]:
    """CPU microseconds a call of every variant, in turn, and what they add to the plain one."""
    with tempfile.TemporaryDirectory(prefix="freehold-telemetry-") as folder, contextlib.ExitStack() as on_exit:
        bench, collector = Bench(Path(folder), on_exit), receiving(on_exit)
        targets = {name: _server(bench, name, collector, more) for name, more in VARIANTS.items()}
        for target in targets.values():
            bench.load(target, SMALL, 1.0)
        seen: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(rounds):
            for name, target in targets.items():
                seen[name].append(bench.load(target, SMALL, seconds)["cpu_s_per_1k"] * 1000)
    call_us = {name: round(statistics.median(values), 1) for name, values in seen.items()}
    # Each window beside the plain one of its round: what else the machine did falls out.
    added = {
        name: statistics.median(one - plain for one, plain in zip(values, seen["plain"], strict=True))
        for name, values in seen.items()
    }
    counted = counting_us()
    percent = 100 / call_us["plain"]
    return {
        "cpu_us_a_call": call_us,
        "added_us": {name: round(value, 1) for name, value in added.items() if name != "plain"},
        "counting_us": round(counted, 2),
        "metrics_percent": round((counted + max(0.0, added["metrics"])) * percent, 1),
        "traces_1_percent_percent": round(added["traces_1_percent"] * percent, 1),
        "traces_all_us": round(added["traces_all"], 1),
        "bars": BARS,
    }


def _server(bench: Bench, name: str, collector: str, more: Mapping[str, str]) -> Target:
    return bench.freehold(name, {"FREEHOLD_OTLP_URL": collector, **more} if more else {})


def main() -> int:
    """Measure, print, write; 1 where a bar is passed."""
    compiled.run_compiled()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--receive", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS / "telemetry.json")
    options = parser.parse_args()
    if options.receive:
        ThreadingHTTPServer(("127.0.0.1", options.receive), Receiver).serve_forever()
    told = {**about(), "load_average": round(os.getloadavg()[0], 2), **run(options.rounds, options.seconds)}
    print(json.dumps(told, indent=1))
    options.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0 if all(told[name] <= bar for name, bar in BARS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
