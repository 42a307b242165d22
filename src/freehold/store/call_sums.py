"""What calls of whole hours and days add up to, kept beside their rows: reports over millions of calls come at once.

An hour is summed when it is long over (`store/call_summing.py`); what is not summed is read from the rows, so reports
are exact. A sum is by one thing that rows know, its `dimension`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, String, case, cast, delete, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import Subquery

from freehold.store.tables import call_sums, call_sums_made, calls

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
COUNTED = ("calls", "failed_calls", "unpriced_calls")
SUMMED = (
    "input_tokens",
    "output_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "web_searches",
    "cost_nanodollars",
    "settled_nanodollars",
    "latency_us",
    "attempts",
)
LATENCY_CLASSES_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
"""Upper ends; a last class holds what took longer."""
_C = calls.c
_S = call_sums.c
MODEL: ColumnElement[Any] = func.coalesce(_C.model_answered, _C.model_asked)
_LATENCY = case(
    *((_C.latency_us < most * 1000, place) for place, most in enumerate(LATENCY_CLASSES_MS)),
    else_=len(LATENCY_CLASSES_MS),
)
SEPARATOR = "\x1f"
"""Between the parts of an outcome: model, status, error type, latency class."""


def _text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(cast(column, String), "")


_OUTCOME = (
    _text(MODEL)
    .concat(SEPARATOR)
    .concat(cast(_C.status, String))
    .concat(SEPARATOR)
    .concat(_text(_C.error_type))
    .concat(SEPARATOR)
    .concat(cast(_LATENCY, String))
)
DIMENSIONS: dict[str, ColumnElement[Any]] = {
    "model": _text(MODEL),
    "key": _text(_C.key_id),
    "session": _text(_C.session_id),
    "user": _text(_C.user_id),
    "task_type": _text(_C.task_type),
    "source": _text(_C.source),
    "upstream": _text(_C.upstream),
    "outcome": _OUTCOME,
}
"""What is summed by."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `from_us` to before `to_us` (`None`: open). `width_us`: of which sums it is made; 0: of the rows."""

    from_us: int | None
    to_us: int | None
    width_us: int


async def stretches(
    conn: AsyncConnection, from_us: int | None, to_us: int | None, *, widest_us: int = DAY_US
) -> list[Stretch]:
    """The span cut into what is summed, the widest first, and what has to be read from the rows. Sums wider than
    `widest_us` are left alone: they could not be cut into buckets of that width."""
    query = select(call_sums_made.c.from_us, call_sums_made.c.width_us).where(call_sums_made.c.width_us <= widest_us)
    if from_us is not None:
        query = query.where(call_sums_made.c.from_us >= from_us)
    if to_us is not None:
        query = query.where(call_sums_made.c.from_us + call_sums_made.c.width_us <= to_us)
    made = (await conn.execute(query.order_by(call_sums_made.c.from_us, call_sums_made.c.width_us.desc()))).all()
    return list(_joined(from_us, to_us, [(int(at), int(width)) for at, width in made]))


def _joined(from_us: int | None, to_us: int | None, made: Sequence[tuple[int, int]]) -> Iterator[Stretch]:
    """`made` by time, of two that begin together the wider first."""
    at, run = from_us, None
    for begins, width in made:
        if at is not None and begins < at:
            continue  # an hour of a day that is summed itself
        if run is not None and run.to_us == begins and run.width_us == width:
            run = Stretch(run.from_us, begins + width, width)
        else:
            if run is not None:
                yield run
            if at is None or at < begins:
                yield Stretch(at, begins, 0)
            run = Stretch(begins, begins + width, width)
        at = begins + width
    if run is not None:
        yield run
    if to_us is None or at is None or at < to_us:
        yield Stretch(at, to_us, 0)


def added_up(
    found: Sequence[Stretch], dimension: str, *, width_us: int | None, workspaces: Sequence[str] | None
) -> Subquery:
    """All that the stretches hold, as rows of `bucket_us` (0 without a width), `workspace`, `value`, and every sum of
    `COUNTED` and `SUMMED`; the same bucket and value may come more than once."""
    parts = [
        _of_sums(one, dimension, width_us, workspaces)
        if one.width_us
        else _of_rows(_within(one), dimension, width_us, workspaces)
        for one in found
    ]
    first, *rest = parts
    return first.union_all(*rest).subquery("parts") if rest else first.subquery("parts")


def rows_summed(from_us: int, to_us: int, dimension: str) -> Select[Any]:
    """The rows of that time added up: what `call_sums` keeps of them."""
    return _of_rows([_C.started_us >= from_us, _C.started_us < to_us], dimension, None, None)


def _within(one: Stretch) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if one.from_us is not None:
        found.append(_C.started_us >= one.from_us)
    if one.to_us is not None:
        found.append(_C.started_us < one.to_us)
    return found


def _of_rows(
    within: Sequence[ColumnElement[bool]], dimension: str, width_us: int | None, workspaces: Sequence[str] | None
) -> Select[Any]:
    bucket = _bucket(_C.started_us, width_us)
    unpriced = _C.cost_nanodollars.is_(None) & (_C.usage_known != "none")
    query = select(
        bucket.label("bucket_us"),
        _C.workspace_id.label("workspace"),
        DIMENSIONS[dimension].label("value"),
        func.count().label("calls"),
        func.count().filter(_C.status >= 400).label("failed_calls"),
        func.count().filter(unpriced).label("unpriced_calls"),
        *(func.coalesce(func.sum(_C[name]), 0).label(name) for name in SUMMED),
    ).where(*within, _C.workspace_id.is_not(None))
    if workspaces:
        query = query.where(_C.workspace_id.in_(workspaces))
    # The labels, not the expressions: PostgreSQL must see that they are the same.
    return query.group_by("bucket_us", "workspace", "value")


def _of_sums(one: Stretch, dimension: str, width_us: int | None, workspaces: Sequence[str] | None) -> Select[Any]:
    query = select(
        _bucket(_S.from_us, width_us).label("bucket_us"),
        _S.workspace_id.label("workspace"),
        _S.value,
        *(_S[name] for name in (*COUNTED, *SUMMED)),
    ).where(_S.dimension == dimension, _S.width_us == one.width_us, _S.from_us >= one.from_us, _S.from_us < one.to_us)
    return query.where(_S.workspace_id.in_(workspaces)) if workspaces else query


def _bucket(at: ColumnElement[Any], width_us: int | None) -> ColumnElement[Any]:
    return literal(0).label("bucket_us") if width_us is None else at // width_us * width_us


async def unname(conn: AsyncConnection, workspace_id: str, user_id: str) -> None:
    """Take a user's name off the sums: what it used belongs to no user from now on."""
    theirs = (_S.dimension == "user") & (_S.workspace_id == workspace_id) & (_S.value == user_id)
    sums = (*COUNTED, *SUMMED)
    keys = ("dimension", "width_us", "from_us", "workspace_id", "value")
    nameless = select(_S.dimension, _S.width_us, _S.from_us, _S.workspace_id, literal(""), *(_S[one] for one in sums))
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    into: Any = dialect.insert(call_sums).from_select((*keys, *sums), nameless.where(theirs))
    added = {name: _S[name] + into.excluded[name] for name in sums}
    await conn.execute(into.on_conflict_do_update(index_elements=list(keys), set_=added))
    await conn.execute(delete(call_sums).where(theirs))
