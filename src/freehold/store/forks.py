"""Copies the beginning of one session's log into another session, under new ids. Does not know what an event means."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.ids import NewId
from freehold.store.events import after
from freehold.store.sessions import update_session
from freehold.store.tables import events as events_table

_STRING = re.compile(r'"([a-z]+_[0-9A-Za-z]+)"')
"""A whole string of JSON that may be an id."""
_AT_ONCE = 500


async def copy_log(
    connection: AsyncConnection, source: str, target: str, *, until: int, ids: NewId, names: Mapping[str, str]
) -> None:
    """The events 1 … `until`. Where an event names another, or one of `names`, the copy names that one's copy."""
    renamed, seq = dict(names), 0
    while seq < until:
        found = await after(connection, source, seq, limit=min(_AT_ONCE, until - seq))
        if not found:
            raise ValueError(f"the log of {source} ends before {until}")
        renamed.update((event.id, ids("sevt")) for event in found)
        rows = [
            {
                "session_id": target,
                "seq": event.seq,
                "id": renamed[event.id],
                "type": event.type,
                "body": _copied(event.body, renamed),
                "hidden": None if event.hidden is None else _copied(event.hidden, renamed),
                "epoch": 0,
                "processed_us": event.processed_us,
            }
            for event in found
        ]
        await connection.execute(insert(events_table), rows)
        seq += len(found)
    await update_session(connection, target, {"last_seq": until})


def _copied(text: str, renamed: Mapping[str, str]) -> str:
    return _STRING.sub(lambda found: f'"{renamed.get(found[1], found[1])}"', text)
