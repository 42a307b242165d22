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
    first = _framed(said)
    if not keep_last:
        return [first]
    system = system_blocks(messages[:-1])
    return [first, *([{"role": "system", "content": system}] if system else []), messages[-1]]


def continued(messages: Sequence[Json], said: str) -> list[Json]:
    """The same request after its conversation was summarised: the summary, then what the model must answer now, word
    for word: what the user said last, or the calls and results that belong together."""
    turn = max(index for index, message in enumerate(messages) if message["role"] == "user")
    asked = _as_blocks(messages[turn]["content"])
    answers = any(block.get("type") == "tool_result" for block in asked)
    system = system_blocks(messages if not answers or turn == 0 else messages[: turn - 1])
    told = [{"role": "system", "content": system}] if system else []
    if answers and turn:
        return [_framed(said), *told, *messages[turn - 1 :]]
    return [_framed(said, asked), *told]


def resumed(messages: Sequence[Json]) -> list[Json]:
    """A conversation with compaction blocks as the model sees it: the last summary stands for all before it.

    Blocks without content are of summaries that failed, and stand for nothing.
    """
    found = [(index, at) for index, message in enumerate(messages) for at, _ in _summaries(message)]
    if not found:
        return [_without_blocks(message) for message in messages]
    index, at = found[-1]
    blocks = _as_blocks(messages[index]["content"])
    rest, role = blocks[at + 1 :], messages[index]["role"]
    frame = _framed(blocks[at]["content"], rest if role == "user" else (), blocks[at].get("cache_control"))
    system = system_blocks(messages[:index]) if role == "assistant" and rest else []
    told = [{"role": "system", "content": system}] if system else []
    answer = [{"role": role, "content": rest}] if role == "assistant" and rest else []
    return [frame, *told, *answer, *(_without_blocks(message) for message in messages[index + 1 :])]


def _framed(said: str, blocks: Sequence[Json] = (), cache_control: Json | None = None) -> Json:
    text: Json = {"type": "text", "text": _FRAME.format(summary=said)}
    return {"role": "user", "content": [text | ({"cache_control": cache_control} if cache_control else {}), *blocks]}


def _summaries(message: Json) -> list[tuple[int, Json]]:
    content = message["content"]
    blocks = content if isinstance(content, list) else []
    return [(at, one) for at, one in enumerate(blocks) if one.get("type") == "compaction" and one.get("content")]


def _without_blocks(message: Json) -> Json:
    content = message["content"]
    kept = content if isinstance(content, str) else [one for one in content if one.get("type") != "compaction"]
    return message if len(kept) == len(content) else {**message, "content": kept}


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
