"""Compaction: a conversation that grows too long is summarised by the model itself, and goes on from there. Pure.

Whoever uses it asks the model for what `asking` gives, takes the words by `summary`, and goes on with `compacted`. What
the model must still answer is never in the summary: a pending call keeps the message that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.context.counting import estimate
from freehold.context.editing import clear_tool_uses

Json = dict[str, Any]
COMPACT_AT = 0.8
"""Of the model's window: what is left is for the next results, and for the summary itself."""
MOST_SUMMARY_TOKENS = 8_192
INSTRUCTIONS = """The conversation has grown too long and will go on without what stands above. Write a summary from \
which you could continue the work as if nothing had been lost. It is all that you will have, so be exact and complete:

1. What the user wants, in their own words where wording matters, with every rule and limit that was given.
2. What was done so far and what came of it: files (with paths), commands, decisions and their reasons, results and \
numbers that are still needed.
3. What failed or must not be tried again, and why.
4. Where the work stands now, and what is to be done next.

Write only the summary. Do not call tools."""
_FRAME = """[The conversation so far was too long and is summarised here.]

{summary}"""
_LONGEST_TEXT = 4_000
_CUT = "\n[… {count:,} characters are left out …]\n"


def asking(messages: Sequence[Json], *, keep_last: bool, instructions: str = INSTRUCTIONS) -> list[Json]:
    """The messages of the request for a summary; `keep_last`: the last one will be kept and is not summarised."""
    asked = list(messages[:-1] if keep_last else messages)
    block = {"type": "text", "text": instructions}
    turn = len(asked) - (2 if asked and asked[-1]["role"] == "system" else 1)  # what systems say stays behind the user
    if turn >= 0 and asked[turn]["role"] == "user":
        asked[turn] = {"role": "user", "content": [*_as_blocks(asked[turn]["content"]), block]}
    else:
        asked.append({"role": "user", "content": [block]})
    return asked


def smaller(messages: Sequence[Json]) -> list[Json]:
    """The same conversation for a model that could not take it even to summarise it: tool results cleared, long texts
    cut in the middle."""
    cleared = clear_tool_uses(messages, keep=0).messages
    return [{**message, "content": [_cut(block) for block in _as_blocks(message["content"])]} for message in cleared]


def summary(message: Mapping[str, Any]) -> str | None:
    """The summary in the model's answer; `None`: it gave none, or was cut off in it."""
    if message.get("stop_reason") not in ("end_turn", "stop_sequence"):
        return None
    text = "\n".join(block["text"] for block in message["content"] if block["type"] == "text").strip()
    return text or None


def compacted(messages: Sequence[Json], said: str, *, keep_last: bool) -> list[Json]:
    """The conversation that goes on, beginning with the summary. What systems said stands word for word behind it, if
    a message follows; else the caller adds `system_blocks` behind what the user says next.
    """
    first = {"role": "user", "content": [{"type": "text", "text": _FRAME.format(summary=said)}]}
    if not keep_last:
        return [first]
    system = system_blocks(messages[:-1])
    return [first, *([{"role": "system", "content": system}] if system else []), messages[-1]]


def system_blocks(messages: Sequence[Json]) -> list[Json]:
    """All that systems have said within the conversation."""
    return [block for message in messages if message["role"] == "system" for block in _as_blocks(message["content"])]


def is_due(used_tokens: int, pending: Sequence[Json], window_tokens: int, share: float = COMPACT_AT) -> bool:
    """Whether the next request should be preceded by a compaction. `used_tokens`: prompt and answer of the last one;
    `pending`: the blocks that came since."""
    return used_tokens > 0 and used_tokens + estimate(list(pending)) > window_tokens * share


def _as_blocks(content: str | Sequence[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _cut(block: Json) -> Json:
    text = block.get("text")
    if block.get("type") != "text" or not isinstance(text, str) or len(text) <= _LONGEST_TEXT:
        return block
    half = _LONGEST_TEXT // 2
    return {**block, "text": text[:half] + _CUT.format(count=len(text) - 2 * half) + text[-half:]}
