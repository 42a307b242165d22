"""What a start costs: `import freehold`, `freehold --help`, the ready line, its memory; as ratios to a bare Python.

`python -m benchmarks.start [--quick]` prints JSON. Bars: import 0.3 s, help 0.5 s, ready 2.5 s on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from freehold.launch import ServerProcess


def timed(command: list[str]) -> float:
    """Seconds until that command has ended."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def ready() -> tuple[float, float]:
    """Seconds until a second start on one data folder is ready, and its resident MB."""
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder) / "data", arguments=["--upstream=simulator"])
        with server:
            server.stop()
            begun = time.perf_counter()
            server.start()
            took = time.perf_counter() - begun
            lines = Path(f"/proc/{server.pid}/status").read_text("utf-8").splitlines()
            resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
            return took, resident / 1024


def median(measure: Callable[[], float], rounds: int) -> float:
    """The middle of that many."""
    return round(statistics.median(measure() for _ in range(rounds)), 3)


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    rounds = 3 if parser.parse_args().quick else 7
    python = sys.executable
    bare = median(lambda: timed([python, "-c", "pass"]), rounds)
    imported = median(lambda: timed([python, "-c", "import freehold"]), rounds)
    helped = median(lambda: timed([python, "-m", "freehold", "--help"]), rounds)
    starts = [ready() for _ in range(rounds)]
    took = round(statistics.median(seconds for seconds, _ in starts), 3)
    result = {
        "bare_python_s": bare,
        "import_s": imported,
        "help_s": helped,
        "ready_s": took,
        "ready_mb": round(statistics.median(megabytes for _, megabytes in starts), 1),
        "ready_over_bare_python": round(took / bare, 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
