"""All benchmarks, one after the other, and their results under `benchmarks/results/`: what `make bench` runs.

`python benchmarks/run.py [--quick] [NAME …]`. Each is a script of its own that prints or writes JSON; this one adds
commit, machine, date and versions. Nothing here asserts a time; read the ratios.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import compiled
from freehold import is_compiled

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PRINTING = {
    "start": "what a start costs: import, --help, ready",
    "store": "writes beside the disk's own commit",
    "boxes": "boxes beside bare bubblewrap",
    "snapshots": "a session's files kept and brought back, beside tar and zstd",
    "sessions": "turns a second, and how soon a message is seen",
    "batches": "the local engine's CPU an item, beside a script over the SDK",
    "forecast": "does the forecast of a batch hold, and how wide is it",
    "offload": "a day of calls with deadlines: none too late, and what it costs",
    "knowledge": "documents in, passages out: how fast, and how often the right one",
    "simulator": "the simulator as an HTTP server",
    "console": "pages with a million calls and ten thousand sessions in the database",
}
"""Scripts that print their JSON; the gateway's writes its own file."""
SHOWN = ("anthropic", "uvicorn", "uvloop", "httptools", "sqlalchemy", "aiosqlite", "asyncpg", "msgspec")


def main() -> int:
    """Run them; the exit code is that of the worst."""
    compiled.run_compiled()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*PRINTING, 'gateway'])}")
    given = parser.parse_args()
    names = given.names or [*PRINTING, "gateway"]
    unknown = set(names) - {*PRINTING, "gateway"}
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    return max([run(name, quick=given.quick) for name in names], default=0)


def run(name: str, *, quick: bool) -> int:
    """One benchmark; its result is kept when it ended well."""
    print(f"— {name}: {PRINTING.get(name, 'the gateway beside nginx')}", flush=True)
    if name == "gateway":
        return gateway()
    extra = ["--json"] if name == "simulator" else ["--quick"] if quick else []
    command = [sys.executable, "-m", f"benchmarks.{name}", *extra]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=HERE.parent)
    if done.returncode:
        print(f"  {name} failed with exit code {done.returncode}", file=sys.stderr)
        return done.returncode
    result = json.loads(done.stdout)
    (RESULTS / f"{name}.json").write_text(json.dumps({"about": about(), "result": result}, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2)[:2000])
    return 0


def gateway() -> int:
    """It needs nginx to compare with and a compiler for its load; says so where one is missing."""
    missing = [tool for tool in ("nginx", "cc") if shutil.which(tool) is None]
    if missing:
        print(f"  left out: {' and '.join(missing)} not found (Debian: apt-get install nginx-light gcc)")
        return 0
    return subprocess.run([sys.executable, str(HERE / "gateway" / "run.py")], check=False).returncode


def about() -> dict[str, Any]:
    """Commit, machine, date, build, versions."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "compiled": is_compiled(),
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {platform.machine()}",
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in SHOWN},
    }


if __name__ == "__main__":
    raise SystemExit(main())
