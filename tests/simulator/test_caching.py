"""Every rule of prompt caching with a case that hits and one that misses (Claude API docs, page "Prompt caching")."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import pytest

from freehold.clock import HandClock
from freehold.simulator.faults import Fault, Faults, Order
from freehold.simulator.model import tokens
from freehold.simulator.model.catalog import MODELS
from freehold.simulator.pace import Pace, Spread
from freehold.simulator.upstream import Simulator
from tests.simulator.kit import HAIKU, assistant, body, call_of, message, refusal, tool, user

SHORT = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
_WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa "


def words(number: int, mark: str = "") -> str:
    """A text of about so many tokens on a model with the older tokenizer, more on others; `mark` makes it another."""
    return (mark + " " + _WORDS * (number // 10 + 1)).strip()


def text(content: str, cache: dict[str, Any] | None = None) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": content}
    return {**block, "cache_control": cache} if cache else block


class Conversation:
    """A simulator on a clock that stands still, and the cache numbers of each request."""

    def __init__(self, **options: Any) -> None:
        self.clock = HandClock()
        self.simulator = Simulator(self.clock, brain="echo", **options)

    async def ask(self, request: dict[str, Any], **options: Any) -> tuple[int, int]:
        """Tokens read and written."""
        usage = (await message(self.simulator, {"max_tokens": 10, **request}, **options))["usage"]
        kinds = usage["cache_creation"]
        assert usage["cache_creation_input_tokens"] == sum(kinds.values())
        return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]


def system(mark: str = "a", cache: dict[str, Any] | None = SHORT, size: int = 5000) -> dict[str, Any]:
    return {"system": [text(words(size, mark), cache)]}


async def test_the_second_request_reads_what_the_first_wrote() -> None:
    one = Conversation()
    read, written = await one.ask(body("Hi", **system()))
    assert read == 0 and written > 4096
    assert await one.ask(body("Something else", **system())) == (written, 0)


async def test_without_a_breakpoint_nothing_is_cached() -> None:
    one = Conversation()
    for _ in range(2):
        assert await one.ask(body("Hi", **system(cache=None))) == (0, 0)


async def test_input_tokens_are_what_comes_after_the_last_breakpoint() -> None:
    one = Conversation()
    plain = await message(one.simulator, body("Hi", **system("p", cache=None)))
    cached = await message(one.simulator, body("Hi", **system("p")))
    usage = cached["usage"]
    assert usage["input_tokens"] + usage["cache_creation_input_tokens"] == plain["usage"]["input_tokens"]
    assert usage["input_tokens"] < 20


async def test_one_changed_character_misses() -> None:
    one = Conversation()
    await one.ask(body("Hi", **system("a")))
    read, written = await one.ask(body("Hi", **system("b")))
    assert read == 0 and written > 0


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
async def test_the_minimum_length_is_that_of_the_model(model: Any) -> None:
    one = Conversation()
    # "。" is one piece, so that the prefix can be cut to the token, or to 1.3 tokens on models of the newer tokenizer.
    pieces = next(n for n in range(10_000) if tokens.scale(n, model.token_percent) >= model.cache_minimum)
    for number, cached in ((pieces - 1, False), (pieces, True)):
        request = body("x", model=model.id, system=[text("。" * number, SHORT)])
        assert (await one.ask(request) > (0, 0)) is cached, (model.id, number)


async def test_four_breakpoints_are_taken_and_a_fifth_is_refused() -> None:
    one = Conversation()
    blocks = [text(words(1200, f"part {n}"), SHORT) for n in range(5)]
    _, written = await one.ask(body(user(*blocks[:4])))
    assert written > 4000
    error = await refusal(one.simulator, body(user(*blocks)))
    assert error["message"] == "A maximum of 4 blocks with cache_control may be provided. Found 5."


async def test_automatic_caching_takes_the_last_block_and_moves_with_the_conversation() -> None:
    one = Conversation()
    first = body(user(words(5000)), cache_control=SHORT)
    _, written = await one.ask(first)
    longer = body(user(words(5000)), assistant("Fine."), user("And now?"), cache_control=SHORT)
    read, more = await one.ask(longer)
    assert read == written and 0 < more < 40


async def test_automatic_caching_needs_a_free_breakpoint() -> None:
    blocks = [text(words(20, f"part {n}"), SHORT) for n in range(4)]
    error = await refusal(Conversation().simulator, body(user(*blocks), cache_control=SHORT))
    assert "automatic caching needs one of the 4 breakpoints" in error["message"]
    assert (await message(Conversation().simulator, body(user(*blocks[:3]), cache_control=SHORT)))["id"]


async def test_automatic_caching_beside_a_breakpoint_on_the_last_block() -> None:
    one = Conversation()
    same = body(user(text(words(5000), SHORT)), cache_control=SHORT)
    assert (await one.ask(same))[1] > 4096
    other = body(user(text(words(5000), SHORT)), cache_control=LONG)
    assert "ttl" in (await refusal(one.simulator, other))["message"]


async def test_automatic_caching_steps_back_from_a_block_that_cannot_be_cached() -> None:
    one = Conversation()
    thinking = {"type": "enabled", "budget_tokens": 1024}
    request = body(
        "ping, please", max_tokens=3000, thinking=thinking, tools=[tool("ping", "ping it")], model="claude-opus-4-5"
    )
    planner = Simulator(one.clock)
    answer = await message(planner, request)
    last_is_thinking = [user(words(6000)), assistant(text("ok"), answer["content"][0])]
    usage = (await message(planner, {**request, "messages": last_is_thinking, "cache_control": SHORT}))["usage"]
    assert usage["cache_creation_input_tokens"] > 4096


async def test_twenty_positions_are_searched_and_the_breakpoint_is_the_first() -> None:
    for between, hit in ((19, True), (20, False)):
        one = Conversation()
        head = text(words(5000, f"{between}"), SHORT)
        await one.ask(body(user(head)))
        plain = [{"type": "text", "text": head["text"]}]
        added = [text(f"added {n}") for n in range(between - 1)]
        read, _ = await one.ask(body(user(*plain, *added, text("end", SHORT))))
        assert bool(read) is hit, between


async def test_a_position_that_was_never_a_breakpoint_is_not_found() -> None:
    one = Conversation()
    a, b = text(words(5000, "a")), text(words(500, "b"))
    await one.ask(body(user(a, {**b, "cache_control": SHORT})))
    other = text(words(500, "c"), SHORT)
    read, _ = await one.ask(body(user(a, other)))
    assert read == 0
    again, _ = await one.ask(body(user(a, {**b, "cache_control": SHORT})))
    assert again > 0


@pytest.mark.parametrize(("cache", "seconds"), [(SHORT, 300), (LONG, 3600)])
async def test_an_entry_lives_for_its_time(cache: dict[str, Any], seconds: int) -> None:
    one = Conversation()
    request = body("Hi", **system(cache=cache))
    await one.ask(request)
    await one.clock.advance(seconds - 1)
    assert (await one.ask(request))[0] > 0
    await one.clock.advance(seconds)
    assert (await one.ask(request))[0] == 0


async def test_each_read_refreshes_the_entry() -> None:
    one = Conversation()
    request = body("Hi", **system())
    await one.ask(request)
    for _ in range(10):
        await one.clock.advance(299)
        assert (await one.ask(request))[0] > 0


@pytest.mark.parametrize(("later_s", "hit"), [(99, True), (100, False)])
async def test_time_to_live_counts_from_the_start_of_the_request(later_s: int, hit: bool) -> None:
    faults = Faults()
    one = Conversation(faults=faults)
    faults.order(Order(Fault("stall", seconds=200), times=1))
    request = body("Hi", **system())
    task = asyncio.create_task(one.ask(request))
    await asyncio.sleep(0)
    await one.clock.advance(200)
    await task
    await one.clock.advance(later_s)
    assert bool((await one.ask(request))[0]) is hit


async def test_others_see_an_entry_once_the_reply_has_begun() -> None:
    one = Conversation()
    request = {**body("Hi", **system()), "stream": True}
    async with one.simulator(call_of(request)) as reply:
        assert reply.reads is not None
        assert (await one.ask(body("Hi", **system())))[0] > 0
        await anext(reply.reads)


async def test_a_parallel_request_that_starts_before_the_reply_begins_misses() -> None:
    one = Conversation(pace=Pace(first_token_s=Spread(2.0)))
    tasks = [asyncio.create_task(one.ask(body("Hi", **system()))) for _ in range(2)]
    await asyncio.sleep(0)
    await one.clock.advance(3)
    assert [read for read, _ in await asyncio.gather(*tasks)] == [0, 0]
    later = asyncio.create_task(one.ask(body("Hi", **system())))
    await asyncio.sleep(0)
    await one.clock.advance(3)
    assert (await later)[0] > 0


async def test_long_lived_entries_come_before_short_lived_ones() -> None:
    one = Conversation()
    good = body(user(text("end", SHORT)), **system(cache=LONG))
    usage = (await message(one.simulator, good))["usage"]["cache_creation"]
    assert usage["ephemeral_1h_input_tokens"] > 4096 and 0 < usage["ephemeral_5m_input_tokens"] < 20
    error = await refusal(one.simulator, body(user(text("end", LONG)), **system(cache=SHORT)))
    assert "must not come after a ttl='5m'" in error["message"]


async def test_mixed_lives_are_billed_by_section() -> None:
    one = Conversation()
    a, b, c = text(words(5000, "a"), LONG), text(words(1000, "b"), LONG), text(words(2000, "c"), SHORT)
    first = await message(one.simulator, body(user(a)))
    usage = (await message(one.simulator, body(user(a, b, c))))["usage"]
    assert usage["cache_read_input_tokens"] == first["usage"]["cache_creation_input_tokens"]
    kinds = usage["cache_creation"]
    assert 900 < kinds["ephemeral_1h_input_tokens"] < kinds["ephemeral_5m_input_tokens"] < 2500


async def test_workspaces_are_apart_and_so_are_models_and_speeds() -> None:
    one = Conversation()
    request = body("Hi", model="claude-opus-5-5", **system())
    await one.ask(request, workspace="wrkspc_a")
    assert (await one.ask(request, workspace="wrkspc_a"))[0] > 0
    assert (await one.ask(request, workspace="wrkspc_b"))[0] == 0
    assert (await one.ask({**request, "model": "claude-opus-5"}, workspace="wrkspc_a"))[0] == 0
    assert (await one.ask({**request, "speed": "fast"}, workspace="wrkspc_a"))[0] == 0


_TOOLS = [tool("get_weather", words(2000), city="string"), tool("get_time", "What time it is", zone="string")]


def _png(side: int) -> str:
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", side, side) + b"\x08\x02\0\0\0"
    ).decode()


def _image() -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _png(64)}}


def _layered(**changes: Any) -> dict[str, Any]:
    """Breakpoints after tools, system and messages, so that one sees which level survives a change."""
    tools = [_TOOLS[0], {**_TOOLS[1], "cache_control": SHORT}]
    request = {
        "model": "claude-opus-5",
        "max_tokens": 2000,
        "tools": tools,
        **system("s", size=2000),
        "messages": [user(text(words(2000, "m"), SHORT))],
    }
    return {**request, **changes}


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, 3),
        ({"tools": [{**_TOOLS[0], "description": "other"}, {**_TOOLS[1], "cache_control": SHORT}]}, 0),
        ({"tools": [_TOOLS[1], {**_TOOLS[0], "cache_control": SHORT}]}, 0),
        ({"speed": "fast"}, 1),
        (system("other", size=2000), 1),
        ({"tool_choice": {"type": "none"}}, 2),
        ({"tool_choice": {"type": "auto"}}, 3),
        ({"thinking": {"type": "disabled"}}, 2),
        ({"thinking": {"type": "adaptive"}}, 3),
        ({"output_config": {"effort": "low"}}, 2),
        ({"output_config": {"effort": "high"}}, 3),
        ({"messages": [user(text(words(2000, "other"), SHORT))]}, 2),
        ({"messages": [user(text(words(2000, "m"), SHORT), _image())]}, 2),
        ({"messages": [user(text(words(2000, "m"), SHORT), text("and more"))]}, 3),
        ({"stop_sequences": ["zzz"], "metadata": {"user_id": "u"}, "max_tokens": 1999}, 3),
    ],
)
async def test_a_change_loses_its_own_level_and_those_after_it(changes: dict[str, Any], levels: int) -> None:
    one = Conversation()
    usage = (await message(one.simulator, _layered()))["usage"]
    sizes = [0]
    for positions in range(1, 4):
        sizes.append(_prefix_tokens(one, positions))
    assert usage["cache_creation_input_tokens"] == sizes[3]
    read, _ = await one.ask(_layered(**changes))
    assert read == sizes[levels]


def _prefix_tokens(one: Conversation, level: int) -> int:
    from freehold.simulator.model import catalog, prompt
    from freehold.simulator.model import request as requests

    laid = prompt.lay_out(requests.read(_layered(), catalog.find("claude-opus-5")))
    return max(position.total for position in laid.positions if position.level < level)


async def test_citations_on_or_off_lose_system_and_messages() -> None:
    one = Conversation()
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words(500)}}
    request = _layered(messages=[user(document, text(words(500), SHORT))])
    await one.ask(request)
    assert (await one.ask(request))[0] > 4000
    cited = {**document, "citations": {"enabled": True}}
    read, _ = await one.ask({**request, "messages": [user(cited, text(words(500), SHORT))]})
    assert read == _prefix_tokens(one, 1)


async def _thinking_turn(model: str, **more: Any) -> tuple[Simulator, dict[str, Any], list[Any]]:
    clock = HandClock()
    simulator = Simulator(clock)
    request = {
        "model": model,
        "max_tokens": 3000,
        "tools": [tool("ping", "ping the server")],
        **more,
        **system(size=5000),
    }
    first = await message(simulator, {**request, "messages": [user("Please ping the server")]})
    use = next(block for block in first["content"] if block["type"] == "tool_use")
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "pong", "cache_control": SHORT}
    return simulator, request, [user("Please ping the server"), assistant(*first["content"]), user(result)]


@pytest.mark.parametrize(("model", "kept"), [("claude-opus-4-5", True), ("claude-sonnet-4-5", False)])
async def test_a_new_question_after_thinking_keeps_the_prefix_only_where_thinking_is_kept(
    model: str, kept: bool
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    simulator, request, messages = await _thinking_turn(model, thinking=thinking)
    answered = await message(simulator, {**request, "messages": messages})
    written = answered["usage"]["cache_creation_input_tokens"]
    head = answered["usage"]["cache_read_input_tokens"]
    assert written > 0 and head > 0
    asked = [*messages, assistant(*answered["content"]), user(text("And again?", SHORT))]
    usage = (await message(simulator, {**request, "messages": asked}))["usage"]
    assert (usage["cache_read_input_tokens"] == head + written) is kept
    assert usage["cache_read_input_tokens"] >= head


async def test_thinking_of_another_model_is_dropped_and_the_prefix_is_lost_from_there() -> None:
    simulator, request, messages = await _thinking_turn("claude-haiku-5-5")
    seen = await message(simulator, {**request, "messages": messages})
    other = await message(simulator, {**request, "model": "claude-opus-5-5", "messages": messages})
    totals = [sum(one["usage"][key] for key in _INPUTS) for one in (seen, other)]
    assert totals[1] < totals[0]


_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


async def test_an_appended_system_message_keeps_everything_before_it() -> None:
    one = Conversation()
    request = _layered()
    await one.ask(request)
    read, _ = await one.ask({**request, "messages": [*request["messages"], {"role": "system", "content": "Be brief."}]})
    assert read == _prefix_tokens(one, 3)


@pytest.mark.parametrize(
    "block",
    [{"type": "text", "text": "", "cache_control": SHORT}, {"type": "thinking", "thinking": "a", "signature": "b"}],
)
async def test_a_marker_on_what_cannot_be_cached_is_refused(block: dict[str, Any]) -> None:
    request = body(user("a"), assistant({**block, "cache_control": SHORT}), user("b"))
    assert await refusal(Conversation().simulator, request)


async def test_max_tokens_of_zero_writes_the_cache_and_generates_nothing() -> None:
    one = Conversation()
    warmed = await message(one.simulator, body("Hi", max_tokens=0, **system()))
    assert warmed["content"] == [] and warmed["stop_reason"] == "max_tokens"
    assert warmed["usage"]["output_tokens"] == 0
    assert (await one.ask(body("Hi", **system())))[0] == warmed["usage"]["cache_creation_input_tokens"]


async def test_a_marker_may_move_without_changing_the_prompt() -> None:
    one = Conversation()
    _, written = await one.ask(body(user(text(words(5000), SHORT))))
    plain = user(text(words(5000)), text("more", SHORT))
    assert (await one.ask(body(plain)))[0] == written


_FIRST = {**_layered(), "diagnostics": {"previous_message_id": None}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"messages": [*_layered()["messages"], assistant("ok"), user("next")]}, None),
        ({"model": "claude-opus-4-8"}, "model_changed"),
        ({"speed": "fast"}, "model_changed"),
        ({"tools": _TOOLS[:1]}, "tools_changed"),
        (system("changed", size=2000), "system_changed"),
        ({"messages": [user("something else")]}, "messages_changed"),
        ({"tool_choice": {"type": "none"}}, "unavailable"),
    ],
)
async def test_diagnostics_name_the_earliest_difference(changes: dict[str, Any], reason: str | None) -> None:
    one = Conversation()
    first = await message(one.simulator, _FIRST)
    assert first["diagnostics"] is None
    asked = {"diagnostics": {"previous_message_id": first["id"]}}
    second = await message(one.simulator, {**_layered(**changes), **asked})
    if reason is None:
        assert second["diagnostics"] is None
        return
    told = second["diagnostics"]["cache_miss_reason"]
    assert told["type"] == reason
    if reason != "unavailable":
        assert 0 < told["cache_missed_input_tokens"] <= first["usage"]["cache_creation_input_tokens"] + 20


async def test_diagnostics_of_an_unknown_message_say_so_and_none_are_there_unasked() -> None:
    one = Conversation()
    asked = {**_layered(), "diagnostics": {"previous_message_id": "msg_never"}}
    answer = await message(one.simulator, asked)
    assert answer["diagnostics"] == {"cache_miss_reason": {"type": "previous_message_not_found"}}
    assert "diagnostics" not in await message(one.simulator, body("Hi", model=HAIKU))
