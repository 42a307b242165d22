"""What a run will cost, told before it is spent: asked of the server, shown, and held against what the user allows."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from freehold.cli.batch_run import remote, screen
from freehold.cli.calling import Server
from freehold.money import NANODOLLARS_PER_CENT

Request = tuple[str, dict[str, Any]]


def estimate(server: Server, requests: Iterable[Request]) -> dict[str, Any]:
    """What these requests will use and cost together, of however many batches."""
    parts = list(remote.estimates(server, requests))
    whole = dict(parts[0]) if parts else _NOTHING
    for part in parts[1:]:
        for name in ("requests", "refused", "counted", "input_tokens"):
            whole[name] += part[name]
        whole["output_tokens"] = _sum(whole["output_tokens"], part["output_tokens"])
        whole["cost_nanodollars"] = _sum(whole["cost_nanodollars"], part["cost_nanodollars"])
    return whole


def probe(console: Console, server: Server, requests: Sequence[Request], count: int) -> None:
    """Make some of the calls, chosen by chance: what they use is what the forecast is made of."""
    chosen = random.Random(len(requests)).sample(requests, min(count, len(requests)))
    made = [batch["id"] for batch in remote.send(server, chosen)]
    seen = screen.watch(console, made, lambda one: remote.progress(server, one))
    cost = sum(one["cost_nanodollars"] for one in seen)
    console.print(f"{len(chosen)} calls made to know more, for {screen.dollars(cost)}.")


def show(console: Console, found: Mapping[str, Any]) -> None:
    """In words."""
    many = f"{found['requests']:,} requests"
    refused = f", {found['refused']:,} of them will be refused" if found["refused"] else ""
    exact = "" if found["counted"] >= found["requests"] - found["refused"] else "about "
    console.print(f"{many}{refused}; {exact}{found['input_tokens']:,} tokens go in")
    out, cost = found["output_tokens"], found["cost_nanodollars"]
    if found["basis"] == "history":
        console.print(
            f"out come about {out['expected']:,} tokens: {out['low']:,} to {out['high']:,} with "
            f"{found['confidence']:.0%} confidence, from {found['known_calls']:,} calls of this kind"
        )
    else:
        console.print(
            f"out come {out['low']:,} to {out['high']:,} tokens: nothing of this kind was done before; "
            "--probe 50 makes fifty of the calls to know more"
        )
    console.print(f"[bold]{_cost(cost, found['basis'])}[/bold]")


def allowed(found: Mapping[str, Any], max_dollars: float, *, yes: bool) -> bool:
    """Whether the run may begin: its highest cost is below the limit, or somebody says so."""
    cost = found["cost_nanodollars"]
    limit = max_dollars * 100 * NANODOLLARS_PER_CENT
    if yes or (cost is not None and cost["high"] <= limit):
        return True
    told = "its price is not known" if cost is None else f"it may cost up to {screen.dollars(cost['high'])}"
    if sys.stdin.isatty():
        answer = input(f"{told}, more than ${max_dollars:.2f}. Go on? [y/N] ")
        return answer.strip().lower() in ("y", "yes")
    print(f"refused: {told}, more than ${max_dollars:.2f}; --yes does it all the same", file=sys.stderr)
    return False


def _cost(cost: Mapping[str, int] | None, basis: str) -> str:
    if cost is None:
        return "the price of a model is not known"
    low, expected, high = (screen.dollars(cost[name]) for name in ("low", "expected", "high"))
    return f"{expected}, between {low} and {high}" if basis == "history" else f"between {low} and {high}"


def _sum(one: Mapping[str, int] | None, other: Mapping[str, int] | None) -> dict[str, int] | None:
    """Ends are added: the parts are of one kind, so their errors are not independent."""
    if one is None or other is None:
        return None
    return {name: one[name] + other[name] for name in ("low", "expected", "high")}


_ZERO = {"low": 0, "expected": 0, "high": 0}
_NOTHING: dict[str, Any] = {
    "basis": "bounds",
    "confidence": 1.0,
    "requests": 0,
    "refused": 0,
    "counted": 0,
    "known_calls": 0,
    "input_tokens": 0,
    "output_tokens": _ZERO,
    "cost_nanodollars": _ZERO,
}
