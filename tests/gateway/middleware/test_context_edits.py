"""Context management by the upstream and by this server: the same conversation is seen, and the same is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import APIStatusError, AsyncAnthropic, BadRequestError
from anthropic.types.beta import BetaMessage

from freehold.app.sections import sections
from freehold.clock import HandClock
from freehold.config import load
from freehold.context.compaction import INSTRUCTIONS
from freehold.context.editing import CLEARED
from freehold.errors import Misconfigured
from freehold.gateway.middleware.context_edits import ContextEdits, ContextEditSettings
from freehold.ids import new_id
from freehold.simulator.brains.base import Say, Step
from freehold.simulator.model import signatures
from freehold.simulator.model.request import Request, text_of
from freehold.simulator.upstream import Simulator
from freehold.testing import server

MODEL = "claude-sonnet-5-5"
USES, THINKING, COMPACT = "clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112"
BETAS: Any = ["context-management-2025-06-27", "compact-2026-01-12"]
NOW_US = 1_795_000_000_000_000
TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("read", "search")]


class Listener:
    """Says the same always, and keeps what it was shown. Asked for a summary, it gives one."""

    def __init__(self) -> None:
        self.seen: list[list[dict[str, Any]]] = []
        self.fails = False

    def answer(self, request: Request) -> list[Step]:
        """See `Brain`."""
        said = text_of([placed.block for placed in request.last.placed])
        if INSTRUCTIONS in said or "In one line" in said:
            return [] if self.fails else [Say("The user wants 42.")]
        self.seen.append([dict(message) for message in request.body["messages"]])
        return [Say("Done.")]


@asynccontextmanager
async def listening(settings: Mapping[str, Any] | None = None) -> AsyncIterator[tuple[AsyncAnthropic, Listener, Any]]:
    clock, brain = HandClock(NOW_US), Listener()
    simulator = Simulator(clock, brain=brain, exact_counts=True)
    async with server(upstream=simulator, clock=clock, settings=settings, strict=True) as running:
        yield running.client, brain, simulator


def thought(number: int) -> dict[str, Any]:
    text = f"I wonder about file {number}. " * 20
    return {"type": "thinking", "thinking": text, "signature": signatures.sign(0, MODEL, text, 120)}


def conversation(calls: int, *, thinking: bool = False) -> list[dict[str, Any]]:
    """A question, and so many calls with their results."""
    made: list[dict[str, Any]] = [{"role": "user", "content": "Find the answer."}]
    for number in range(calls):
        use: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{number}", "name": "read" if number % 2 else "search"}
        use["input"] = {"path": f"/data/{number}.txt", "why": "because it may be there " * 4}
        text = [
            {
                "type": "text",
                "text": f"The measurements of station {number} were taken before sunrise and after heavy rainfall. "
                * 8,
            }
        ]
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": text}
        before = [thought(number)] if thinking else []
        made += [{"role": "assistant", "content": [*before, use]}, {"role": "user", "content": [result]}]
    return made


def uses(**more: Any) -> dict[str, Any]:
    return {"type": USES, "trigger": {"type": "tool_uses", "value": 3}, **more}


def tokens(value: int) -> dict[str, Any]:
    return {"type": "input_tokens", "value": value}


KEEP_2 = {"type": "tool_uses", "value": 2}
CASES: list[tuple[str, int, bool, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("too few calls", 2, False, [uses()], []),
    ("all but three", 6, False, [uses()], [{"type": USES, "cleared_tool_uses": 3}]),
    ("all but two", 6, False, [uses(keep=KEEP_2)], [{"type": USES, "cleared_tool_uses": 4}]),
    ("but for one tool", 6, False, [uses(exclude_tools=["search"])], [{"type": USES, "cleared_tool_uses": 1}]),
    ("inputs too", 6, False, [uses(clear_tool_inputs=True)], [{"type": USES, "cleared_tool_uses": 3}]),
    ("inputs of one", 6, False, [uses(clear_tool_inputs=["read"])], [{"type": USES, "cleared_tool_uses": 3}]),
    ("by default far away", 6, False, [{"type": USES}], []),
    ("by tokens", 6, False, [{"type": USES, "trigger": tokens(900)}], [{"type": USES, "cleared_tool_uses": 3}]),
    ("tokens not reached", 6, False, [{"type": USES, "trigger": tokens(9_000)}], []),
    ("saves too little", 6, False, [uses(clear_at_least=tokens(50_000))], []),
    ("saves enough", 6, False, [uses(clear_at_least=tokens(100))], [{"type": USES, "cleared_tool_uses": 3}]),
    ("thinking", 5, True, [{"type": THINKING}], [{"type": THINKING, "cleared_thinking_turns": 4}]),
    ("thinking stays", 5, True, [{"type": THINKING, "keep": "all"}], []),
    (
        "thinking, then calls",
        5,
        True,
        [{"type": THINKING, "keep": {"type": "thinking_turns", "value": 2}}, uses()],
        [{"type": THINKING, "cleared_thinking_turns": 3}, {"type": USES, "cleared_tool_uses": 2}],
    ),
    ("nothing asked for", 5, False, [], []),
]


async def asked(client: AsyncAnthropic, messages: Any, edits: Any, *, stream: bool = False, **more: Any) -> BetaMessage:
    given: dict[str, Any] = {"model": MODEL, "max_tokens": 3_000, "tools": TOOLS, "betas": BETAS, **more}
    given |= {"messages": messages, "context_management": {"edits": edits}}
    if not stream:
        message: BetaMessage = await client.beta.messages.create(**given)
        return message
    async with client.beta.messages.stream(**given) as streamed:
        return await streamed.get_final_message()


def applied(message: BetaMessage) -> list[dict[str, Any]]:
    assert message.context_management is not None
    return [edit.model_dump() for edit in message.context_management.applied_edits]


async def test_what_claude_would_do_and_what_is_done_here_agree_case_by_case() -> None:
    async with (
        listening() as (theirs, their_brain, _),
        listening({"context_management": "here"}) as (ours, our_brain, _),
    ):
        await asked(ours, conversation(6), [])  # from its usage the measure of tokens is learned
        for name, calls, thinking, edits, expected in CASES:
            messages = conversation(calls, thinking=thinking)
            more = {"thinking": {"type": "adaptive"}} if thinking else {}
            answers = [
                await asked(client, messages, edits, stream=stream, **more)
                for client in (theirs, ours)
                for stream in (False, True)
            ]
            told = [applied(answer) for answer in answers]
            saved = [[edit.pop("cleared_input_tokens") for edit in edits] for edits in told]
            assert told == [expected] * 4, name
            assert all(count > 0 for counts in saved for count in counts), name
            for theirs_saved, ours_saved in zip(saved[0], saved[2], strict=True):
                assert 0.7 < ours_saved / theirs_saved < 1.4, (name, saved)
            assert their_brain.seen[-1] == our_brain.seen[-1], name
            assert all(answer.content[0].to_dict() == answers[0].content[0].to_dict() for answer in answers), name
            fewer = answers[2].usage.input_tokens
            assert fewer == answers[0].usage.input_tokens, name


async def test_counting_tells_what_there_was_before() -> None:
    counts = []
    for settings in (None, {"context_management": "here"}):
        async with listening(settings) as (client, _, _):
            given: Any = {"model": MODEL, "messages": conversation(6), "tools": TOOLS, "betas": BETAS}
            edited_by: Any = {"edits": [uses()]}
            plain = await client.beta.messages.count_tokens(**given)
            edited = await client.beta.messages.count_tokens(**given, context_management=edited_by)
            assert edited.context_management is not None
            assert edited.context_management.original_input_tokens == plain.input_tokens > edited.input_tokens
            counts.append((plain.input_tokens, edited.input_tokens))
    assert counts[0] == counts[1]


async def test_what_is_cleared_stays_the_same_bytes_so_that_it_stays_cached() -> None:
    async with listening({"context_management": "here"}) as (client, brain, _):
        edits = [uses(clear_at_least=tokens(100))]
        long = conversation(24)
        long[2]["content"][0]["content"][0]["cache_control"] = {"type": "ephemeral"}  # of a result that will be cleared
        for result in (30, 44):
            long[result]["content"][0]["cache_control"] = {"type": "ephemeral"}
        first = await asked(client, long[:45], edits)
        then = await asked(client, long, edits)
    assert brain.seen[-1][: len(brain.seen[-2]) - 8] == brain.seen[-2][:-8]  # all but what has become old since
    assert brain.seen[-1][2]["content"][0]["cache_control"]
    assert first.usage.cache_creation_input_tokens
    assert then.usage.cache_read_input_tokens


def long_conversation() -> list[dict[str, Any]]:
    """More than 50,000 tokens."""
    return [
        {"role": "user", "content": "What is it? " + "All that is known of it. " * 12_000},
        {"role": "assistant", "content": "It may be 42."},
        {"role": "user", "content": "Say it again."},
    ]


COMPACTING = {"type": COMPACT, "trigger": tokens(50_000)}


@pytest.mark.parametrize("settings", [{}, {"context_management": "here"}], ids=["by the upstream", "here"])
async def test_a_long_conversation_is_summarised_and_goes_on(settings: dict[str, Any]) -> None:
    async with listening(settings) as (client, brain, simulator):
        history = long_conversation()
        for stream in (False, True):
            answer = await asked(client, history, [COMPACTING], stream=stream)
            summary, text = answer.content
            assert summary.type == "compaction" and summary.content == "The user wants 42."
            assert text.type == "text" and text.text == "Done."
            [shown] = brain.seen[-1]
            assert (
                "The user wants 42." in shown["content"][0]["text"] and shown["content"][1]["text"] == "Say it again."
            )
            passes = answer.usage.iterations or []
            assert [one.type for one in passes] == ["compaction", "message"]
            assert passes[0].input_tokens > 50_000 > 1_000 > passes[1].input_tokens == answer.usage.input_tokens
        history += [
            {"role": "assistant", "content": [block.to_dict() for block in answer.content]},
            {"role": "user", "content": "And now?"},
        ]
        later = await asked(client, history, [COMPACTING])
        assert [block.type for block in later.content] == ["text"]
        assert [message["role"] for message in brain.seen[-1]] == ["user", "assistant", "user"]
        assert [one.type for one in later.usage.iterations or []] == ["message"]
        billed = sum(line.nanodollars for line in simulator.claude.account.lines())
        costs: Any = await client.get("/freehold/v1/usage", cast_to=dict[str, Any])
        assert costs["total"]["cost_nanodollars"] == billed > 0


@pytest.mark.parametrize("settings", [{}, {"context_management": "here"}], ids=["by the upstream", "here"])
async def test_it_pauses_behind_the_summary_and_bears_one_that_fails(settings: dict[str, Any]) -> None:
    async with listening(settings) as (client, brain, _):
        for stream in (False, True):
            edit = {**COMPACTING, "pause_after_compaction": True, "instructions": "In one line."}
            answer = await asked(client, long_conversation(), [edit], stream=stream)
            assert answer.stop_reason == "compaction" and [block.type for block in answer.content] == ["compaction"]
            assert answer.usage.output_tokens == 0 and not brain.seen
        brain.fails = True
        answer = await asked(client, long_conversation(), [COMPACTING])
        assert answer.content[0].type == "compaction" and answer.content[0].content is None
        assert len(brain.seen[-1]) == 3


async def test_the_operator_may_edit_what_asks_for_nothing() -> None:
    settings = {"context_edits": {"claude-sonnet-*": [uses()]}}
    async with listening(settings) as (client, brain, _):
        given: Any = {"model": MODEL, "max_tokens": 100, "tools": TOOLS, "messages": conversation(6)}
        await client.messages.create(**given)
        assert CLEARED in str(brain.seen[-1])
        await client.messages.create(**{**given, "model": "claude-haiku-5-5"})
        assert CLEARED not in str(brain.seen[-1])


WRONG: list[tuple[Any, str]] = [
    ([{"type": "clear_everything"}], "context_management.edits.0"),
    ([uses(), uses()], "once"),
    ([uses(), {"type": THINKING}], "must be the first"),
    ([{"type": COMPACT, "trigger": tokens(1_000)}], "greater than or equal to 50000"),
    ([uses(keep={"type": "tool_uses", "value": -1})], "keep.value"),
    ([{"type": THINKING, "keep": {"type": "thinking_turns", "value": 0}}], "keep.value"),
    ([uses(invented=True)], "invented"),
]


@pytest.mark.parametrize("settings", [{}, {"context_management": "here"}], ids=["by the upstream", "here"])
async def test_wrong_edits_are_refused_with_their_place(settings: dict[str, Any]) -> None:
    async with listening(settings) as (client, _, _):
        for edits, told in WRONG:
            with pytest.raises(BadRequestError, match=r"context_management|edit") as refused:
                await asked(client, conversation(4), edits)
            assert told in str(refused.value), (edits, refused.value)
        for messages in ([], [{"role": "user"}], [{"role": "user", "content": [{"text": "?"}]}], "x"):
            with pytest.raises(APIStatusError):
                await asked(client, messages, [uses()])


def test_settings_that_mean_nothing_stop_the_start() -> None:
    for flags in (
        {"context_management_routes": {"*": "there"}},
        {"context_edits": {"*": [{"type": "clear_everything"}]}},
    ):
        settings = load(sections(), flags=flags, environment={}).section(ContextEditSettings)
        with pytest.raises(Misconfigured, match="context_"):
            ContextEdits(settings, HandClock(NOW_US), new_id)
