"""Each complaint about other gateways that can occur in one: where it is shown not to occur in this one.

The numbers are those of the complaints as they were collected (2026-11-23); each test's own docstring names them.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from freehold.calls import Call, Reply
from freehold.inprocess import AsgiTransport
from freehold.testing import Running, server
from tests.gateway.house import BODY, ENDING, MESSAGE, START, ask, event, gateway, text_delta, whole
from tests.scripted_upstream import Line, Request

ROOT = Path(__file__).resolve().parents[2]
STREAM_BODY = json.dumps({**BODY, "stream": True}).encode()

SHOWN = {
    1: "tests/gateway/test_every_complaint.py::test_a_call_leaves_nothing_behind",
    2: "tests/gateway/test_every_complaint.py::test_a_call_leaves_nothing_behind",
    3: "tests/test_connections.py::test_a_slow_reader_holds_the_upstream_back_and_is_let_go_in_the_end",
    4: "tests/test_connections.py::test_four_megabytes_of_text_and_thirty_two_of_images_pass_with_flat_memory",
    5: "tests/store/test_recordings.py::test_the_oldest_go_first_when_there_is_too_much_and_all_of_them_in_time",
    6: "tests/gateway/test_every_complaint.py::test_a_chunk_starts_no_thread_and_no_task",
    10: "tests/cli/test_commands.py::test_a_server_is_ready_soon_after_the_libraries_it_stands_on",
    11: "tests/gateway/middleware/test_retries.py::test_the_beginning_is_held_no_longer_than_it_may",
    12: "tests/gateway/test_every_complaint.py::test_a_message_start_is_not_held_back_by_long_thinking",
    13: "tests/gateway/test_faults.py::test_a_slow_answer_is_no_fault",
    14: "tests/gateway/test_faults.py::test_a_fault_that_lasts_reaches_the_client_as_the_error_that_it_is",
    15: "tests/gateway/test_complaints.py::test_cache_control_and_betas_reach_the_upstream_to_the_byte",
    16: "tests/gateway/test_complaints.py::test_tool_input_and_signatures_stream_through_to_the_byte",
    17: "tests/gateway/test_complaints.py::test_tool_input_and_signatures_stream_through_to_the_byte",
    18: "tests/gateway/middleware/test_fallbacks.py::test_a_stream_that_fails_after_content_is_never_begun_elsewhere",
    19: "tests/gateway/test_complaints.py::test_cache_control_and_betas_reach_the_upstream_to_the_byte",
    20: "tests/gateway/test_complaints.py::test_cache_control_and_betas_reach_the_upstream_to_the_byte",
    21: "tests/gateway/test_faults.py::test_an_upstream_that_stays_silent_is_given_up",
    22: "tests/gateway/test_faults.py::test_a_slow_answer_is_no_fault",
    23: "tests/gateway/test_complaints.py::test_a_connection_is_used_again_after_a_stream_that_was_read_to_its_end",
    24: "tests/gateway/test_departures.py::test_a_client_that_leaves_at_any_event_leaves_an_account_that_holds",
    25: "tests/gateway/test_budgets.py::"
    "test_fifty_slow_calls_of_just_under_five_cents_on_a_cap_of_45_cents_admit_exactly_nine",
    26: "tests/gateway/test_budgets.py::test_a_budget_for_each_user_holds_for_a_new_one_at_once",
    27: "tests/gateway/test_every_complaint.py::test_no_route_and_no_key_goes_around_a_budget",
    28: "tests/gateway/test_every_complaint.py::test_no_route_and_no_key_goes_around_a_budget",
    29: "tests/ledger/test_chaos.py::test_no_account_is_overdrawn_and_the_ledger_equals_the_simulator_s_account",
    30: "tests/gateway/test_budgets.py::test_a_soft_budget_refuses_nothing_and_alerts_once",
    31: "tests/gateway/test_complaints.py::test_a_streams_last_usage_wins_over_its_first",
    32: "tests/gateway/test_complaints.py::test_a_streams_last_usage_wins_over_its_first",
    33: "tests/telemetry/test_calls.py::test_a_call_is_counted_with_its_tokens_cost_and_times",
}
MEASURED = {7, 8, 9}
"""About throughput: measured in ratios to nginx by `make bench`; the results stand under benchmarks/results/."""


def test_every_complaint_has_its_test() -> None:
    assert set(SHOWN) | MEASURED == set(range(1, 34))
    for number, place in SHOWN.items():
        file, _, name = place.partition("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        }
        assert name in functions, (number, place)
    assert list((ROOT / "benchmarks" / "results").glob("*gateway*"))


async def test_a_call_leaves_nothing_behind() -> None:
    """Complaint #1, #2: memory that grows with every call, until a restart."""

    async def either(request: Request, line: Line) -> None:
        house.upstream.requests.clear()
        house.rows.clear()
        if request.json().get("stream"):
            await line.begin_stream()
            for data in (START, text_delta("a"), *ENDING):
                await line.chunk(data)
            await line.chunk(b"")
        else:
            await whole(request, line)

    async with gateway(either) as house:

        async def objects_after(calls: int) -> int:
            for number in range(calls):
                await ask(house, STREAM_BODY if number % 2 else None)
            await asyncio.sleep(0)
            gc.collect()
            return len(gc.get_objects())

        await objects_after(40)
        before = await objects_after(40)
        assert await objects_after(160) - before < 80


