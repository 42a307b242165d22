"""Caching through a whole server on a clock turned by hand: marks, reuse, the doctor's culprits, pings, restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, Usage

from freehold.app.sections import sections
from freehold.clock import HandClock
from freehold.config import load
from freehold.gateway.caching.cacher import CachingSettings
from freehold.testing import Running, server

SONNET, OPUS = "claude-sonnet-5-5", "claude-opus-5-5"
LONG = "The quick brown fox jumps over the lazy dog again. " * 150
MARK = {"type": "ephemeral"}
NOW_US = 1_795_000_000_000_000
REPORT = "/freehold/v1/cache/report"


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"{name}: {LONG[:3000]}", "input_schema": {"type": "object", "properties": {}}}


async def ask(client: AsyncAnthropic, text: str = "Hello.", **more: Any) -> Usage:
    messages = [{"role": "user", "content": text}]
    request: dict[str, Any] = {"model": SONNET, "max_tokens": 20, "messages": messages, **more}
    message: Message = await client.messages.create(**request)
    return message.usage


def marked(system: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": system, "cache_control": MARK}]


async def misses(running: Running) -> list[dict[str, Any]]:
    report = await running.client.get(REPORT, cast_to=dict[str, Any])
    found: list[dict[str, Any]] = report["misses"]
    return found


async def test_with_auto_a_system_prompt_is_written_once_and_read_then() -> None:
    async with server(settings={"caching": "auto"}, clock=HandClock(NOW_US), strict=True) as running:
        first = await ask(running.client, system=LONG)
        second = await ask(running.client, "And now?", system=LONG)
    assert first.cache_creation_input_tokens and not first.cache_read_input_tokens
    assert second.cache_read_input_tokens and second.cache_read_input_tokens >= 512


async def test_marks_of_the_client_stay_unless_told_otherwise() -> None:
    for settings, cached in (({}, True), ({"caching": "auto"}, True), ({"caching": "off"}, False)):
        async with server(settings=settings, clock=HandClock(NOW_US)) as running:
            usage = await ask(running.client, system=marked(LONG))
            assert bool(usage.cache_creation_input_tokens) is cached, settings
            plain = await ask(running.client, "Again", system="Short.")
            assert not plain.cache_creation_input_tokens
    override = {"caching": "auto", "caching_override": True}
    async with server(settings=override, clock=HandClock(NOW_US), strict=True) as running:
        assert (await ask(running.client, system=marked(LONG))).cache_creation_input_tokens


async def test_the_doctor_names_a_timestamp_and_its_price() -> None:
    clock = HandClock(NOW_US)
    async with server(clock=clock) as running:
        for second in (10, 11):
            await ask(running.client, system=marked(f"It is 12:00:{second}. {LONG}"))
            await clock.advance(20)
        [miss] = await misses(running)
    assert (miss["culprit"], miss["path"]) == ("system_changed", "system.0")
    assert "12:00:10" in miss["before"]
    assert "12:00:11" in miss["after"]
    assert miss["lost_tokens"] > 1000
    # Sonnet 5.5: written for 2,500 nanodollars a token instead of read for 100.
    assert abs(miss["cost_nanodollars"] - miss["lost_tokens"] * 2_400) <= 2_400 * 20 + 1


async def test_the_doctor_names_tools_in_another_order() -> None:
    async with server(clock=HandClock(NOW_US)) as running:
        one, two = tool("one"), tool("two")
        await ask(running.client, tools=[one, {**two, "cache_control": MARK}])
        await ask(running.client, tools=[two, {**one, "cache_control": MARK}])
        [miss] = await misses(running)
    assert (miss["culprit"], miss["path"]) == ("tools_reordered", "tools.0")
    assert '"one"' in miss["before"]
    assert '"two"' in miss["after"]


async def test_the_doctor_names_a_changed_model_and_an_expired_prefix() -> None:
    clock = HandClock(NOW_US)
    async with server(clock=clock) as running:
        await ask(running.client, system=marked(LONG))
        await clock.advance(60)
        await ask(running.client, system=marked(LONG), model=OPUS)
        await clock.advance(400)
        await ask(running.client, system=marked(LONG), model=OPUS)
        found = {miss["culprit"]: miss for miss in await misses(running)}
    assert set(found) == {"model_changed", "expired"}
    assert (found["model_changed"]["before"], found["model_changed"]["after"]) == (SONNET, OPUS)
    assert "300 s" in found["expired"]["before"]
    assert "400 s" in found["expired"]["after"]
    assert all(miss["cost_nanodollars"] > 0 for miss in found.values())


async def test_another_conversation_and_a_warm_one_are_no_misses() -> None:
    async with server(clock=HandClock(NOW_US)) as running:
        messages: list[Any] = [{"role": "user", "content": LONG}]
        for _ in range(3):
            await ask(running.client, system=marked(LONG), messages=messages, cache_control=MARK)
            messages = [*messages, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "On."}]
        await ask(running.client, "Something else entirely.", system=marked(LONG), cache_control=MARK)
        assert await misses(running) == []


async def test_no_bytes_of_prompts_are_kept_where_that_is_not_wanted() -> None:
    async with server(clock=HandClock(NOW_US), settings={"cache_excerpts": False}) as running:
        for second in (10, 11):
            await ask(running.client, system=marked(f"It is 12:00:{second}. {LONG}"))
        [miss] = await misses(running)
    assert (miss["culprit"], miss["before"], miss["after"]) == ("system_changed", "", "")


async def test_the_report_has_the_hit_rate_of_every_route() -> None:
    async with server(settings={"caching": "auto"}, clock=HandClock(NOW_US)) as running:
        for text in ("One", "Two", "Three", "Four"):
            await ask(running.client, text, system=LONG)
        report = await running.client.get(REPORT, cast_to=dict[str, Any])
    [row] = report["routes"]
    assert row["calls"] == 4
    assert 0.6 < row["hit_rate"] < 0.8


async def test_what_was_learned_of_a_route_outlives_a_restart(tmp_path: Path) -> None:
    async with server(settings={"caching": "auto"}, data=tmp_path, clock=HandClock(NOW_US)) as running:
        key = await running.new_key()
        for number in range(6):
            last = await ask(running.new_client(key), f"{number} {LONG}")
        assert not last.cache_creation_input_tokens, "what is asked for once is not written"
    async with server(settings={"caching": "auto"}, data=tmp_path, clock=HandClock(NOW_US)) as running:
        again = await ask(running.new_client(key), f"again {LONG}")
        assert not again.cache_creation_input_tokens


async def test_a_prefix_is_kept_alive_by_pings_that_are_recorded_and_end() -> None:
    clock = HandClock(NOW_US)
    async with server(settings={"caching": "auto"}, clock=clock) as running:
        await ask(running.client, system=LONG)
        caching = running.application.choosing.caching
        habit = next(habit for (_, kind), habit in caching.cacher.memory.habits.items() if kind == "system.0")
        for chances in habit.chances:  # asked for again after six to ten minutes, two times, then never
            chances.soon, chances.not_soon, chances.late, chances.never = 1.0, 60.0, 40.0, 20.0
            chances.waits[1] = 40.0
        habit.seen += 100
        await clock.advance(3700)
        await ask(running.client, system=LONG)
        for _ in range(3):
            await _until_sleeping(clock)
            await clock.advance(281)
            await asyncio.sleep(0)
        usage = await running.client.get("/freehold/v1/usage?by[]=source", cast_to=dict[str, Any])
        pings = [row for row in usage["data"] if row["source"] == "freehold.keep-alive"]
        assert pings, "no ping was recorded"
        assert pings[0]["cache_read_tokens"] > 0
        assert pings[0]["output_tokens"] == 0


async def _until_sleeping(clock: HandClock) -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def test_caching_is_not_in_the_stack_where_it_has_nothing_to_do() -> None:
    configuration = load(sections(), flags={}, environment={})
    assert configuration.section(CachingSettings).caching == "client"


@pytest.mark.parametrize("mode", ["auto", "client"])
async def test_streams_are_cached_and_watched_too(mode: str) -> None:
    async with server(settings={"caching": mode}, clock=HandClock(NOW_US), strict=True) as running:
        for _ in range(2):
            messages: Any = [{"role": "user", "content": "Hello."}]
            system: Any = LONG if mode == "auto" else marked(LONG)
            request: dict[str, Any] = {"model": SONNET, "max_tokens": 20, "messages": messages, "system": system}
            async with running.client.messages.stream(**request) as stream:
                message = await stream.get_final_message()
        assert message.usage.cache_read_input_tokens
