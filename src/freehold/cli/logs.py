"""`freehold logs`: calls as they end, one line each; with `-f` for as long as you look."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from freehold.cli.options import Data, Json, KeyFile, Url

_PATH = "/freehold/v1/calls"
_LOOK_S = 1.0
_OVERLAP_US = 5_000_000
"""Looked at again each time: servers that share a database write their rows up to a moment later."""
_REMEMBERED = 20_000


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, and print calls as they end.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    key: Annotated[str | None, typer.Option(help="Id of a key.")] = None,
    user: Annotated[str | None, typer.Option(help="Id of a user.")] = None,
    session: Annotated[str | None, typer.Option(help="Id of a session.")] = None,
    model: Annotated[str | None, typer.Option(help="Model asked for, or that answered.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=100, help="How many of the newest first.")] = 20,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Print the newest calls, the latest last; with -f also those to come. --json: one object a line."""
    from freehold.cli.settings import server_of

    asked = {"key_id": key, "user_id": user, "session_id": session, "model": model}
    query = {name: value for name, value in asked.items() if value} | ({"failed": "true"} if failed else {})
    tail = Tail(server_of(data, url, key_file), query)
    try:
        for call in tail.newest(lines):
            _print(call, as_json)
        while follow:
            time.sleep(_LOOK_S)
            for call in tail.more():
                _print(call, as_json)
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit from None


class Tail:
    """What has been printed of the calls that fit, and what comes."""

    def __init__(self, server: Any, query: Mapping[str, str]) -> None:
        self._server = server
        self._query = query
        self._seen: dict[str, None] = {}
        self._until_us = 0
        """The latest end so far, by the server's own clock."""

    def newest(self, count: int) -> list[dict[str, Any]]:
        """So many that began last, by their end; everything that is there now is not to come any more."""
        found = self._server.get(_PATH, {**self._query, "limit": "100"})["data"]
        self._remember(found)
        self._until_us = self._until_us or round(time.time() * 1_000_000)
        return sorted(found, key=_ended_us)[len(found) - min(count, len(found)) :]

    def more(self) -> list[dict[str, Any]]:
        """What has ended since, by its end."""
        since = {"ended_at[gte]": _rfc3339(self._until_us - _OVERLAP_US)}
        found = self._server.pages(_PATH, {**self._query, **since, "limit": "100"}, most=_REMEMBERED)
        new = [call for call in found if call["id"] not in self._seen]
        self._remember(new)
        return sorted(new, key=_ended_us)

    def _remember(self, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            self._seen[call["id"]] = None
            self._until_us = max(self._until_us, _ended_us(call))
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _ended_us(call: Mapping[str, Any]) -> int:
    from freehold.clock import parse_rfc3339

    return parse_rfc3339(call["started_at"]) + int(call["latency_us"])


def _rfc3339(us: int) -> str:
    from freehold.clock import rfc3339

    return rfc3339(us)


def _print(call: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(call, ensure_ascii=False), flush=True)
        return
    from freehold.money import show_dollars

    cost = call["cost_nanodollars"]
    told = [
        _rfc3339(_ended_us(call))[:19].replace("T", " "),
        str(call["status"]),
        str(call["model_answered"] or call["model_asked"] or "-"),
        f"{call['latency_us'] / 1e6:.2f} s",
        f"{call['input_tokens']}+{call['output_tokens']} tokens" if call["input_tokens"] is not None else "",
        "" if cost is None else show_dollars(cost),
        *(f"{name}={call[f'{name}_id']}" for name in ("user", "session") if call[f"{name}_id"]),
        call["error_type"] or "",
        call["id"],
    ]
    print("  ".join(part for part in told if part), flush=True)
