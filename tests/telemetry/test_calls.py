"""Metrics of calls: what is counted, that labels are bounded, and who may read them."""

from __future__ import annotations

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from freehold.inprocess import AsgiTransport
from freehold.telemetry.calls import MOST_MODELS, OTHER, CallMetrics, Ended
from freehold.telemetry.record import RecordMetrics
from freehold.telemetry.shown import text_of
from freehold.testing import server

CALL = Ended("messages", "claude", "m", 200, True, 2, 40_000, 7_000, (10, 20, 0, None, 5), 300)


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in the order of the labels' names."""
    families = text_string_to_metric_families(text.decode())
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in families
        for one in family.samples
    }


def test_a_call_is_counted_with_its_tokens_cost_and_times() -> None:
    metrics = CallMetrics()
    for _ in range(2):
        metrics.ended(CALL)
    found = samples(text_of(metrics)())
    assert found["freehold_calls_total", "m", "messages", "200", "claude"] == 2
    assert found["freehold_call_attempts_total", "claude"] == 4
    assert found["freehold_call_tokens_total", "output", "m"] == 40
    assert found["freehold_call_cost_nanodollars_total", "m"] == 600
    assert found["freehold_call_seconds_sum", "messages", "true"] == 0.08
    assert found["freehold_call_seconds_bucket", "0.025", "messages", "true"] == 0
    assert found["freehold_call_seconds_bucket", "0.05", "messages", "true"] == 2
    assert found["freehold_call_first_byte_seconds_bucket", "0.01", "messages", "true"] == 2  # complaint #33
    assert ("freehold_call_tokens_total", "cache_write_1h", "m") not in found


def test_models_beyond_the_bound_share_one_label() -> None:
    metrics = CallMetrics()
    for number in range(MOST_MODELS + 50):
        metrics.ended(CALL._replace(model=f"m{number}"))
    found = samples(text_of(metrics)())
    assert found["freehold_calls_total", OTHER, "messages", "200", "claude"] == 50
    assert sum(1 for name, *_ in found if name == "freehold_calls_total") == MOST_MODELS + 1


async def test_a_server_tells_its_calls_to_an_admin_and_nobody_else() -> None:
    async with server() as running:
        await running.client.messages.create(
            model="claude-haiku-5-5", max_tokens=20, messages=[{"role": "user", "content": "hello"}]
        )
        member = await running.new_key("member")
        transport = AsgiTransport(running.application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            statuses = [
                (await http.get("/metrics", headers=headers)).status_code
                for headers in ({}, {"x-api-key": member}, {"x-api-key": running.key})
            ]
            assert statuses == [401, 403, 200]
            found = samples((await http.get("/metrics", headers={"x-api-key": running.key})).content)
        assert found["freehold_calls_total", "claude-haiku-5-5", "messages", "200", "simulator"] == 1
        assert found["freehold_calls_open",] == 0
        assert found["freehold_store_healthy",] == 1
        assert found["freehold_store_commits_total",] > 0
        assert found["freehold_record_rows_lost_total",] == 0


async def test_it_tells_of_rows_that_wait_and_rows_that_were_lost() -> None:
    class Behind:
        healthy, commits, rows_waiting, rows_lost = False, 7, 50_000, 12

    found = samples(text_of(RecordMetrics(Behind()))())
    assert found == {
        ("freehold_store_healthy",): 0,
        ("freehold_store_commits_total",): 7,
        ("freehold_record_rows_waiting",): 50_000,
        ("freehold_record_rows_lost_total",): 12,
    }


async def test_the_operator_may_open_them() -> None:
    async with server(settings={"metrics_open": True}) as running:
        transport = AsgiTransport(running.application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.get("/metrics")).status_code == 200
