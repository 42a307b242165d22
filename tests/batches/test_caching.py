"""The cache of prompts in a batch: what begins alike is worked on together, the first of them alone, and it pays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.batches.prefixes import prefixes, turns
from freehold.batches.warmth import KEPT_US, Warmth
from freehold.clock import HandClock
from freehold.testing import server
from tests.batches.house import Scripted, ended, failed, message, params, progress, until

EPHEMERAL = {"type": "ephemeral"}


def system(name: str, words: int = 6_000) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": f"You are {name}. " + "Be kind and short. " * (words // 4), "cache_control": EPHEMERAL}
    ]


def interleaved(count: int, *names: str, words: int = 6_000) -> list[Any]:
    return [
        {"custom_id": f"item-{i}", "params": params(f"number {i}", system=system(names[i % len(names)], words))}
        for i in range(count)
    ]


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_each_prefix_is_written_once_and_read_by_all_others_and_the_saving_is_told(database_url: str) -> None:
    requests = interleaved(40, "Ada", "Grace")
    async with server(settings={"database": database_url}) as running:
        client = running.client
        batch = await client.messages.batches.create(requests=requests)
        await ended(client, batch.id)
        found = await progress(client, batch.id)
        usages = [
            line.result.message.usage
            async for line in await client.messages.batches.results(batch.id)
            if line.result.type == "succeeded"
        ]
    assert len(usages) == 40
    assert sum(bool(usage.cache_creation_input_tokens) for usage in usages) == 2
    assert sum(bool(usage.cache_read_input_tokens) for usage in usages) == 38
    assert found["cache_read_tokens"] == sum(usage.cache_read_input_tokens or 0 for usage in usages)
    assert found["cache_saved_nanodollars"] > 0.7 * (found["cost_nanodollars"] + found["cache_saved_nanodollars"])


async def test_those_that_begin_alike_wait_for_the_first_and_others_do_not(database_url: str) -> None:
    upstream = Scripted(lambda text, _: (200, message(text)))
    upstream.gate.clear()
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        batch = await running.client.messages.batches.create(requests=interleaved(12, "Ada", "Grace", words=40))
        await until(lambda: upstream.open == 2)
        assert {json.loads(call.body)["system"][0]["text"][:12] for call in upstream.calls} == {
            "You are Ada.",
            "You are Grac",
        }
        upstream.gate.set()
        await ended(running.client, batch.id)
    order = [json.loads(call.body)["system"][0]["text"][8:11] for call in upstream.calls]
    assert sorted(order) == ["Ada"] * 6 + ["Gra"] * 6


async def test_a_first_call_that_fails_lets_the_next_one_write(database_url: str) -> None:
    def script(text: str, time: int) -> tuple[int, bytes]:
        return (400, failed(400, "invalid_request_error")) if text == "number 0" else (200, message(text))

    upstream = Scripted(script)
    async with server(upstream=upstream, settings={"database": database_url}) as running:
        batch = await running.client.messages.batches.create(requests=interleaved(6, "Ada", words=40))
        done = await ended(running.client, batch.id)
    assert (done.request_counts.succeeded, done.request_counts.errored) == (5, 1)
    assert set(upstream.asked.values()) == {1}


def test_a_prefix_is_all_that_stands_before_a_breakpoint_and_at_it() -> None:
    def named(**more: Any) -> tuple[bytes, ...]:
        return prefixes(json.dumps(params("x", **more)).encode())

    assert named() == ()
    one, other = named(system=system("Ada")), named(system=system("Grace"))
    assert len(one) == len(other) == 1 and one != other
    assert named(system=system("Ada")) == one
    assert named(system=system("Ada"), model="claude-sonnet-4-5") != one
    document = {"type": "text", "text": "a long document", "cache_control": EPHEMERAL}
    asked = [{"role": "user", "content": [document, {"type": "text", "text": "what is it?"}]}]
    other_question = [{"role": "user", "content": [document, {"type": "text", "text": "who wrote it?"}]}]
    both = named(system=system("Ada"), messages=asked)
    assert both[0] == one[0] and len(both) == 2
    assert named(system=system("Ada"), messages=other_question) == both
    assert named(system=system("Grace"), messages=asked)[1] != both[1]
    assert prefixes(b'{"cache_control" is no JSON') == ()


def test_turns_put_together_what_begins_alike_longest_first_seen_first() -> None:
    a, b, c = b"a", b"b", b"c"
    assert turns([(), (), ()]) == [0, 1, 2]
    assert turns([(a,), (b,), (a,), (b,)]) == [0, 2, 1, 3]
    assert turns([(a, b), (a, c), (a, b), (a, c), ()]) == [0, 2, 1, 3, 4]


async def test_a_prefix_stays_warm_for_minutes_after_each_hit_and_is_cold_after_a_failure() -> None:
    clock, names = HandClock(), (b"a",)
    warmth = Warmth(clock)
    assert warmth.may_begin(names)
    assert warmth.begun(names) == names
    assert not warmth.may_begin(names) and warmth.may_begin((b"b",))
    warmth.ended(names, names, answered=False)
    assert warmth.begun(names) == names, "nothing was written"
    warmth.ended(names, names, answered=True)
    assert warmth.begun(names) == () and warmth.may_begin(names)
    await clock.advance(KEPT_US / 1_000_000 + 1)
    assert warmth.begun(names) == names
