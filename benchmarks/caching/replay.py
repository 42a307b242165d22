"""What caching would have cost: generated and recorded traffic, through the simulator's cache in each way.

`python -m benchmarks.caching.replay [REQUESTS]` writes `benchmarks/results/caching.json`: seven families of generated
traffic (`traffic.py`), so many requests of each with three seeds, and what was recorded of real sessions and calls
(`record.py`). The ways, what they cost and the clairvoyant bound: `freehold.gateway.caching.replay`. Whoever has
recordings of his own asks for the same table by `freehold cache replay`.
"""

from __future__ import annotations

import datetime
import json
import platform
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.caching.record import DATA
from benchmarks.caching.traffic import FAMILIES, MODEL
from freehold.gateway.caching.recorded import load
from freehold.gateway.caching.replay import Sent, costs, readable
from freehold.ledger.rates import Rates

RESULTS = Path(__file__).parents[1] / "results" / "caching.json"
Row = dict[str, int]


def row(traffic: Sequence[Sent]) -> Row:
    """Nanodollars by way. Raises `ValueError` where a request cannot be replayed."""
    found, refused = readable(traffic)
    if refused:
        raise ValueError(refused[0])
    return costs(found, Rates.load()).nanodollars


def generated(size: int, seed: int, families: Sequence[str] = tuple(FAMILIES)) -> dict[str, Row]:
    """A row for each family."""
    return {name: row(list(FAMILIES[name](random.Random(f"{seed} {name}"), size))) for name in families}


def recorded() -> dict[str, Row]:
    """A row for each recording."""
    return {f"recorded_{file.name.split('.')[0]}": row(load(file)) for file in sorted(DATA.glob("*.jsonl.xz"))}


def totals(rows: Mapping[str, Row]) -> Row:
    """All of them together."""
    first = next(iter(rows.values()))
    return {way: sum(one[way] for one in rows.values()) for way in first}


def main() -> None:
    """See the module."""
    size, seeds = (int(sys.argv[1]) if len(sys.argv) > 1 else 400), (1, 2, 3)
    real = recorded()
    runs = {seed: generated(size, seed) | real for seed in seeds}
    for seed, rows in runs.items():
        print(f"seed {seed}, {size} requests a family: dollars of input")
        for name, one in {**rows, "all": totals(rows)}.items():
            cells = "  ".join(f"{way} {cost / 1e9:8.4f}" for way, cost in one.items())
            print(
                f"  {name:19} {cells}  ours/bound {one['ours'] / one['bound']:.3f}"
                f"  ours/none {one['ours'] / one['no_cache']:.3f}"
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
