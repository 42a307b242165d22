"""Usage and cost: `GET /v1/organizations/usage_report/messages` and `/cost_report` as Claude's Admin API has them, and
`GET /freehold/v1/usage`, which groups by all that we know and also answers CSV.

Shapes: Claude API docs, Admin API, pages "Get Messages Usage Report" and "Get Cost Report", read 2026-11-23. Grouping
by session, user and task type is ours.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.queries import Query, Window
from freehold.clock import Clock, parse_rfc3339, rfc3339
from freehold.errors import InvalidRequest, NotBuilt
from freehold.store.call_sums import COUNTED, SUMMED
from freehold.store.engine import Store
from freehold.store.usage_reports import DIMENSIONS, Span, report

MOST_ROWS = 10_000
"""Of one answer; more is a 400 that says to ask for less."""
_DAY_US = 86_400_000_000
_WIDTHS: Mapping[str, tuple[int, int, int]] = {
    "1d": (_DAY_US, 7, 31),
    "1h": (_DAY_US // 24, 24, 168),
    "1m": (_DAY_US // 1440, 60, 1440),
}
"""Microseconds, buckets a page, buckets at most."""
_OURS = {"session_id": "session", "user_id": "user", "task_type": "task_type"}
_USAGE_GROUPS = {
    "api_key_id": "key",
    "workspace_id": "workspace",
    "model": "model",
    "context_window": "context_window",
    **_OURS,
}
_COST_GROUPS = {"workspace_id": "workspace", "api_key_id": "key", "model": "model", **_OURS}
_UNKNOWN_GROUPS = ("account_id", "service_account_id", "service_tier", "inference_geo", "speed", "description")
_FILTERS = {"api_key_ids": "key", "workspace_ids": "workspace", "models": "model", "context_window": "context_window"}
_MOST_VALUES = 100
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula: names of users come from strangers."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A report as it is asked for."""

    window: Window
    width_us: int
    from_us: int
    to_us: int
    """The end of the page."""
    more: bool
    by: Mapping[str, str]
    only: Mapping[str, Sequence[str]]


def routes(store: Store, *, clock: Clock) -> list[BaseRoute]:
    """Every route of reports."""

    async def usage_report(request: Request) -> Response:
        asked = _asked(request.query, clock.now_us(), _USAGE_GROUPS, ("1d", "1h", "1m"))
        return answer(_paged(asked, await _rows(store, asked), _usage))

    async def cost_report(request: Request) -> Response:
        asked = _asked(request.query, clock.now_us(), _COST_GROUPS, ("1d",))
        return answer(_paged(asked, await _rows(store, asked), _cost))

    async def usage(request: Request) -> Response:
        return await _usage_of_ours(store, request)

    return [
        route("GET", "/v1/organizations/usage_report/messages", usage_report, door="admin"),
        route("GET", "/v1/organizations/cost_report", cost_report, door="admin"),
        route("GET", "/freehold/v1/usage", usage),
    ]


