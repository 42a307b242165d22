"""Context management as Claude does it: edits before the model sees the conversation, and compaction beside it.

What the edits do stands in `context/`; here they meet the simulator's own count of tokens, its brains and its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.context import compaction, management
from freehold.simulator.answers import Answer
from freehold.simulator.model.cache import Plan
from freehold.simulator.model.prompt import Prompt
from freehold.simulator.model.request import Request

Json = dict[str, Any]
Read = Callable[[Mapping[str, Any]], tuple[Request, Prompt]]
"""From a body to the request and its prompt."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A request as the model sees it, and what was done to it on the way."""

    request: Request
    prompt: Prompt
    compact: management.Compact | None = None
    original_tokens: int = 0
    applied: tuple[Json, ...] | None = None
    """`None`: the request asks for no management of its context."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What the summary took and gave."""

    plan: Plan
    output_tokens: int
    said: str | None

    @property
    def block(self) -> Json:
        """The content block that opens the reply."""
        return {"type": "compaction", "content": self.said, "encrypted_content": None}


def read(request: Request, prompt: Prompt, again: Read) -> Reading:
    """The request after its edits. `again` reads the body with other messages.

    Raises:
        InvalidRequest: `context_management` is none of the API's forms.
    """
    body = request.body
    given = body.get("context_management")
    seen = any(placed.type == "compaction" for turn in request.turns for placed in turn.placed)
    if given is None and not seen:
        return Reading(request, prompt)
    edits = management.read(given)

    def measure(messages: Sequence[Json]) -> int:
        return again({**body, "messages": list(messages)})[1].tokens

    managed = management.apply(compaction.resumed(body["messages"]), edits, measure)
    request, prompt = again({**body, "messages": managed.messages})
    applied = None if given is None else tuple(managed.applied)
    return Reading(request, prompt, edits.compact, managed.original_tokens, applied)


def summarising(reading: Reading) -> Json:
    """The body of the pass that makes the summary."""
    body, compact = reading.request.body, reading.compact
    instructions = (compact.instructions if compact else None) or compaction.INSTRUCTIONS
    asked = compaction.asking(body["messages"], keep_last=False, instructions=instructions)
    made = {name: value for name, value in body.items() if name not in ("context_management", "output_config")}
    made["max_tokens"] = min(reading.request.model.max_output, compaction.MOST_SUMMARY_TOKENS)
    return made | {"messages": asked} | ({"tool_choice": {"type": "none"}} if body.get("tools") else {})


def continuing(reading: Reading, said: str, again: Read) -> Reading:
    """The request that goes on from the summary."""
    body = reading.request.body
    request, prompt = again({**body, "messages": compaction.continued(body["messages"], said)})
    return Reading(request, prompt, reading.compact, reading.original_tokens, reading.applied)


def told(answer: Answer, reading: Reading, compacted: Compacted | None) -> None:
    """Write into the reply what was done."""
    message = answer.message
    if reading.applied is not None:
        message["context_management"] = {"applied_edits": list(reading.applied)}
    if reading.compact is None:
        return
    usage = message["usage"]
    iterations = [_iteration("message", usage)]
    if compacted is not None:
        iterations.insert(0, _iteration("compaction", usage_of(compacted.plan, compacted.output_tokens)))
        message["content"] = [compacted.block, *message["content"]]
        answer.waits = tuple((index + 1, seconds) for index, seconds in answer.waits)
    usage["iterations"] = iterations


def paused(answer: Answer, compacted: Compacted) -> None:
    """The summary alone is the reply; nothing but it was used."""
    message = answer.message
    message |= {"content": [compacted.block], "stop_reason": "compaction", "stop_sequence": None, "stop_details": None}
    message["usage"] |= usage_of(Plan(0, 0, 0, 0), 0)
    message["usage"]["iterations"] = [
        _iteration("compaction", usage_of(compacted.plan, compacted.output_tokens)),
    ]
    answer.output_tokens, answer.thinking_tokens, answer.waits = 0, 0, ()


def usage_of(plan: Plan, output_tokens: int) -> Json:
    """The numbers of one pass."""
    return {
        "input_tokens": plan.uncached,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": plan.write_5m + plan.write_1h,
        "cache_read_input_tokens": plan.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": plan.write_5m,
            "ephemeral_1h_input_tokens": plan.write_1h,
        },
    }


def _iteration(kind: str, usage: Mapping[str, Any]) -> Json:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return {"type": kind, **{name: usage[name] for name in names}, "cache_creation": usage["cache_creation"]}


def quiet(request: Request) -> Request:
    """The request for a summary thinks about nothing."""
    return msgspec.structs.replace(request, stop_sequences=(), schema=None, stream=False)
