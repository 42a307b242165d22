"""Where clients speak to a session: all of a request's events are taken, in one commit, or none.

Interrupts, confirmations and results go straight into the log. Messages go there when nothing else is under way, and
begin a turn; else they wait and are taken by the turn that runs. It writes under the session's row lock and without a
lease; whoever has the lease sees it in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.agents import caps
from freehold.agents.events import Draft, Voice
from freehold.agents.incoming import MOST_EVENTS, check_order, checked, has_files, refuse_without_system
from freehold.agents.log import Tell, inbox, new_event, unheard, waiting_event
from freehold.agents.session import Json
from freehold.clock import Clock
from freehold.errors import InvalidRequest, NotBuilt
from freehold.ids import NewId
from freehold.jobs.driver import WAKE
from freehold.store import session_log, work
from freehold.store.base import Connection
from freehold.store.engine import Store
from freehold.store.session_log import Move, NewEvent, Place
from freehold.store.sessions import SessionRow, read_session
from freehold.store.work import work_key

_ASKS = frozenset({"agent.tool_use", "agent.mcp_tool_use"})
_TAKEN_AT_CAP = frozenset({"user.interrupt", "user.tool_confirmation", "user.tool_result", "user.custom_tool_result"})
"""What a session takes that its budget has stopped."""


CheckFiles = Callable[[str, Sequence[Mapping[str, Any]]], Awaitable[None]]
"""Raises what is wrong with the files that these messages of that workspace refer to."""


async def knows_no_files(workspace_id: str, messages: Sequence[Mapping[str, Any]]) -> None:
    """Where there are no files at all."""
    raise NotBuilt("content: blocks from files cannot be had here. Send base64.")


@dataclass(slots=True)
class _Sorted:
    """The events of one request, by where they go."""

    straight: list[Draft]
    waiting: list[Draft]
    moves: list[Move]
    answers: int = 0
    interrupts: int = 0


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of one request's events: those in the log, from which place on, and the ids of those that wait."""

    first_seq: int
    events: Sequence[NewEvent]
    waiting: set[str]
    work_in: str | None
    """The self-hosted environment that has work now."""


