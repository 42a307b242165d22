"""The tool journal: what was planned, begun and done, so that no tool runs twice without notice.

    planned → started     the owner commits this before the effect
    started → started     only policy `retry`: run again, under the same key
    started → done        in one commit with the result event
    started → unknown     in one commit with the result that says so
    planned → done        only policy `client`: the client ran it and posted the result
    planned → denied      refused, or interrupted before it began

Everything else raises `WrongState`. The moves are made by `session_log.append`, in the commit of the events they belong
to, behind its fence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import BigInteger, String, and_, bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from freehold.store.tables import tool_calls

Policy = Literal["once", "retry", "client"]
"""`once`: never run again when its outcome is unknown. `retry`: may be. `client`: never run here at all."""
State = Literal["planned", "started", "done", "unknown", "denied"]

_FROM: dict[State, tuple[tuple[State, tuple[Policy, ...]], ...]] = {
    "started": (("planned", ("once", "retry")), ("started", ("retry",))),
    "done": (("started", ("once", "retry")), ("planned", ("client",))),
    "unknown": (("started", ("once", "retry")),),
    "denied": (("planned", ("once", "retry", "client")),),
}

_THIS = and_(
    tool_calls.c.session_id == bindparam("session", type_=String()),
    tool_calls.c.event_id == bindparam("call", type_=String()),
)
_IN_STATES = (
    select(tool_calls)
    .where(
        tool_calls.c.session_id == bindparam("session", type_=String()),
        tool_calls.c.state.in_(bindparam("states", type_=String(), expanding=True)),
    )
    .order_by(tool_calls.c.event_id)
)
_INSERT = insert(tool_calls)


class WrongState(Exception):
    """A tool call cannot go from the state that it is in to the one that was asked for."""

    def __init__(self, event_id: str, state: str | None, wanted: str) -> None:
        super().__init__(f"{event_id} is {state or 'not in the journal'} and cannot become {wanted}")
        self.event_id = event_id
        self.state = state
        """`None`: this session has no such call."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call of the model's message, to stand in the journal with it."""

    event_id: str
    """The id of the `agent.*_tool_use` event: also the idempotency key of all attempts."""
    name: str
    policy: Policy = "once"


@dataclass(frozen=True, slots=True)
class Move:
    """A call goes into another state."""

    event_id: str
    to: Literal["started", "done", "unknown", "denied"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One line of the journal."""

    event_id: str
    name: str
    policy: Policy
    state: State
    attempt: int
    """How often it was started."""
    epoch: int
    """Under which owner it was last moved."""
    started_us: int | None


async def write(
    conn: AsyncConnection, session_id: str, changes: Sequence[Plan | Move], *, epoch: int, now_us: int
) -> list[ToolCall]:
    """Make the changes in order and give each call as it is then. Only `session_log` calls this, behind its fence.

    Raises:
        WrongState: one of them is not allowed.
    """
    return [
        await _plan(conn, session_id, change, epoch)
        if isinstance(change, Plan)
        else await _move(conn, session_id, change, epoch, now_us)
        for change in changes
    ]


async def calls(conn: AsyncConnection, session_id: str, states: Sequence[State]) -> list[ToolCall]:
    """The session's calls in these states, in the order of their events' ids."""
    rows = await conn.execute(_IN_STATES, {"session": session_id, "states": list(states)})
    return [_call(row) for row in rows]


async def _plan(conn: AsyncConnection, session_id: str, plan: Plan, epoch: int) -> ToolCall:
    row = {"session_id": session_id, "event_id": plan.event_id, "name": plan.name, "policy": plan.policy}
    await conn.execute(_INSERT, {**row, "state": "planned", "attempt": 0, "epoch": epoch})
    return ToolCall(plan.event_id, plan.name, plan.policy, "planned", 0, epoch, None)


async def _move(conn: AsyncConnection, session_id: str, move: Move, epoch: int, now_us: int) -> ToolCall:
    which = {"session": session_id, "call": move.event_id}
    times = {"now": now_us} if move.to == "started" else {}
    row = (await conn.execute(_moving(move.to), {**which, **times, "mine": epoch})).one_or_none()
    if row is None:
        state = (await conn.execute(select(tool_calls.c.state).where(_THIS), which)).scalar_one_or_none()
        raise WrongState(move.event_id, state, move.to)
    return _call(row)


@lru_cache(maxsize=4)
def _moving(to: Literal["started", "done", "unknown", "denied"]) -> ReturningUpdate[Any]:
    """The statement of that move. Building it costs several times what running it does."""
    allowed = or_(
        *(and_(tool_calls.c.state == state, tool_calls.c.policy.in_(policies)) for state, policies in _FROM[to])
    )
    moved = update(tool_calls).where(_THIS, allowed).values(state=to, epoch=bindparam("mine", type_=BigInteger()))
    if to == "started":
        moved = moved.values(attempt=tool_calls.c.attempt + 1, started_us=bindparam("now", type_=BigInteger()))
    return moved.returning(*tool_calls.c)


def _call(row: Any) -> ToolCall:
    return ToolCall(row.event_id, row.name, row.policy, row.state, row.attempt, row.epoch, row.started_us)
