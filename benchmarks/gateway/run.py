"""The gateway's cost beside nginx and LiteLLM in one run: `python benchmarks/gateway/run.py`. See README.md here."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import compiled
from benchmarks.gateway import peers
from freehold import is_compiled

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
MODEL = "claude-sonnet-4-5-20250929"
ADMIN_KEY = "sk-fh-" + "b" * 43
GATEWAY_CORE, LOAD_CORE = 0, 1
START_TIMEOUT_S = 60.0
LIMITS = {
    "FREEHOLD_KEY_REQUESTS_PER_MINUTE": "1000000000",
    "FREEHOLD_KEY_INPUT_TOKENS_PER_MINUTE": "1000000000000",
    "FREEHOLD_WORKSPACE_REQUESTS_PER_MINUTE": "1000000000",
}
"""Limits that are looked at for each call and never reached."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load. `bar` is the largest ratio to nginx's CPU; `rate` makes it an open loop, a second."""

    name: str
    connections: int
    seconds: float
    bar: float | None = None
    rate: float | None = None
    think_ms: int = 0
    tick_ms: int = 0
    stream: bool = False
    padding: int = 0

    def body(self) -> bytes:
        """The request. The fake Claude reads its orders in the user's text."""
        orders = f"@@think={self.think_ms},tick={self.tick_ms},events=50@@ hello, please answer shortly"
        messages: list[dict[str, Any]] = [{"role": "user", "content": orders}]
        for number in range(self.padding // 1000):
            text = 'All work and no play makes "Jack" a dull boy.\n' * 10
            result = {"type": "tool_result", "tool_use_id": f"toolu_{number:04d}", "content": "line of a file\n" * 26}
            messages.append({"role": "assistant", "content": [{"type": "text", "text": text}]})
            messages.append({"role": "user", "content": [result]})
        request: dict[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": messages}
        return json.dumps({**request, "stream": True} if self.stream else request).encode()


SCENARIOS = (
    Scenario("small", 32, 2.5, bar=5.0),
    Scenario("large", 8, 2.5, bar=4.5, padding=200_000),
    Scenario("burst", 16, 2.5, bar=4.0, stream=True),
    Scenario("flood", 128, 4.0, bar=2.2, think_ms=50, tick_ms=10, stream=True),
    Scenario("think", 16, 3.0, rate=100, think_ms=50),
    Scenario("pace", 64, 3.0, rate=20, think_ms=50, tick_ms=10, stream=True),
)


@dataclass(slots=True)
class Target:
    """A running server."""

    name: str
    port: int
    process: subprocess.Popen[Any] | None
    headers: Sequence[str] = ()
    start_s: float | None = None
    idle_mb: float | None = None
    version: str = ""

    def pids(self) -> list[int]:
        """The process and everything below it."""
        found = [self.process.pid] if self.process else []
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())
        return found

    def cpu_s(self) -> float:
        """CPU seconds of all live threads so far."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory_mb(self) -> float:
        """Resident memory of all of it."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                total += int(found[1]) if found else 0
        return round(total / 1024, 1)


class Bench:
    """Binaries, bodies and servers of one run, all in one temporary folder."""

    def __init__(self, folder: Path, on_exit: contextlib.ExitStack) -> None:
        self._folder = folder
        self._on_exit = on_exit
        for name in ("upstream", "load"):
            subprocess.run(["cc", "-O2", "-o", folder / name, HERE / f"{name}.c"], check=True)
        port = _free_port()
        self.direct = Target("direct", port, self._start([str(folder / "upstream"), str(port)], LOAD_CORE))
        _wait_for(self.direct)

    def nginx(self) -> Target | None:
        """A plain proxy, if there is an nginx."""
        found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if found is None:
            return None
        prefix, port = self._folder / "nginx", _free_port()
        prefix.mkdir()
        text = (HERE / "nginx.conf").read_text().replace("PORT", str(port))
        (prefix / "nginx.conf").write_text(text.replace("UPSTREAM", f"127.0.0.1:{self.direct.port}"))
        process = self._start([found, "-p", str(prefix), "-c", str(prefix / "nginx.conf")], GATEWAY_CORE)
        return _wait_for(Target("nginx", port, process))

    def freehold(self, name: str = "freehold", more: Mapping[str, str] | None = None) -> Target:
        """The real server, as users start it, compiled where that was made; with `more` in its environment."""
        data, port = self._folder / f"data-{name}", _free_port()
        upstream = f"http://127.0.0.1:{self.direct.port}"
        command = [sys.executable, "-m", "freehold", "serve", "--port", str(port), "--data", str(data)]
        environment = {"FREEHOLD_ADMIN_KEY": ADMIN_KEY, "FREEHOLD_UPSTREAM": upstream, **(more or {})}
        process = self._start(command, GATEWAY_CORE, {**compiled.environment(), **environment})
        return _wait_for(Target(name, port, process, (f"x-api-key: {ADMIN_KEY}",)))

    def litellm(self) -> Target | None:
        """LiteLLM's proxy with one worker, no database and a master key, if it is installed or can be."""
        found = peers.litellm()
        if found is None:
            return None
        port, key = _free_port(), "sk-" + "b" * 40
        text = (HERE / "litellm.yaml").read_text().replace("MODEL", MODEL).replace("KEY", key)
        (self._folder / "litellm.yaml").write_text(text.replace("UPSTREAM", f"http://127.0.0.1:{self.direct.port}"))
        command = [str(found.program), "--config", str(self._folder / "litellm.yaml"), "--host", "127.0.0.1"]
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        command += ["--port", str(port), "--num_workers", "1"]
        process = self._start(command, GATEWAY_CORE, {**os.environ, **environment})
        return _wait_for(Target("litellm", port, process, (f"Authorization: Bearer {key}",), version=found.version))

    def load(self, target: Target, scenario: Scenario, seconds: float) -> dict[str, Any]:
        """One window of load; what the generator saw, and `cpu_s_per_1k`.

        Raises:
            SystemExit: an answer was missing or wrong: the figures would mean nothing.
        """
        body = self._folder / f"{scenario.name}.json"
        body.write_bytes(scenario.body())
        command = [str(self._folder / "load"), "-h", f"127.0.0.1:{target.port}", "-p", "/v1/messages", "-b", str(body)]
        command += ["-c", str(scenario.connections), "-d", str(seconds)]
        command += [part for header in target.headers for part in ("-H", header)]
        command += ["-r", str(scenario.rate)] if scenario.rate else []
        command += ["-e", "56"] if scenario.stream else []
        before = target.cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=_on(LOAD_CORE), check=True)
        used = target.cpu_s() - before
        seen: dict[str, Any] = json.loads(done.stdout)
        if seen["non200"] or seen["errors"] or seen["unfinished"] or seen["wrong_events"] or not seen["done"]:
            raise SystemExit(f"{target.name}, {scenario.name}: wrong answers: {done.stderr[:300]} {done.stdout[:300]}")
        return {**seen, "cpu_s_per_1k": used / seen["done"] * 1000}

    def _start(
        self, command: Sequence[str], core: int, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[Any]:
        log = self._on_exit.enter_context((self._folder / f"{len(list(self._folder.iterdir()))}.log").open("w"))
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, preexec_fn=_on(core))
        self._on_exit.callback(_end, process)
        return process


