"""`freehold cache`: how well Claude's prompt cache is used, and who is to blame where it is missed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

_PATH = "/freehold/v1/cache/report"
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


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="How well Claude's prompt cache is used.", no_args_is_help=True)
    group.command("report")(report)
    return group


def report(
    by: Annotated[Literal["day", "hour"], typer.Option(help="How long a line of the table is.")] = "day",
    start: Annotated[str | None, typer.Option("--from", help="From this day or RFC 3339 time on (UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Until this day or time, not included.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show the hit rate of every route over time, and what each cause of misses has cost, the dearest first."""
    from freehold.cli.settings import server_of

    query: list[tuple[str, str]] = [("by", by)]
    query += [(f"started_at[{name}]", _time(value)) for name, value in (("gte", start), ("lt", end)) if value]
    found = server_of(data, url, key_file).get(_PATH, query)
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
