"""Falling back, between real sockets: each fault of the first upstream with a second one behind it."""

from __future__ import annotations

import json

import pytest

from freehold.clock import HandClock
from freehold.errors import Misconfigured
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.routes import FallbackSettings, Leg, route_for, routes_of
from freehold.simulator.faults import KINDS
from freehold.testing import server
from tests.gateway.over_simulator import MODEL, over_simulator, patience_s
from tests.gateway.test_faults import BOTH, SETTINGS, facts_of

NEVER_AGAIN = RetrySettings(max_retries=0, hold_ms=5000)
PLAIN = FallbackSettings()
HANDED_ON = {"slow", "wrong_content_type", "malformed"}
"""They are answers: of the first upstream. So is a whole answer that was cut."""


@pytest.mark.parametrize("stream", BOTH, ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_of_the_first_upstream_is_answered_by_the_second(kind: str, stream: bool) -> None:
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=PLAIN, silence_s=patience_s(kind)) as place:
        place.fault(kind, **SETTINGS.get(kind, {}))
        status, headers, answered = await place.ask(stream=stream)
        row = await place.row()
        stays = kind in HANDED_ON or (kind == "truncated" and not stream)
        assert status == 200
        assert (row.attempts, row.upstream) == ((1, "claude") if stays else (2, "spare"))
        assert (headers["x-freehold-upstream"], headers["x-freehold-route"]) == (row.upstream, "*")
        if not stays:
            assert facts_of(stream, answered).complete
            assert (row.usage_known, row.error_type) == ("exact", None)


@pytest.mark.parametrize("kind", ["reset", "overloaded_in_stream"])
async def test_a_stream_that_fails_after_content_is_never_begun_elsewhere(kind: str) -> None:
    """Complaint #18: no second answer inside the first one."""
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=PLAIN) as place:
        place.fault(kind, after=3)
        _, _, answered = await place.ask(stream=True)
        assert answered.count(b"event: message_start") == 1
        assert facts_of(True, answered).error_type is not None
        row = await place.row()
        assert (row.attempts, row.upstream) == (1, "claude")


async def test_when_both_fail_the_last_answer_leaves_as_it_came() -> None:
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=PLAIN) as place:
        place.fault("overloaded")
        place.simulators[1].simulator.faults = place.simulators[0].simulator.faults
        status, headers, body = await place.ask(stream=False)
        assert (status, json.loads(body)["error"]["type"]) == (529, "overloaded_error")
        assert headers["x-freehold-upstream"] == "spare"


async def test_an_error_of_the_request_itself_is_not_asked_elsewhere() -> None:
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=PLAIN) as place:
        status, _, _ = await place.ask(stream=False, text="")
        assert status == 400
        assert (await place.row()).attempts == 1


async def test_a_route_may_name_another_model_and_the_client_is_told() -> None:
    routes = {"claude-haiku-*": ["claude", "claude/claude-sonnet-5-5"]}
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=FallbackSettings(routes=routes)) as place:
        place.simulators[0].simulator.faults.clear()
        place.fault("unavailable", times=1)
        status, headers, body = await place.ask(stream=False)
        assert (status, json.loads(body)["model"]) == (200, "claude-sonnet-5-5")
        assert headers["x-freehold-model"] == "claude-sonnet-5-5"
        assert headers["x-freehold-route"] == "claude-haiku-*"
        row = await place.row()
        assert (row.model_asked, row.model_answered) == (MODEL, "claude-sonnet-5-5")
        assert row.cost_nanodollars == place.lines()[-1].nanodollars


async def test_an_upstream_that_keeps_failing_is_left_alone_and_tried_after_the_cool_down() -> None:
    clock = HandClock()
    settings = FallbackSettings(breaker_failures=2, breaker_cool_down_s=30)
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=settings, clock=clock) as place:
        place.fault("unavailable", times=2)
        attempts = []
        for number in range(4):
            assert (await place.ask(stream=False))[0] == 200
            attempts.append((await place.row(number)).attempts)
        assert attempts == [2, 2, 1, 1]
        assert (await place.row(3)).upstream == "spare"
        await clock.advance(31)
        await place.ask(stream=False)
        assert (await place.row(4)).upstream == "claude"


async def test_when_every_breaker_is_open_the_client_is_told_when_to_come_back() -> None:
    settings = FallbackSettings(breaker_failures=1, breaker_cool_down_s=30, routes={"*": ["claude"]})
    async with over_simulator(retries=NEVER_AGAIN, fallbacks=settings, clock=HandClock()) as place:
        place.fault("unavailable")
        assert (await place.ask(stream=False))[0] == 503
        status, headers, body = await place.ask(stream=False)
        assert (status, headers["retry-after"]) == (503, "30")
        assert "has failed lately" in json.loads(body)["error"]["message"]
        assert (await place.row(1)).attempts == 0


async def test_a_long_wait_is_not_taken_where_another_upstream_can_answer() -> None:
    async with over_simulator(retries=RetrySettings(max_retries=2), fallbacks=PLAIN) as place:
        place.fault("rate_limit", retry_after_s=30)
        assert (await place.ask(stream=False))[0] == 200
        row = await place.row()
        assert (row.upstream, row.attempts) == ("spare", 2)


def test_the_first_pattern_that_fits_wins() -> None:
    routes = routes_of({"claude-opus-*": ["b/other"], "*": ["b"]}, ["a", "b"])
    assert route_for(routes, "claude-opus-5").legs == (Leg("b", "other"),)
    assert route_for(routes, "anything").legs == (Leg("b"),)
    assert route_for(routes_of({}, ["a", "b"]), "anything").legs == (Leg("a"), Leg("b"))


@pytest.mark.parametrize("given", [{"*": []}, {"*": "a"}, {"*": ["c"]}, {"*": [3]}])
def test_a_route_that_leads_nowhere_stops_the_start(given: dict[str, object]) -> None:
    with pytest.raises(Misconfigured, match="routes"):
        routes_of(given, ["a", "b"])


async def test_upstreams_and_routes_come_from_the_configuration() -> None:
    settings = {
        "upstreams": [{"name": "one", "url": "simulator"}, {"name": "two", "url": "simulator"}],
        "routes": {"claude-haiku-*": ["two"]},
    }
    async with server(settings=settings, strict=True) as running:
        answer = await running.client.messages.with_raw_response.create(
            model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}]
        )
        assert answer.headers["x-freehold-upstream"] == "two"