def measure(bench: Bench, targets: Sequence[Target], scenario: Scenario, rounds: int, factor: float) -> dict[str, Any]:
    """All targets in turn, `rounds` times: medians of what was seen."""
    beside = [bench.direct, *targets] if scenario.rate else targets
    seen: dict[str, list[dict[str, Any]]] = {target.name: [] for target in beside}
    for target in targets:
        bench.load(target, scenario, 1.0)
    for _ in range(rounds):
        for target in beside:
            seen[target.name].append(bench.load(target, scenario, scenario.seconds * factor))
    return {name: _medians(windows) for name, windows in seen.items()}


def beside_litellm(bench: Bench, results: dict[str, Any], rounds: int, factor: float) -> None:
    """LiteLLM under the same load, where it keeps up: closed loops."""
    target = bench.litellm()
    if target is None:
        return
    results["versions"]["litellm"] = target.version
    for scenario in SCENARIOS:
        found = results["scenarios"].get(scenario.name)
        if found is None or scenario.rate or scenario.tick_ms:
            continue
        found |= measure(bench, [target], scenario, min(rounds, 3), factor)
        if "nginx" in found:
            found["litellm_ratio"] = _ratio(found, "litellm")
    results["litellm"] = {"start_s": target.start_s, "idle_mb": target.idle_mb, "after_mb": target.memory_mb()}


def _ratio(found: dict[str, Any], name: str) -> float:
    return round(float(found[name]["cpu_s_per_1k"]) / float(found["nginx"]["cpu_s_per_1k"]), 2)


def _medians(windows: Sequence[dict[str, Any]]) -> dict[str, float]:
    def of(*path: str) -> float:
        return statistics.median(_at(window, path) for window in windows)

    return {
        "cpu_s_per_1k": round(of("cpu_s_per_1k"), 5),
        "cpu_s_per_1k_min": round(min(window["cpu_s_per_1k"] for window in windows), 5),
        "requests_per_s": round(of("rps"), 1),
        "first_ms_p50": round(of("first_ms", "p50"), 3),
        "first_ms_p99": round(of("first_ms", "p99"), 3),
        "total_ms_p50": round(of("total_ms", "p50"), 3),
        "total_ms_p99": round(of("total_ms", "p99"), 3),
    }


