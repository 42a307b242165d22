"""The bound of a call is never below what it can cost: each case with its dearest answer, and with random ones."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.calls import Call
from freehold.clock import SystemClock
from freehold.errors import InvalidRequest
from freehold.gateway.reading import read_call
from freehold.ledger.bounds import CONTEXT_TOKENS, MOST_OUTPUT_TOKENS, Bounds
from freehold.ledger.media import MOST_IMAGE_TOKENS, image_tokens, pdf_pages
from freehold.ledger.rates import Rates
from freehold.simulator.upstream import Simulator
from freehold.wire.facts import Usage
from freehold.wire.tap import of_whole

RATES = Rates.load()
BOUNDS = Bounds(RATES)
NOW_US = 1_795_000_000_000_000
MODELS = ["claude-haiku-4-5", "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"]


def call(**fields: Any) -> Call:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 1_000, "messages": [{"role": "user", "content": "Hi"}]}
    raw = json.dumps({**body, **fields}, ensure_ascii=False).encode()
    return read_call("messages", raw, [], request_id="req_1", started_ns=0)


def cost(model: str, usage: Usage) -> int:
    found = RATES.cost(model, usage, NOW_US)
    assert found is not None
    return found


def money(made: Call) -> int:
    found = BOUNDS.of(made, NOW_US).nanodollars
    assert found is not None
    return found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [10, 99_000, 100_001, 500_000])
def test_every_byte_a_token_at_the_dearest_rate_is_covered(model: str, size: int) -> None:
    made = call(model=model, messages=[{"role": "user", "content": "x" * size}])
    assert cost(model, Usage(min(size, 190_000), 1_000)) <= money(made)


def test_the_price_cliff_is_reserved_from_the_moment_it_can_be_reached() -> None:
    below = call(model="claude-haiku-5-5", messages=[{"role": "user", "content": "x" * 99_000}])
    above = call(model="claude-haiku-5-5", messages=[{"role": "user", "content": "x" * 100_000}])
    assert money(above) > 4 * money(below)
    assert cost("claude-haiku-5-5", Usage(100_001, 1_000)) <= money(above)
    assert cost("claude-haiku-5-5", Usage(99_000, 1_000)) <= money(below)


def test_an_hour_long_cache_write_is_covered_when_the_call_can_make_one() -> None:
    text = {"type": "text", "text": "x" * 50_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    made = call(system=[text])
    assert cost("claude-sonnet-5-5", Usage(100, 1_000, cache_write_1h_tokens=50_000)) <= money(made)
    hidden = made.body.replace(b"cache_control", b"cache_contro\\u006c")
    spelt = read_call("messages", hidden, [], request_id="req_1", started_ns=0)
    assert money(spelt) >= money(made)


def test_us_inference_and_fast_mode_are_covered() -> None:
    usual, us = call(), call(inference_geo="us")
    usage = replace(Usage(10, 1_000), inference_geo="us")
    assert cost("claude-sonnet-5-5", usage) <= money(us) > money(usual)
    fast = call(model="claude-opus-5-5", speed="fast")
    assert cost("claude-opus-5-5", replace(Usage(10, 1_000), speed="fast")) <= money(fast)
    assumed = Bounds(RATES, assume_us=True).of(usual, NOW_US).nanodollars
    assert assumed is not None and assumed * 10 >= money(usual) * 11


def test_without_max_tokens_the_longest_answer_is_reserved() -> None:
    assert BOUNDS.of(call(max_tokens="many"), NOW_US).output_tokens == MOST_OUTPUT_TOKENS
    assert BOUNDS.of(call(max_tokens=-5), NOW_US).output_tokens == MOST_OUTPUT_TOKENS


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
    return base64.b64encode(head + bytes(5_000)).decode()


def image(**source: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image", "source": source}]}


def test_an_image_is_bounded_by_its_size_and_not_by_its_bytes() -> None:
    assert image_tokens(png(280, 280)) == 100
    assert image_tokens(png(9_000, 9_000)) == MOST_IMAGE_TOKENS
    assert image_tokens(base64.b64encode(b"\xff\xd8" + bytes(99)).decode()) == MOST_IMAGE_TOKENS
    assert image_tokens("no base64 at all!") == MOST_IMAGE_TOKENS
    made = call(messages=[image(type="base64", media_type="image/png", data=png(280, 280))])
    tokens = BOUNDS.of(made, NOW_US).tokens
    assert 1_100 < tokens < 1_500


def test_a_pdf_is_bounded_by_its_pages_or_by_the_context_window() -> None:
    plain = b"%PDF-1.4 << /Type /Pages /Count 3 >> << /Type /Page >> << /Type /Page >> << /Type /Page >>"
    assert pdf_pages(base64.b64encode(plain).decode()) == 3
    assert pdf_pages(base64.b64encode(plain + b"/ObjStm").decode()) is None
    source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF packed").decode()}
    made = call(messages=[{"role": "user", "content": [{"type": "document", "source": source}]}])
    assert BOUNDS.of(made, NOW_US).tokens == CONTEXT_TOKENS + 1_000


PADDING = {"type": "text", "text": "x" * 10_000}
URL = {"type": "url", "url": "https://x.test/a.png"}


def in_result(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "see"}, block]}


def in_document(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "content", "content": [block]}}


def in_unknown(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "of_next_year", "parts": [{"deeper": block}]}


@pytest.mark.parametrize("around", [lambda block: block, in_result, in_document, in_unknown])
def test_media_in_a_long_call_are_found_wherever_they_are(around: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    def tokens(*blocks: dict[str, Any]) -> int:
        made = call(messages=[{"role": "user", "content": [PADDING, *blocks]}])
        return BOUNDS.of(made, NOW_US).tokens

    inline = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png(280, 280)}}
    assert tokens() < tokens(around(inline)) < tokens() + 500
    assert tokens(around({"type": "image", "source": URL})) == CONTEXT_TOKENS + 1_000
    assert tokens(around({"type": "image", "source": {"type": "file", "file_id": "file_1"}})) == CONTEXT_TOKENS + 1_000
    assert tokens(around({"type": "container_upload", "file_id": "file_1"})) == CONTEXT_TOKENS + 1_000
    assert tokens({"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"source": URL}}) < tokens() + 200


@pytest.mark.parametrize("around", [lambda block: block, in_result, in_document, in_unknown])
def test_a_cache_write_in_a_long_call_is_found_wherever_it_is_asked_for(
    around: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    def nanodollars(**mark: Any) -> int:
        block = around({"type": "text", "text": "y", **mark})
        return money(call(messages=[{"role": "user", "content": [PADDING, block]}]))

    assert nanodollars(cache_control={"type": "ephemeral", "ttl": "1h"}) > 1.5 * nanodollars()


def test_what_is_nested_without_end_is_bounded_by_the_context_window() -> None:
    deep: dict[str, Any] = {"type": "text", "text": "x"}
    for _ in range(100):
        deep = {"type": "of_next_year", "parts": [deep]}
    made = call(messages=[{"role": "user", "content": [PADDING, deep]}])
    assert BOUNDS.of(made, NOW_US).tokens == CONTEXT_TOKENS + 1_000


def test_roughly_a_long_call_is_bounded_by_the_context_window_and_a_short_one_as_ever() -> None:
    long = call(messages=[{"role": "user", "content": [PADDING]}])
    rough, exact = BOUNDS.of(long, NOW_US, roughly=True), BOUNDS.of(long, NOW_US)
    assert (rough.tokens, rough.rough, exact.rough) == (CONTEXT_TOKENS + 1_000, True, False)
    assert cost("claude-sonnet-5-5", Usage(0, 1_000, cache_write_1h_tokens=CONTEXT_TOKENS)) <= (rough.nanodollars or 0)
    short, as_ever = BOUNDS.of(call(), NOW_US, roughly=True), BOUNDS.of(call(), NOW_US)
    assert (short.nanodollars, short.tokens, short.rough) == (as_ever.nanodollars, as_ever.tokens, False)


@given(
    model=st.sampled_from([*MODELS, "house", "unknown-1"]),
    text=st.text(max_size=200),
    system=st.none() | st.text(max_size=50),
    max_tokens=st.integers(-1, 2_000) | st.none() | st.text(max_size=3),
    assume_us=st.booleans(),
    later_us=st.integers(0, 3 * 365 * 86_400_000_000),
)
def test_talk_is_bounded_as_any_call_is(
    model: str, text: str, system: str | None, max_tokens: object, assume_us: bool, later_us: int
) -> None:
    bounds = Bounds(RATES, aliases={"house": "claude-opus-5-5"}, assume_us=assume_us)
    fields = {"messages": [{"role": "user", "content": text}], "system": system, "temperature": 1}
    made = call(model=model, max_tokens=max_tokens, **{name: value for name, value in fields.items() if value})
    for now_us in (NOW_US - later_us, NOW_US, NOW_US + later_us):
        short, full = bounds.of(made, now_us), bounds._of_any(made, now_us, roughly=False)
        assert (short.tokens, short.output_tokens) == (full.tokens, full.output_tokens)
        assert short.nanodollars == full.nanodollars or b"\\u00" in made.body  # there might be any name behind those


@pytest.mark.parametrize("source", [{"type": "url", "url": "https://x.test/a.png"}, {"type": "file", "file_id": "f"}])
def test_media_by_url_or_file_is_bounded_by_the_context_window(source: dict[str, Any]) -> None:
    made = call(messages=[image(**source)])
    assert cost("claude-sonnet-5-5", Usage(CONTEXT_TOKENS, 1_000)) <= money(made)
    hidden = made.body.replace(b'"source"', b'"so\\u0075rce"').replace(b'"file_id"', b'"file\\u005fid"')
    spelt = read_call("messages", hidden, [], request_id="req_1", started_ns=0)
    assert BOUNDS.of(spelt, NOW_US).tokens == CONTEXT_TOKENS + 1_000


def test_web_searches_are_bounded_by_their_number_each_with_a_pass_over_everything() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    made = call(tools=[tool])
    usage = Usage(4 * CONTEXT_TOKENS - 60_000, 4_000, cache_write_5m_tokens=60_000, web_searches=3)
    assert cost("claude-sonnet-5-5", usage) <= money(made)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, r"tools\.0\.max_uses"),
        ({"tools": [{"name": "a"}, {"type": "code_execution_20250825", "name": "b"}]}, r"tools\.1: code_execution"),
        ({"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}]}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
        ({"fallbacks": [{"model": "claude-opus-5-5"}]}, "fallbacks"),
    ],
)
def test_what_has_no_bound_is_refused_and_the_answer_says_why(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named) as caught:
        BOUNDS.of(call(**fields), NOW_US)
    assert "hard budget" in caught.value.message


def test_what_a_client_runs_itself_has_a_bound() -> None:
    tools = [
        {"name": "mine", "input_schema": {"type": "object"}},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "custom", "name": "other", "input_schema": {"type": "object"}},
    ]
    assert BOUNDS.of(call(tools=tools, mcp_servers=[]), NOW_US).tokens < 6_000


def test_an_alias_is_bounded_as_the_model_behind_it_and_an_unknown_one_has_no_price() -> None:
    aliased = Bounds(RATES, aliases={"house": "claude-opus-5-5"})
    made = call(model="house")
    assert aliased.of(made, NOW_US).nanodollars == pytest.approx(money(call(model="claude-opus-5-5")), rel=0.01)
    assert BOUNDS.of(made, NOW_US).nanodollars is None


TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
TOOL = st.fixed_dictionaries(
    {"name": st.just("look"), "description": TEXT, "input_schema": st.just({"type": "object"})}
)


@settings(max_examples=150, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    words=st.lists(st.lists(st.sampled_from(["the", "quick", "Hof", "茶", "42", "\n", "})"]), max_size=80), min_size=1),
    system=TEXT,
    tools=st.lists(TOOL, max_size=1),
    max_tokens=st.integers(1, 300),
    cached=st.sampled_from([None, "5m", "1h"]),
)
async def test_what_the_simulator_bills_is_never_above_the_bound(
    model: str, words: list[list[str]], system: str, tools: list[Any], max_tokens: int, cached: str | None
) -> None:
    fields: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
    fields["messages"] = [{"role": "user", "content": " ".join(["Hi", *part])} for part in words]
    if system.strip():
        mark = {"cache_control": {"type": "ephemeral", "ttl": cached}} if cached else {}
        fields["system"] = [{"type": "text", "text": system, **mark}]
    if tools:
        fields["tools"] = tools
    made = call(**fields)
    simulator = Simulator(SystemClock(), brain="echo")
    bound = BOUNDS.of(made, SystemClock().now_us())
    async with simulator(made) as reply:
        facts = of_whole(reply.status, reply.whole or b"")
    assert facts.usage is not None, reply.whole
    assert bound.nanodollars is not None
    assert simulator.claude.account.total.nanodollars <= bound.nanodollars


def test_no_price_changes_with_the_length_of_a_prompt_below_the_lowest_band() -> None:
    for model in MODELS:
        card = RATES.card(model)
        assert card is not None
        bands = [above for _, periods in card.standard + card.fast for above, _ in periods]
        assert all(above == 0 or above >= 100_000 for above in bands)
