"""Recordings in both databases: kept within their bounds, forgotten by user, and only by user."""

from __future__ import annotations

from freehold.store.call_log import Wanted, calls_page
from freehold.store.calls import CallRow, add_call
from freehold.store.engine import Store
from freehold.store.recordings import RecordingRow, RecordingRows


def recording(number: int, user_id: str | None = None, workspace_id: str = "wrkspc_1") -> RecordingRow:
    return RecordingRow(f"req_{number:03}", workspace_id, "apikey_1", user_id, 100, b"\0" * 100, number)


def call(number: int, user_id: str | None = None, workspace_id: str = "wrkspc_1") -> CallRow:
    fixed = (
        "messages",
        "claude",
        "claude",
        "claude",
        False,
        200,
        None,
        "end_turn",
        1,
        5,
        5,
        0,
        0,
        0,
        0,
        1,
        "v",
        "exact",
    )
    row = (f"req_{number:03}", workspace_id, "apikey_1", None, user_id, None, None, *fixed, 1, 1, None, number)
    return CallRow(*row)


async def test_the_oldest_go_first_when_there_is_too_much_and_all_of_them_in_time(store: Store) -> None:
    rows = RecordingRows(store)
    for number in range(60):
        await rows.add(recording(number))
    assert await rows.shrink_to(6000) == 0
    assert await rows.shrink_to(5900) > 0
    assert await rows.get("req_000") is None
    assert await rows.get("req_059") == b"\0" * 100
    await rows.delete_before(59)
    assert (await rows.get("req_058"), await rows.get("req_059")) == (None, b"\0" * 100)
    assert await rows.shrink_to(0) == 1


async def test_a_user_is_forgotten_in_its_workspace_and_nobody_else(store: Store) -> None:
    rows = RecordingRows(store)
    for number, user in enumerate(["ann", "bob"] * 250):
        await rows.add(recording(number, user))
        add_call(store, call(number, user))
    await rows.add(recording(900, "ann", "wrkspc_2"))
    await store.flush()
    assert await rows.forget_user("wrkspc_1", "ann") == (250, 250)
    assert await rows.get("req_900") is not None
    async with store.read() as connection:
        left = await calls_page(connection, Wanted("wrkspc_1", {"user_id": "bob"}), after=None, limit=300)
        assert (len(left), {one.recorded for one in left}) == (250, {True})
        assert await calls_page(connection, Wanted("wrkspc_1", {"user_id": "ann"}), after=None, limit=9) == []
        bare = await calls_page(connection, Wanted("wrkspc_1", {}, recorded=False), after=None, limit=300)
        assert (len(bare), {one.row.user_id for one in bare}) == (250, {None})