def _at(window: dict[str, Any], path: Sequence[str]) -> float:
    value: Any = window
    for key in path:
        value = value[key]
    return float(value)


def report(results: dict[str, Any]) -> None:
    """A table for people."""
    print(f"{'scenario':9} {'nginx':>9} {'freehold':>9}  CPU s per 1,000     ratio    bar")
    for scenario in SCENARIOS:
        found = results["scenarios"].get(scenario.name)
        if found is None:
            continue
        ours, nginx = found["freehold"], found.get("nginx")
        ratio = f"{found['ratio']:.2f} x" if "ratio" in found else "no nginx"
        bar = f"{scenario.bar:.1f} x" if scenario.bar else ""
        beside = f"{nginx['cpu_s_per_1k']:.4f}" if nginx else "-"
        print(f"{scenario.name:9} {beside:>9} {ours['cpu_s_per_1k']:9.4f} {ratio:>26} {bar:>6}")
        if "limited_ratio" in found:
            print(f"          with limits {found['limited']['cpu_s_per_1k']:.4f} {found['limited_ratio']:.2f} x")
        if "litellm" in found:
            times = f"{found['litellm_ratio']:.0f} x" if "litellm_ratio" in found else ""
            print(f"          LiteLLM {found['litellm']['cpu_s_per_1k']:.3f} {times}")
        if "added_ms" in found:
            print("          added ms: " + ", ".join(f"{key} {value:.2f}" for key, value in found["added_ms"].items()))
    server = results["freehold"]
    print(f"start {server['start_s']:.2f} s, {server['idle_mb']} MB idle, {server['after_mb']} MB after; "
          f"load average {results['load_average']}")  # fmt: skip


def _compared(found: dict[str, Any]) -> dict[str, Any]:
    if "nginx" in found:
        found["ratio"] = _ratio(found, "freehold")
        if "limited" in found:
            found["limited_ratio"] = _ratio(found, "limited")
    if "direct" in found:
        keys = ("first_ms_p50", "first_ms_p99", "total_ms_p50", "total_ms_p99")
        found["added_ms"] = {key: round(found["freehold"][key] - found["direct"][key], 3) for key in keys}
    return found


def _machine() -> dict[str, Any]:
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release()}


def about() -> dict[str, Any]:
    """Commit, date, build, machine and versions of a result."""
    return {
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "compiled": is_compiled(),
        "machine": _machine(),
        "versions": _versions(),
    }


def _commit() -> str:
    asked = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("freehold", "uvicorn", "uvloop", "httptools", "msgspec")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _on(core: int) -> Any:
    return lambda: os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


def _end(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(target: Target) -> Target:
    """Until it answers a call (or, the fake Claude, a request for its counters)."""
    began = time.monotonic()
    request = urllib.request.Request(f"http://127.0.0.1:{target.port}/__stats")
    if target.name != "direct":
        headers = dict(header.split(": ", 1) for header in target.headers)
        address = f"http://127.0.0.1:{target.port}/v1/messages"
        request = urllib.request.Request(address, SCENARIOS[0].body(), {"content-type": "application/json", **headers})
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).read()
            break
        except OSError as error:
            if time.monotonic() - began > START_TIMEOUT_S:
                raise SystemExit(f"{target.name} has never answered: {error}") from error
            time.sleep(0.02)
    target.start_s = round(time.monotonic() - began, 2)
    target.idle_mb = target.memory_mb()
    return target


@contextlib.contextmanager
def _bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="freehold-bench-") as folder, contextlib.ExitStack() as on_exit:
        yield Bench(Path(folder), on_exit)


def main() -> int:
    """Measure, print, and write `benchmarks/results/gateway.json`."""
    compiled.run_compiled()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(scenario.name for scenario in SCENARIOS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--factor", type=float, default=1.0, help="on the length of every window")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "gateway.json")
    options = parser.parse_args()
    wanted = options.only.split(",")
    with _bench() as bench:
        nginx, freehold, limited = bench.nginx(), bench.freehold(), bench.freehold("limited", LIMITS)
        targets = [target for target in (nginx, freehold) if target is not None]
        results: dict[str, Any] = {
            **about(),
            "rounds": options.rounds,
            "scenarios": {},
        }
        for scenario in SCENARIOS:
            if scenario.name in wanted:
                everyone = [*targets, limited] if scenario.bar else targets
                found = measure(bench, everyone, scenario, options.rounds, options.factor)
                results["scenarios"][scenario.name] = _compared(found)
        results["load_average"] = round(os.getloadavg()[0], 2)
        results["freehold"] = {
            "start_s": freehold.start_s,
            "idle_mb": freehold.idle_mb,
            "after_mb": freehold.memory_mb(),
        }
        if not options.without_litellm:
            beside_litellm(bench, results, options.rounds, options.factor)
    report(results)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
