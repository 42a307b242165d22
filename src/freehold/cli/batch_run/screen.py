"""How a run looks: one live line while it goes, and what came of it, with a picture of latencies, at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from freehold.money import NANODOLLARS_PER_CENT

_BARS = " ▁▂▃▄▅▆▇█"
_POLL_S = 0.3


def watch(console: Console, batch_ids: Sequence[str], look: Callable[[str], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Show how far they are until all have ended; their last progress, and how many were done each second."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    began = time.monotonic()
    with Progress(*columns, console=console, refresh_per_second=8) as bar:
        task = bar.add_task("batch", total=None, told="")
        while True:
            seen = [dict(look(one)) for one in batch_ids]
            total, done = sum(one["total"] for one in seen), sum(_done(one) for one in seen)
            bar.update(task, total=total, completed=done, told=_told(seen, time.monotonic() - began))
            if all(one["processing_status"] == "ended" for one in seen):
                return seen
            paused = next((one["paused"] for one in seen if one["paused"]), None)
            if paused:
                bar.update(task, description="paused", told=escape(paused))
            time.sleep(_POLL_S)


def _done(one: Mapping[str, Any]) -> int:
    return int(one["succeeded"] + one["errored"] + one["canceled"] + one["expired"])


def _told(seen: Sequence[Mapping[str, Any]], passed_s: float) -> str:
    done, total = sum(map(_done, seen)), sum(one["total"] for one in seen)
    failed = sum(one["errored"] + one["expired"] for one in seen)
    rate = done / passed_s if passed_s > 0 else 0.0
    left = f"{(total - done) / rate:.0f} s left" if rate and done < total else ""
    tokens = sum(one["input_tokens"] + one["output_tokens"] for one in seen)
    cost = sum(one["cost_nanodollars"] for one in seen)
    parts = [f"{failed} failed" if failed else "", f"{rate:.0f}/s", f"{tokens:,} tokens", dollars(cost), left]
    return " · ".join(part for part in parts if part)


def dollars(nanodollars: int) -> str:
    """`$0.0123`."""
    return f"${nanodollars / (100 * NANODOLLARS_PER_CENT):.4f}"


def histogram(values: Sequence[int], width: int = 24) -> str:
    """A picture of how values are spread, smallest to largest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    counts = [0] * width
    for value in values:
        counts[min(width - 1, (value - low) * width // max(1, high - low))] += 1
    most = max(counts)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)
