"""`freehold cache`: how well Claude's prompt cache is used, what has missed it, and what would have paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

if TYPE_CHECKING:
    from freehold.cli.calling import Server
    from freehold.gateway.caching.replay import Costs, Sent

_PATH = "/freehold/v1/cache/report"
_CALLS = "/freehold/v1/calls"
From = Annotated[str | None, typer.Option("--from", help="From this day or RFC 3339 time on (UTC).")]
To = Annotated[str | None, typer.Option("--to", help="Until this day or time, not included.")]
_CULPRITS = {
    "model_changed": "the model has changed",
    "tools_reordered": "the tools came in another order",
    "tools_changed": "the tools have changed",
    "system_changed": "the system prompt has changed",
    "settings_changed": "a setting that the cache depends on has changed",
    "history_changed": "an earlier message was changed",
    "expired": "it had gone cold before it was asked for again",
    "evicted": "nothing differs; the upstream did not have it any more",
}
_WAYS = {
    "no_cache": "no cache",
    "clients_marks": "as it was sent",
    "automatic": "automatic caching",
    "two_fixed_points": "two fixed points",
    "ours": 'caching = "auto"',
    "bound": "the bound",
}


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="How well Claude's prompt cache is used.", no_args_is_help=True)
    group.command("report")(report)
    group.command("replay")(replay)
    return group


def report(
    by: Annotated[Literal["day", "hour"], typer.Option(help="How long a line of the table is.")] = "day",
    start: From = None,
    end: To = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show the hit rate of every route over time, and what each cause of misses has cost, the dearest first."""
    from freehold.cli.settings import server_of

    found = server_of(data, url, key_file).get(_PATH, {"by": by, **_within(start, end)})
    if as_json:
        print_json(found)
        return
    columns = ["starting_at", "key", "task_type", "model", "calls", "hit_rate", "read", "written", "uncached"]
    print_table(columns, [_route(row) for row in found["routes"]], "There are no calls.")
    for miss in found["misses"]:
        print()
        _print_miss(miss)
    if not found["misses"]:
        print("\nNo warm prefix was missed.")


def replay(
    file: Annotated[
        Path | None, typer.Argument(help="Traffic that `--save` wrote, instead of the server's recordings.")
    ] = None,
    start: From = None,
    end: To = None,
    key: Annotated[str | None, typer.Option(help="Only calls of this key: its id.")] = None,
    model: Annotated[str | None, typer.Option(help="Only calls of this model.")] = None,
    source: Annotated[str | None, typer.Option(help="Only calls that came from there (X-Request-Source).")] = None,
    most: Annotated[int, typer.Option(min=1, help="So many calls at most, the newest.")] = 10_000,
    save: Annotated[Path | None, typer.Option(help="Also write the requests to this file; .xz packs it.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show what the recorded calls would have cost with other ways to set breakpoints (input alone, list prices).

    Calls are recorded whole where the setting `record` says so. They are replayed at their own times through the
    simulator's prompt cache; nothing is sent anywhere.
    """
    from freehold.cli.settings import server_of
    from freehold.gateway.caching import recorded
    from freehold.gateway.caching import replay as replaying
    from freehold.ledger.rates import Rates

    if file is not None:
        traffic = recorded.load(file)
    else:
        asked = {"key_id": key, "model": model, "source": source}
        query = {name: value for name, value in asked.items() if value is not None} | _within(start, end)
        traffic = _recorded(server_of(data, url, key_file), query, most)
    if save is not None:
        recorded.save(traffic, save)
    found, refused = replaying.readable(traffic)
    costs = replaying.costs(found, Rates.load())
    if as_json:
        told = {"calls": len(found), "left_out": len(refused), "pings": costs.pings}
        print_json({**told, "nanodollars": costs.nanodollars})
        return
    if found:
        _print_costs([one.sent.at_us for one in found], costs)
    else:
        print("No recorded call can be replayed; the setting `record` keeps calls whole from now on.")
    for why, count in Counter(refused).most_common(5):
        print(f"{count} left out: {_line(why)}")


def _print_costs(times_us: Sequence[int], costs: Costs) -> None:
    from freehold.clock import rfc3339
    from freehold.money import show_dollars

    print(
        f"{len(times_us):,} calls, {rfc3339(times_us[0])[:19]} to {rfc3339(times_us[-1])[:19]}; input at list prices\n"
    )
    without = costs.nanodollars["no_cache"] or 1
    rows = [
        {"breakpoints": told, "cost": show_dollars(cost), "of no cache": f"{cost / without:.0%}"}
        for name, told in _WAYS.items()
        for cost in (costs.nanodollars[name],)
    ]
    print_table(["breakpoints", "cost", "of no cache"], rows, "")
    if costs.pings:
        print(f'{costs.pings:,} small requests that keep prefixes warm are in what caching = "auto" would cost.')


def _recorded(server: Server, query: dict[str, str], most: int) -> list[Sent]:
    """The requests of the newest answered calls that were recorded whole, the oldest of them first."""
    from freehold.gateway.caching.recorded import sent_of
    from freehold.gateway.middleware.caching import PING_SOURCE

    wanted = {**query, "route": "messages", "recorded": "true", "status": "200", "limit": "100"}
    ids = [one["id"] for one in server.pages(_CALLS, wanted, most=most) if one["source"] != PING_SOURCE]
    found = (sent_of(server.get(f"{_CALLS}/{call_id}")) for call_id in reversed(ids))
    return [sent for sent in found if sent is not None]


def _within(start: str | None, end: str | None) -> dict[str, str]:
    return {f"started_at[{name}]": _time(value) for name, value in (("gte", start), ("lt", end)) if value}


def _route(row: dict[str, Any]) -> dict[str, Any]:
    rate = "" if row["hit_rate"] is None else f"{row['hit_rate']:.0%}"
    written = row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"]
    tokens = {"read": row["cache_read_tokens"], "written": written, "uncached": row["input_tokens"]}
    return {**row, **tokens, "hit_rate": rate, "task_type": row["task_type"] or ""}


def _print_miss(miss: dict[str, Any]) -> None:
    from freehold.money import show_dollars

    place = f" at {miss['path']}" if miss["path"] else ""
    cost, tokens = show_dollars(miss["cost_nanodollars"]), f"{miss['lost_tokens']:,} tokens"
    print(
        f"{cost} lost in {miss['misses']} misses ({tokens}): {_CULPRITS.get(miss['culprit'], miss['culprit'])}{place}"
    )
    print(f"  {miss['model']}, key {miss['key_id']}, last {miss['last_at']}, call {miss['call_id']}")
    if miss["before"] or miss["after"]:
        print(f"  before: {_line(miss['before'])}")
        print(f"  after:  {_line(miss['after'])}")


def _line(text: str) -> str:
    """One line, whatever a request holds: what moves a terminal's cursor is shown as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _time(text: str) -> str:
    return f"{text}T00:00:00Z" if len(text) == len("2026-11-23") else text