class Inbox:
    """Takes events of clients for all sessions."""

    def __init__(
        self, store: Store, *, clock: Clock, ids: NewId, tell: Tell = unheard, check_files: CheckFiles = knows_no_files
    ) -> None:
        """`tell` hears of every event that goes into the log; see `feed.Feed.offer`. `check_files`: whether the files
        that messages refer to are there."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._tell = tell
        self._check_files = check_files

    async def send(self, workspace_id: str, session_id: str, events: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Take the events and give them back with their ids; `processed_at` is null for those that wait.

        Raises:
            NotFound: no such session in this workspace, or a file that is not there.
            InvalidRequest: one of them cannot be taken now; then none is.
        """
        if not 1 <= len(events) <= MOST_EVENTS:
            raise InvalidRequest(f"events: {len(events)} events; from 1 to {MOST_EVENTS} are taken.")
        check_order(events)
        drafts = [
            Draft(self._ids("sevt"), event["type"], checked(f"events.{index}", event))
            for index, event in enumerate(events)
        ]
        if with_files := [draft.fields for draft in drafts if has_files(draft.fields)]:
            await self._check_files(workspace_id, with_files)
        now_us = self._clock.now_us()

        async def op(connection: Connection) -> _Taken:
            row = await read_session(connection, workspace_id, session_id, lock=True)
            _refuse_ended(row)
            if any(draft.type not in _TAKEN_AT_CAP for draft in drafts) and await stopped_by_cap(connection, row):
                raise InvalidRequest(
                    f"The session {row.id} has reached its budget. Raise or remove that first; until then only "
                    f"{', '.join(sorted(_TAKEN_AT_CAP))} are taken."
                )
            return await self._write(connection, row, await self._sort(connection, row, drafts), now_us)

        taken = await self._store.write(op, wake=[session_id, inbox(session_id), WAKE])
        if taken.work_in is not None:
            self._store.wakes.signal([work_key(taken.work_in)])
        self._tell(session_id, taken.first_seq, taken.events)
        return [_shown(draft, now_us, waits=draft.id in taken.waiting) for draft in drafts]

    async def _sort(self, connection: Connection, row: SessionRow, drafts: Sequence[Draft]) -> _Sorted:
        taken = _Sorted([], [], [])
        answered: set[str] = set()
        for index, draft in enumerate(drafts):
            match draft.type:
                case "user.message":
                    taken.waiting.append(draft)
                    continue
                case "system.message":
                    refuse_without_system(row.agent["model"]["id"], f"events.{index}")
                    if drafts[index - 1].type == "user.message":  # it goes where that goes
                        taken.waiting.append(draft)
                        continue
                case "user.interrupt":
                    _refuse_other_thread(f"events.{index}", row, draft)
                    taken.interrupts += 1
                case "user.tool_confirmation":
                    await _check_confirmation(connection, f"events.{index}", row.id, draft, answered)
                    taken.answers += 1
                case "user.tool_result":
                    await _check_worker_result(connection, f"events.{index}", row.id, draft, answered)
                    taken.moves.append(Move(draft.fields["tool_use_id"], "done"))
                    taken.answers += 1
                case _:
                    await _check_result(connection, f"events.{index}", row.id, draft, answered)
                    taken.moves.append(Move(draft.fields["custom_tool_use_id"], "done"))
                    taken.answers += 1
            taken.straight.append(draft)
        return taken

    async def _write(self, connection: Connection, row: SessionRow, taken: _Sorted, now_us: int) -> _Taken:
        values: dict[str, str | int | None] = {}
        drafts = taken.straight
        if row.status == "idle":
            blocked = bool(await session_log.open_calls(connection, row.id))
            if taken.waiting and not blocked:
                drafts, taken.waiting = [*taken.straight, *taken.waiting], []
                values["status"] = "running"
            elif taken.answers or (taken.interrupts and blocked):
                values["status"] = "running"
        elif taken.interrupts:
            values["wake_at_us"] = None  # a session that waits for a later try need not wait for its end
        if "status" in values:
            voice = Voice(self._ids, row.thread_id, row.agent["name"])
            drafts = [*drafts, *voice.running()]
        events = [new_event(draft, now_us) for draft in drafts]
        if events:
            await session_log.append(connection, row.id, events, now_us=now_us, values=values, tool_calls=taken.moves)
        work_in = None
        if row.environment_config["type"] == "self_hosted" and await self._note_work(
            connection, row, taken, now_us, begins="status" in values
        ):
            work_in = row.environment_id
        if taken.waiting:
            await session_log.queue(connection, row.id, [waiting_event(d) for d in taken.waiting], now_us=now_us)
        return _Taken(row.last_seq + 1, events, {draft.id for draft in taken.waiting}, work_in)

    async def _note_work(
        self, connection: Connection, row: SessionRow, taken: _Sorted, now_us: int, *, begins: bool
    ) -> bool:
        """A session that begins to run is to have a worker; one that gets results has one that is of use. Gives whether
        a worker is called."""
        if any(draft.type == "user.tool_result" for draft in taken.straight):
            await work.note_answer(connection, row.id, now_us)
        return begins and await work.ensure(connection, work.new_item(self._ids("work"), row, now_us))


async def stopped_by_cap(connection: Connection, row: SessionRow) -> bool:
    """Whether the session is idle because it has reached its cap."""
    if row.status != "idle" or row.cap_cents is None:
        return False
    idle = await session_log.page(connection, row.id, limit=1, newest_first=True, types=["session.status_idle"])
    return bool(idle) and msgspec.json.decode(idle[0].body)["stop_reason"] == caps.REACHED


