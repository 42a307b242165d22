"""What a loaded toolbox does with calls that go well, and with those that do not."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from freehold.clock import HandClock
from freehold.errors import Misconfigured
from freehold.toolboxes.base import Toolbox, ToolResult
from freehold.toolboxes.load import load_toolbox
from freehold.toolboxes.loaded import LoadedToolbox
from freehold.toolboxes.settings import ToolboxSettings, check

FILE = Path(__file__).with_name("company_tools.py")
SETTINGS = ToolboxSettings(tool_timeout_s=5, max_stuck=2, tool_result_bytes=1000, tool_media_bytes=4000)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def company(clock: HandClock) -> AsyncIterator[LoadedToolbox]:
    toolbox = load_toolbox(FILE, SETTINGS, clock)
    module().held.clear()
    yield toolbox
    module().held.set()
    await toolbox.close()


def module() -> ModuleType:
    return sys.modules["freehold_toolbox_company_tools"]


async def call(toolbox: Toolbox, tool: str, **arguments: Any) -> ToolResult:
    return await toolbox.call(tool, arguments, key="sevt_1", session_id="sesn_1")


def text(result: ToolResult) -> str:
    return str(result.content[0]["text"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread or the loop itself changes it, without an event to wait for
            await asyncio.sleep(0.002)


async def given_up(toolbox: LoadedToolbox, clock: HandClock, tool: str) -> ToolResult:
    """Call, let the timeout pass on the clock, give back what the caller was told."""
    pending = asyncio.ensure_future(call(toolbox, tool))
    await until(lambda: bool(clock._sleepers))
    await clock.advance(5)
    async with asyncio.timeout(60):
        return await pending


async def test_a_sync_and_an_async_function_both_answer(company: LoadedToolbox) -> None:
    assert text(await call(company, "find_user", user_id=3, fields=["a"])) == "user 3 ['a'] asc"
    rows = json.loads(text(await call(company, "orders_of", user_id=4)))
    assert rows == [
        {"number": 1, "on": "2026-01-02", "total": "9.90"},
        {"number": 4, "on": "2026-01-03", "total": "1"},
    ]


async def test_sync_functions_run_side_by_side(company: LoadedToolbox) -> None:
    results = await asyncio.gather(*(call(company, "meet", place=place) for place in "abc"))
    assert [text(result) for result in results] == ["a", "b", "c"]
    assert not any(result.is_error for result in results)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "- missing argument user_id"),
        ({"user_id": "7"}, '- user_id: must be integer, not "7"'),
        ({"user_id": 1, "name": "x"}, "- unknown argument name; known are: user_id, fields, order"),
        ({"user_id": 1, "fields": 3}, "- fields: must be array or null, not 3"),
        ({"user_id": 1, "order": "up"}, "- order: 'up' is not one of ['asc', 'desc']"),
    ],
)
async def test_wrong_arguments_are_told_so_that_they_can_be_mended(
    company: LoadedToolbox, arguments: dict[str, Any], told: str
) -> None:
    result = await call(company, "find_user", **arguments)
    assert result.is_error
    assert text(result) == f"find_user was not called, because its arguments do not fit:\n{told}"


async def test_arguments_that_only_the_types_refuse_are_told_too(company: LoadedToolbox) -> None:
    result = await call(company, "person", born="the ides of March")
    assert result.is_error
    assert "born: Input should be a valid date" in text(result)
    assert text(await call(company, "person", born="2000-03-15")) == '{"age": 26}'


async def test_an_unknown_tool_is_told_the_known_ones(company: LoadedToolbox) -> None:
    result = await call(company, "find_users")
    assert result.is_error
    assert text(result).startswith("There is no tool 'find_users' in company_tools. It has: find_user, orders_of,")


async def test_an_exception_is_an_error_result_and_its_traceback_is_in_the_log(
    company: LoadedToolbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        result = await call(company, "break_off", how="order 7")
    assert result.is_error
    assert text(result) == "KeyError: 'order 7'"
    assert "company_tools.py" in caplog.text
    assert "raise KeyError(how)" in caplog.text


@pytest.mark.parametrize("tool", ["break_off", "break_off_async"])
async def test_a_tool_that_exits_does_not_stop_the_server(company: LoadedToolbox, tool: str) -> None:
    result = await call(company, tool, how="exit")
    assert result.is_error
    assert text(result) == "RuntimeError: SystemExit: 3"


async def test_a_coroutine_that_cancels_itself_is_an_error(company: LoadedToolbox) -> None:
    result = await call(company, "break_off_async", how="cancelled")
    assert result.is_error
    assert "cancelled from inside" in text(result)


async def test_an_error_in_the_sdk_s_own_form_keeps_its_content(company: LoadedToolbox) -> None:
    result = await call(company, "break_off", how="own")
    assert result == ToolResult([{"type": "text", "text": "no such order; try 7"}], is_error=True)


async def test_wrong_data_inside_a_tool_is_not_blamed_on_the_arguments(company: LoadedToolbox) -> None:
    result = await call(company, "break_off", how="data")
    assert result.is_error
    assert text(result).startswith("ValidationError: 1 validation error for Person")


async def test_results_of_every_kind_become_blocks(company: LoadedToolbox) -> None:
    assert text(await call(company, "give", kind="nothing")) == "(done; no result)"
    assert text(await call(company, "give", kind="number")) == "7"
    assert text(await call(company, "give", kind="surrogate")) == "half ? pair"
    assert [block["type"] for block in (await call(company, "give", kind="blocks")).content] == ["text", "image"]
    for kind, why in (
        ("no image", "it is no image/png"),
        ("no base64", "it is not base64"),
        ("no such image", "it is image/tiff"),
    ):
        assert f"[image that cannot be shown: {why}]" in text(await call(company, "give", kind=kind))
    assert json.loads(text(await call(company, "give", kind="rows"))) == [{"type": "invoice", "text": "not a block"}]


async def test_a_result_that_is_too_long_is_cut_with_a_note(company: LoadedToolbox) -> None:
    told = text(await call(company, "give", kind="long"))
    assert told.startswith("长" * 333 + "\n[cut: the result has 300000 bytes, 1000 are shown")
    assert "bytes are shown" in text(await call(company, "give", kind="large image"))
    assert text(await call(company, "give", kind="endless")).startswith("[0, 0, 0")


async def test_a_tool_knows_its_session_and_its_key(company: LoadedToolbox) -> None:
    assert text(await call(company, "who")) == "who sesn_1 sevt_1 True"
    assert text(await call(company, "who_async")) == "sevt_1"


async def test_a_coroutine_past_its_timeout_is_cancelled(company: LoadedToolbox, clock: HandClock) -> None:
    for _ in range(4):  # more than may be stuck: each of them really ended
        result = await given_up(company, clock, "wait_for_ever")
        assert result.is_error
        assert text(result).startswith("wait_for_ever did not return within 5 s.")


async def test_a_function_may_have_a_time_out_of_its_own(clock: HandClock) -> None:
    patient = ToolboxSettings(tool_timeout_s=100, tool_timeouts={f"{FILE.stem}.wait_for_ever": 5})
    result = await given_up(load_toolbox(FILE, patient, clock), clock, "wait_for_ever")
    assert result.is_error and text(result).startswith("wait_for_ever did not return within 5 s.")
    for wrong in ({"wait_for_ever": 5}, {"company.wait": 0}, {"company.wait": "5"}):
        with pytest.raises(Misconfigured, match="tool_timeouts"):
            check(ToolboxSettings(tool_timeouts=wrong))


@pytest.mark.parametrize("tool", ["hold", "ignore_cancelling"])
async def test_a_toolbox_with_too_many_stuck_calls_refuses_more_until_they_end(
    company: LoadedToolbox, clock: HandClock, tool: str
) -> None:
    for _ in range(2):
        assert (await given_up(company, clock, tool)).is_error
    refused = await call(company, "find_user", user_id=1)
    assert refused.is_error
    assert "2 earlier calls outlived their timeout" in text(refused)
    assert f"{tool} (2)" in text(refused)
    module().held.set()
    await until(lambda: company._stuck.refusal() is None)
    assert not (await call(company, "find_user", user_id=1)).is_error


async def test_more_calls_than_threads_wait_for_their_turn_and_their_time_begins_then(clock: HandClock) -> None:
    few = ToolboxSettings(tool_timeout_s=5, tool_threads=1)
    toolbox = load_toolbox(FILE, few, clock)
    module().held.clear()
    first = asyncio.ensure_future(call(toolbox, "hold"))
    await until(lambda: bool(clock._sleepers))
    second = asyncio.ensure_future(call(toolbox, "find_user", user_id=1))
    await clock.advance(4)
    assert not second.done()
    module().held.set()
    assert [text(await first), text(await second)] == ["held", "user 1 None asc"]
    await toolbox.close()


async def test_a_thread_whose_session_gave_up_counts_only_after_its_timeout(
    company: LoadedToolbox, clock: HandClock
) -> None:
    for _ in range(2):
        pending = asyncio.ensure_future(call(company, "hold"))
        sleepers = len(clock._sleepers) + 1
        await until(lambda wanted=sleepers: len(clock._sleepers) >= wanted)  # type: ignore[misc]
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
    assert company._stuck.refusal() is None
    await clock.advance(5)
    await until(lambda: company._stuck.refusal() is not None)


async def test_closing_closes_what_the_tools_hold(clock: HandClock) -> None:
    toolbox = load_toolbox(FILE, SETTINGS, clock)
    assert text(await call(toolbox, "count", up_to=3)) == "0 1 2"
    closed = module().closed
    before = len(closed)
    await toolbox.close()
    assert closed[before:] == ["counter"]
