"""The application's own work: what ends although it should not is told."""

from __future__ import annotations

import asyncio

import pytest

from freehold.app.application import told_when_ended


async def test_work_that_has_ended_by_itself_is_told_and_what_was_cancelled_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError("a bug")

    async def goes_on() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(breaks(), name="alerts"), asyncio.create_task(goes_on(), name="sweep")]
    for task in tasks:
        task.add_done_callback(told_when_ended)
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == ["the work on alerts has ended, until a restart"]