def _asked(query: Query, now_us: int, groups: Mapping[str, str], widths: Sequence[str]) -> _Asked:
    width_us, usual, most = _WIDTHS[query.one_of("bucket_width", widths, "1d")]
    start = _time(query, "starting_at")
    if start is None:
        raise InvalidRequest("starting_at: is required, an RFC 3339 time.")
    end = _time(query, "ending_at")
    by = _groups(query, groups)
    only = {name: query.texts(parameter, most=_MOST_VALUES) for parameter, name in _FILTERS.items()}
    bound = {"start": start, "end": end, "width": width_us, "by": sorted(by), "only": only}
    window = query.window("usage", bound, default=usual, most=most, position=(int,))
    first = start // width_us * width_us
    from_us = int(window.after[0]) // width_us * width_us if window.after is not None else first
    last_us = -(-(now_us if end is None else end) // width_us) * width_us
    to_us = min(last_us, from_us + window.limit * width_us)
    return _Asked(window, width_us, from_us, max(from_us, to_us), to_us < last_us, by, only)


def _time(query: Query, name: str) -> int | None:
    text = query.text(name)
    try:
        return None if text is None else parse_rfc3339(text.replace(" ", "+"))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{name}: must be an RFC 3339 time with an offset, not {str(text)[:60]!r}.") from error


def _groups(query: Query, known: Mapping[str, str]) -> dict[str, str]:
    asked = query.texts("group_by", most=len(known) + len(_UNKNOWN_GROUPS))
    for name in asked:
        if name in _UNKNOWN_GROUPS and name not in known:
            raise NotBuilt(f"group_by[]: this server does not keep {name} by the call; known: {', '.join(known)}.")
        if name not in known:
            raise InvalidRequest(f"group_by[]: must be of {', '.join(known)}, not {name[:40]!r}.")
    return {name: known[name] for name in asked}


async def _rows(store: Store, asked: _Asked) -> list[dict[str, Any]]:
    await store.flush()  # rows of calls go in behind the answers
    span = Span(asked.from_us, asked.to_us, asked.width_us)
    async with store.read() as conn:
        rows = await report(conn, span, list(dict.fromkeys(asked.by.values())), only=asked.only, limit=MOST_ROWS)
    return _not_too_many(rows)


def _not_too_many(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(rows) > MOST_ROWS:
        raise InvalidRequest(f"The report has more than {MOST_ROWS:,} rows: ask for a shorter time or fewer groups.")
    return rows


def _paged(asked: _Asked, rows: Sequence[Mapping[str, Any]], shown: Any) -> dict[str, Any]:
    """Every bucket of the page, those without calls too."""
    buckets: dict[int, list[dict[str, Any]]] = {at: [] for at in range(asked.from_us, asked.to_us, asked.width_us)}
    for row in rows:
        buckets[row["bucket_us"]].append(shown(row, asked.by))
    data = [
        {"starting_at": rfc3339(at), "ending_at": rfc3339(at + asked.width_us), "results": results}
        for at, results in buckets.items()
    ]
    more = asked.window.cursor([asked.to_us]) if asked.more else None
    return {"data": data, "has_more": asked.more, "next_page": more}


def _usage(row: Mapping[str, Any], by: Mapping[str, str]) -> dict[str, Any]:
    nothing = dict.fromkeys(("account_id", "service_account_id", "service_tier", "inference_geo"))
    usual = dict.fromkeys(name for name in _USAGE_GROUPS if name not in _OURS)
    return {
        **nothing,
        **usual,
        **{name: row[column] for name, column in by.items()},
        "uncached_input_tokens": row["input_tokens"],
        "cache_creation": {
            "ephemeral_1h_input_tokens": row["cache_write_1h_tokens"],
            "ephemeral_5m_input_tokens": row["cache_write_5m_tokens"],
        },
        "cache_read_input_tokens": row["cache_read_tokens"],
        "output_tokens": row["output_tokens"],
        "server_tool_use": {"web_search_requests": row["web_searches"]},
    }


def _cost(row: Mapping[str, Any], by: Mapping[str, str]) -> dict[str, Any]:
    nothing = ("context_window", "cost_type", "description", "inference_geo", "model", "service_tier", "token_type")
    return {
        **dict.fromkeys(nothing),
        "workspace_id": None,
        **{name: row[column] for name, column in by.items()},
        "amount": cents(row["cost_nanodollars"]),
        "currency": "USD",
    }


def cents(nanodollars: int) -> str:
    """Exact cents as a decimal string: `"123.78912"`."""
    text = f"{Decimal(nanodollars).scaleb(-7):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


async def _usage_of_ours(store: Store, request: Request) -> Response:
    """One table, with `limit` the first or the dearest of it; `total` is always of all. A member sees its workspace, an
    admin all of them or the one it names."""
    query = request.query
    by = query.texts("by", most=len(DIMENSIONS) + 1)
    form = query.one_of("format", ("json", "csv"), "json")
    within = query.times("started_at", ("gte", "lt"))
    only = {"workspace": request.workspaces(query.text("workspace_id"))}
    for name in ("key", "model", "session", "user", "task_type"):
        only[name] = query.texts(f"{name}s", most=_MOST_VALUES)
    dearest = query.one_of("order", ("name", "cost"), "name") == "cost"
    limit = query.whole("limit", least=1, most=MOST_ROWS)
    query.refuse_others()
    known = ("day", *DIMENSIONS)
    if unknown := [name for name in by if name not in known]:
        raise InvalidRequest(f"by[]: must be of {', '.join(known)}, not {unknown[0][:40]!r}.")
    await store.flush()
    groups = [name for name in dict.fromkeys(by) if name != "day"]
    span = Span(within.gte, within.lt, _DAY_US if "day" in by else None)
    async with store.read() as conn:
        rows = await report(conn, span, groups, only=only, limit=limit or MOST_ROWS, dearest=dearest)
        more = limit is not None and len(rows) > limit
        rows = rows[:limit] if more else _not_too_many(rows)
        whole = await report(conn, Span(within.gte, within.lt), [], only=only) if more else rows
    columns = [*(["day"] if "day" in by else []), *groups, *COUNTED, *SUMMED]
    shown = [{**row, **({"day": rfc3339(row["bucket_us"])[:10]} if "day" in by else {})} for row in rows]
    data = [{name: row[name] for name in columns} for row in shown]
    if form == "csv":
        return Response(as_csv(columns, data), media_type="text/csv; charset=utf-8")
    total = {name: sum(row[name] for row in whole) for name in (*COUNTED, *SUMMED)}
    return answer({"type": "usage", "total": total, "has_more": more, "data": data})


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with a head; what a spreadsheet would take for a formula is quoted for it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
