"""Calls for `auto` through a whole server: who answers, what is said about it, what is remembered, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic import AsyncAnthropic, BadRequestError

from freehold.errors import Misconfigured
from freehold.gateway.routing.decision import Decision, Inputs, decide
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.plain import asking_for
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.gateway.routing.signals import READ_BYTES, read_signals
from freehold.ledger.rates import Rates
from freehold.testing import server
from freehold.wire.envelopes import parse_fields
from tests.gateway.routing.calls import call_of

HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"
NOW_US = 1_795_000_000_000_000
DECISIONS = "/freehold/v1/routing/decisions"


async def ask(client: AsyncAnthropic, text: str = "Hello there", **more: Any) -> tuple[str, str]:
    """(the model that answered, what `x-freehold-route` says)."""
    headers = more.pop("headers", {})
    messages = more.pop("messages", [{"role": "user", "content": text}])
    request = {"model": "auto", "max_tokens": 50, "messages": messages, **more}
    reply = await client.messages.with_raw_response.create(**request, extra_headers=headers)
    message = await reply.parse()
    assert reply.headers["x-freehold-model"] == message.model
    return message.model, reply.headers["x-freehold-route"]


async def test_the_words_of_the_prompt_choose_among_the_tiers() -> None:
    async with server(strict=True) as running:
        client = running.client
        assert (await ask(client, "请翻译这段话"))[0] == HAIKU
        assert (await ask(client, "请翻译并分析这段话"))[0] == OPUS
        assert (await ask(client, "Summarise this, please."))[0] == HAIKU
        assert (await ask(client, "Design a bridge."))[0] == OPUS
        assert (await ask(client))[0] == SONNET
        assert (await ask(client, headers={"x-freehold-requires-reasoning": "true"}))[0] == OPUS
        assert (await ask(client, "Design a bridge.", headers={"x-freehold-task-type": "翻译"}))[0] == HAIKU


async def test_a_forced_tool_call_goes_only_to_a_model_that_takes_it() -> None:
    tool = {"name": "note", "description": "Notes.", "input_schema": {"type": "object", "properties": {}}}
    async with server(strict=True) as running:
        for choice in ({"type": "any"}, {"type": "tool", "name": "note"}):
            model, why = await ask(running.client, "Design a bridge.", tools=[tool], tool_choice=choice)
            assert model == HAIKU
            assert "refused_by_model" in why
        aliases = {"big": {"simple": SONNET}}
    async with server(settings={"routing_aliases": aliases}) as running:
        with pytest.raises(BadRequestError, match="takes no forced tool call"):
            await ask(running.client, model="big", tools=[tool], tool_choice={"type": "any"})


async def test_a_conversation_keeps_its_model_also_after_a_restart(tmp_path: Path) -> None:
    first = {"role": "user", "content": "Design a bridge."}
    messages = [first, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Translate that."}]
    async with server(data=tmp_path) as running:
        key = await running.new_key()
        assert (await ask(running.new_client(key), messages=[first]))[0] == OPUS
        model, why = await ask(running.new_client(key), messages=messages)
        assert (model, "because=conversation" in why) == (OPUS, True)
    async with server(data=tmp_path) as running:
        assert (await ask(running.new_client(key), messages=messages))[0] == OPUS


async def test_a_maximal_cost_is_kept_or_refused_with_the_cheapest_estimate() -> None:
    async with server() as running:
        client = running.client
        assert (await ask(client, headers={"x-freehold-max-cost-usd": "1"}))[0] == OPUS
        assert (await ask(client, headers={"x-freehold-max-cost-usd": "0.0002"}))[0] == HAIKU
        for model in ("auto", OPUS):
            with pytest.raises(BadRequestError, match="the cheapest estimate is") as caught:
                await ask(client, model=model, headers={"x-freehold-max-cost-usd": "0.000001"})
            assert caught.value.status_code == 400
        assert (await ask_plain(client, OPUS, "0.01")) == OPUS
        with pytest.raises(BadRequestError, match="x-freehold-max-cost-usd: must be an amount"):
            await ask(client, headers={"x-freehold-max-cost-usd": "much"})


async def ask_plain(client: AsyncAnthropic, model: str, most: str) -> str:
    messages: Any = [{"role": "user", "content": "Hi"}]
    headers = {"x-freehold-max-cost-usd": most}
    reply = await client.messages.create(model=model, max_tokens=50, messages=messages, extra_headers=headers)
    return str(reply.model)


async def test_every_decision_is_explained_by_its_record_and_only_to_its_workspace() -> None:
    async with server() as running:
        _, why = await ask(running.client, "请设计一个架构")
        call_id = why.rsplit("call=", 1)[1]
        found = await running.client.get(f"{DECISIONS}/{call_id}", cast_to=dict[str, Any])
        assert "设计" in found["explanation"][0]
        usage = await running.client.get("/freehold/v1/usage?by[]=model", cast_to=dict[str, Any])
        assert usage["data"][0]["model"] == OPUS
        made = _decided_again(found)
        assert (made.tier, made.model) == (found["tier"], found["model"])


def _decided_again(found: dict[str, Any]) -> Decision:
    return decide(msgspec.convert(found["inputs"], Inputs))


async def test_counting_tokens_for_auto_counts_for_the_model_that_would_answer() -> None:
    async with server() as running:
        messages: Any = [{"role": "user", "content": "Translate this."}]
        counted = await running.client.messages.count_tokens(model="auto", messages=messages)
        assert counted.input_tokens > 0


async def test_a_stream_for_auto_streams() -> None:
    async with server(strict=True) as running:
        messages: Any = [{"role": "user", "content": "Translate this."}]
        async with running.client.messages.stream(model="auto", max_tokens=50, messages=messages) as stream:
            message = await stream.get_final_message()
        assert message.model == HAIKU


def test_the_step_in_haikus_price_is_seen_before_it_is_paid() -> None:
    estimates, rates = Estimates(Rates.load()), Rates.load()
    tiers = (("simple", HAIKU), ("balanced", SONNET))
    card = rates.card(HAIKU)
    assert card is not None
    for tokens, rate in ((99_900, 100_000), (100_000, 100_000), (100_001, 500_000)):
        found = card.rate(tokens, NOW_US, fast=False)
        assert found is not None
        assert found[0] == rate
    below = call_of("auto", [{"role": "user", "content": "x" * 3 * 90_000}])
    above = call_of("auto", [{"role": "user", "content": "x" * 3 * 99_000}])  # within the margin
    cheap = estimates.options(tiers, below, read_signals(below), NOW_US)[0]
    dear = estimates.options(tiers, above, read_signals(above), NOW_US)[0]
    assert (cheap.above_step, dear.above_step) == (False, True)
    assert cheap.expected is not None
    assert dear.expected is not None
    assert dear.expected > 4 * cheap.expected


def test_at_most_four_kilobytes_are_read_and_the_last_words_are_seen() -> None:
    filler = [{"role": "user", "content": "word " * 5000}, {"role": "assistant", "content": "yes " * 5000}]
    call = call_of("auto", [*filler, {"role": "user", "content": 'Now 翻译 this, "please"'}])
    signals = read_signals(call)
    assert "翻译" in signals.text.decode()
    assert signals.continued
    assert len(signals.text) <= READ_BYTES
    escaped = call_of("auto", [*filler, {"role": "user", "content": "翻译 this"}], ascii=True)
    assert "翻译" in read_signals(escaped).text.decode()


def test_a_conversation_has_one_name_however_long_it_grows() -> None:
    first: dict[str, Any] = {"role": "user", "content": "Begin."}
    short = call_of("auto", [first])
    long = call_of("auto", [first, {"role": "assistant", "content": "a" * 9000}, {"role": "user", "content": "On."}])
    assert read_signals(short).conversation == read_signals(long).conversation
    other = call_of("auto", [{"role": "user", "content": "Other."}])
    assert read_signals(other).conversation != read_signals(short).conversation


def test_odd_requests_are_no_trouble() -> None:
    for raw in (b"5", b"[]", b'[{"role":5}]', b'["x"]', b'{"a":1}', b'[{"role":"user","content":null}]'):
        call = call_of("auto", [], messages=raw)
        assert read_signals(call).besides.tools == 0


@pytest.mark.parametrize(
    "given",
    [
        {"routing_aliases": {"auto": {"huge": OPUS}}},
        {"routing_aliases": {"auto": "no"}},
        {"routing_task_types": {"review": "hard"}},
    ],
)
def test_settings_that_do_not_fit_stop_the_start(given: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        rulebook(RoutingSettings(**given))


def test_the_call_for_the_chosen_model_is_the_same_call_but_for_its_model() -> None:
    call = call_of("auto", [{"role": "user", "content": 'She said "auto".'}])
    names = call.__struct_fields__
    for name in names:
        if name not in ("body", "fields", "model", "notes"):
            setattr(call, name, object())
    asking = asking_for(call, OPUS)
    for name in names:
        if name not in ("body", "fields", "model"):
            assert getattr(asking, name) is getattr(call, name), name
    assert (asking.model, asking.fields) == (OPUS, parse_fields(asking.body))
    assert asking.body == call.body.replace(b'"model": "auto"', b'"model": "%b"' % OPUS.encode())
