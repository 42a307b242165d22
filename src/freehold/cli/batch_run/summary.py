"""What came of a run: how many, what it cost, how the forecast held, and how cost and time were spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from freehold.cli.batch_run.run import Verdicts
from freehold.cli.batch_run.screen import dollars, histogram
from freehold.cli.calling import Server

_PATH = "/freehold/v1/batches"


def summary(console: Console, server: Server, ids: Sequence[str], out: Path, final: Verdicts) -> None:
    """Print it."""
    seen = [server.get(f"{_PATH}/{one}/progress") for one in ids]
    cost = sum(one["cost_nanodollars"] for one in seen)
    failed = f", [red]{final.bad} failed[/red]" if final.bad else ", none failed"
    console.print(f"[bold]{final.good} answers[/bold]{failed}, in {escape(str(out))}")
    tokens = [sum(one[name] for one in seen) for name in ("input_tokens", "output_tokens")]
    each = f", {dollars(cost // max(1, final.good))} an answer" if final.good else ""
    console.print(f"{tokens[0]:,} tokens in, {tokens[1]:,} out, [bold]{dollars(cost)}[/bold]{each}")
    for told in (_saving(seen), _forecast(server, ids)):
        if told:
            console.print(told)
    _pictures(console, [server.get(f"{_PATH}/{one}/spread") for one in ids])
    for line in final.reasons():
        console.print(line, style="red", markup=False)
    if final.bad:
        console.print("--failed asks again for these rows alone", style="dim")


def _saving(seen: Sequence[dict[str, Any]]) -> str:
    saved = sum(one.get("cache_saved_nanodollars") or 0 for one in seen)
    return (
        f"the cache was read {sum(one['cache_read_tokens'] for one in seen):,} tokens"
        + (f", which saved {dollars(saved)}" if saved else "")
        if any(one["cache_read_tokens"] for one in seen)
        else ""
    )


def _forecast(server: Server, ids: Sequence[str]) -> str:
    found = [server.get(f"{_PATH}/{one}/forecast") for one in ids[:1]]
    if not found or found[0]["made"] is None:
        return ""
    made, came = found[0]["made"], found[0]["cost_nanodollars"]
    held = {True: "it held", False: "it did not hold", None: "some calls failed, so it says little"}[found[0]["held"]]
    return f"forecast {dollars(made['low'])} to {dollars(made['high'])}, came to {dollars(came)}: {held}"


def _pictures(console: Console, spreads: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for side in ("left", "right", "left", "left", "left"):
        table.add_column(justify="right" if side == "right" else "left", no_wrap=True)
    for name, key, told in (
        ("time of a call", "latency_ms", lambda value: f"{value / 1000:.2f} s"),
        ("cost of a call", "cost_nanodollars", dollars),
        ("tokens of an answer", "output_tokens", str),
    ):
        values = [value for one in spreads for value in one[key] or ()]
        if values:
            low, middle, high = min(values), sorted(values)[len(values) // 2], max(values)
            table.add_row(name, told(low), histogram(values), told(high), f"[dim]median {told(middle)}[/dim]")
    if table.rows:
        console.print(table)