async def test_a_chunk_starts_no_thread_and_no_task() -> None:
    """Complaint #6: a logging thread for every chunk of a stream."""
    seen: list[tuple[int, int]] = []

    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(START)
        for _number in range(100):
            await line.chunk(text_delta("a"))
            seen.append((threading.active_count(), len(asyncio.all_tasks())))
        for data in ENDING:
            await line.chunk(data)
        await line.chunk(b"")

    async with gateway(script) as house:
        assert (await ask(house, STREAM_BODY))[0] == 200
    early, late = seen[10:50], seen[50:]
    assert max(threads for threads, _ in late) <= max(threads for threads, _ in early)
    assert max(tasks for _, tasks in late) <= max(tasks for _, tasks in early) + 1


async def test_a_message_start_is_not_held_back_by_long_thinking() -> None:
    """Complaint #11, #12: the first bytes wait for what comes after them."""
    first_byte = asyncio.Event()

    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(START)
        async with asyncio.timeout(120):
            await first_byte.wait()
        await line.chunk(event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
        for data in (text_delta("a"), *ENDING):
            await line.chunk(data)
        await line.chunk(b"")

    async with gateway(script) as house, house.sdk().messages.stream(**BODY) as stream:
        events = aiter(stream)
        assert (await anext(events)).type == "message_start"
        first_byte.set()
        assert (await stream.get_final_message()).stop_reason == "end_turn"


async def test_no_route_and_no_key_goes_around_a_budget() -> None:
    """Complaint #27, #28: a master key or a pass-through route that skips budgets."""
    asked: list[Call] = []

    @asynccontextmanager
    async def upstream(call: Call) -> AsyncIterator[Reply]:
        asked.append(call)
        yield Reply(200, [(b"content-type", b"application/json")], whole=MESSAGE)

    async with server(upstream=upstream) as running, _http(running) as admin:
        assert (await admin.post("/v1/messages", json=BODY)).status_code == 200
        limit = {"scope": "organization", "limit": 0, "unit": "tokens"}
        assert (await admin.post("/freehold/v1/budgets", json=limit)).status_code == 200
        asked.clear()
        assert (await admin.post("/v1/messages", json=BODY)).status_code == 402
        for path in (
            "/anthropic/v1/messages",
            "/v1/complete",
            "/v1/messages/",
            "//v1/messages",
            "/v1/chat/completions",
        ):
            assert (await admin.post(path, json=BODY)).status_code == 404, path
        assert asked == []


def _http(running: Running) -> httpx2.AsyncClient:
    transport = AsgiTransport(running.application.asgi)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"x-api-key": running.key})