def _shown(draft: Draft, now_us: int, *, waits: bool) -> Json:
    body = draft.body(now_us)
    if waits:
        body["processed_at"] = None
    return body


def _refuse_ended(row: SessionRow) -> None:
    if row.archived_us is not None or row.status == "terminated":
        raise InvalidRequest(f"The session {row.id} has ended and takes no more events. Create a new one.")


def _refuse_other_thread(place: str, row: SessionRow, draft: Draft) -> None:
    thread = draft.fields.get("session_thread_id")
    if thread not in (None, row.thread_id):
        raise InvalidRequest(f"{place}.session_thread_id: this session has one thread, {row.thread_id}.")


async def _check_confirmation(
    connection: Connection, place: str, session_id: str, draft: Draft, answered: set[str]
) -> None:
    call_id = draft.fields["tool_use_id"]
    place = f"{place}.tool_use_id"
    call = await session_log.event(connection, session_id, call_id)
    if call is None or call.type not in _ASKS or call.seq is None:
        raise InvalidRequest(
            f"{place}: {call_id[:80]!r} is no agent.tool_use or agent.mcp_tool_use event of this session."
        )
    if msgspec.json.decode(call.body).get("evaluated_permission") != "ask":
        raise InvalidRequest(f"{place}: {call_id} does not ask for a confirmation.")
    if not await _planned(connection, session_id, call_id):
        raise InvalidRequest(f"{place}: {call_id} was answered already.")
    if call_id in answered or call_id in await _confirmed(connection, session_id, call.seq):
        raise InvalidRequest(f"{place}: {call_id} was confirmed already.")
    answered.add(call_id)


async def _check_result(connection: Connection, place: str, session_id: str, draft: Draft, answered: set[str]) -> None:
    call_id = draft.fields["custom_tool_use_id"]
    place = f"{place}.custom_tool_use_id"
    call = await session_log.event(connection, session_id, call_id)
    if call is None or call.type != "agent.custom_tool_use":
        raise InvalidRequest(f"{place}: {call_id[:80]!r} is no agent.custom_tool_use event of this session.")
    if call_id in answered or not await _planned(connection, session_id, call_id):
        raise InvalidRequest(f"{place}: {call_id} was answered already.")
    answered.add(call_id)


async def _check_worker_result(
    connection: Connection, place: str, session_id: str, draft: Draft, answered: set[str]
) -> None:
    call_id = draft.fields["tool_use_id"]
    place = f"{place}.tool_use_id"
    call = await session_log.event(connection, session_id, call_id)
    if call is None or call.type != "agent.tool_use" or call.seq is None:
        raise InvalidRequest(f"{place}: {call_id[:80]!r} is no agent.tool_use event of this session.")
    if msgspec.json.decode(call.hidden or "{}").get("kind") != "worker":
        raise InvalidRequest(f"{place}: this session runs {call_id} itself; only a self-hosted one is answered so.")
    if call_id in answered or not await _planned(connection, session_id, call_id):
        raise InvalidRequest(f"{place}: {call_id} was answered already.")
    permission = msgspec.json.decode(call.body).get("evaluated_permission")
    if permission == "ask" and (await _confirmed(connection, session_id, call.seq)).get(call_id) != "allow":
        raise InvalidRequest(f"{place}: {call_id} asks for a confirmation, and has none.")
    answered.add(call_id)


async def _confirmed(connection: Connection, session_id: str, seq: int) -> dict[str, str]:
    """What was said to calls that asked, behind that place of the log, by event id."""
    later = await session_log.page(
        connection, session_id, limit=MOST_EVENTS, behind=Place(False, seq), types=["user.tool_confirmation"]
    )
    bodies = [msgspec.json.decode(event.body) for event in later]
    return {body["tool_use_id"]: body["result"] for body in bodies}


async def _planned(connection: Connection, session_id: str, call_id: str) -> bool:
    planned = await session_log.tool_calls(connection, session_id, ["planned"])
    return any(call.event_id == call_id for call in planned)
