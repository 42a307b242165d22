"""A request as the one long prefix that the model reads, block by block, each with a hash of everything up to it.

Built from the raw bytes of the top-level members; nothing is parsed deeper than the blocks. The hashes are Python's
own: quick, and good for one process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from freehold.calls import Call

MOST_BLOCKS = 5_000
"""Of one request; a longer one is left as it is."""
_SALTS = ("thinking", "tool_choice", "output_config", "speed", "context_management")


class Place(NamedTuple):
    """Where a block stands: `("tools", 3, -1)`, `("system", -1, -1)` for a plain string, `("messages", 4, 0)`."""

    member: str
    item: int
    block: int

    def path(self) -> str:
        """As the API's errors name it: `messages.4.content.0`."""
        if self.member == "messages":
            return f"messages.{self.item}.content" + (f".{self.block}" if self.block >= 0 else "")
        return f"{self.member}.{self.item}" if self.item >= 0 else self.member


class Block(NamedTuple):
    """One block. `until_bytes` is the size of the prefix up to and with it."""

    place: Place
    raw: bytes
    hash: int
    until_bytes: int
    markable: bool

    @property
    def plain(self) -> bool:
        """A message that is a plain string: a breakpoint would make a list of it."""
        return self.place.member == "messages" and self.place.block < 0


class Layout(NamedTuple):
    """The whole request."""

    blocks: list[Block]
    turns: int
    """Messages in it."""
    answers_tools: bool
    """Its last message holds results of tools."""

    @property
    def end(self) -> Block:
        """The last block."""
        return self.blocks[-1]


class _Message(msgspec.Struct, gc=False):
    role: str
    content: msgspec.Raw


_MARK = re.compile(rb',\s*"cache_control"\s*:\s*(?:\{[^{}]*\}|null)|"cache_control"\s*:\s*(?:\{[^{}]*\}|null)\s*,?')
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_messages = msgspec.json.Decoder(list[_Message]).decode


def lay_out(call: Call) -> Layout | None:
    """The layout of a call; `None` where its members are not what they should be, which is the upstream's to say."""
    try:
        return _lay_out(call.fields, call.model)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _lay_out(fields: Mapping[str, bytes], model: str) -> Layout | None:
    blocks: list[Block] = []
    chain, size = hash(model), 0
    for index, raw in enumerate(_list(fields, "tools")):
        chain, size = hash((chain, raw)), size + len(raw)
        blocks.append(Block(Place("tools", index, -1), raw, chain, size, b'"defer_loading"' not in raw))
    chain = hash((chain, "system"))
    system = fields.get("system", b"null")
    if system[:1] == b'"':
        chain, size = hash((chain, system)), size + len(system)
        blocks.append(Block(Place("system", -1, -1), system, chain, size, len(system) > 2))
    else:
        for index, raw in enumerate(_list(fields, "system")):
            chain, size = hash((chain, raw)), size + len(raw)
            blocks.append(Block(Place("system", index, -1), raw, chain, size, b'"text":""' not in raw))
    chain = hash((chain, *(fields.get(name) for name in _SALTS)))
    messages = _messages(fields["messages"])
    for index, message in enumerate(messages):
        content = bytes(message.content)
        chain = hash((chain, message.role))
        if content[:1] == b"[":
            for place, raw in enumerate(_bare(bytes(one)) for one in _raws(content)):
                chain, size = hash((chain, raw)), size + len(raw)
                blocks.append(Block(Place("messages", index, place), raw, chain, size, _markable(raw)))
        else:
            chain, size = hash((chain, content)), size + len(content)
            blocks.append(Block(Place("messages", index, -1), content, chain, size, len(content) > 2))
        if len(blocks) > MOST_BLOCKS:
            return None
    last = messages[-1] if messages else None
    answers = last is not None and b'"tool_result"' in bytes(last.content)
    return Layout(blocks, len(messages), answers) if messages and blocks else None


def _list(fields: Mapping[str, bytes], name: str) -> list[bytes]:
    raw = fields.get(name, b"null")
    return [_bare(bytes(one)) for one in _raws(raw)] if raw[:1] == b"[" else []


def _bare(raw: bytes) -> bytes:
    """Without a client's own breakpoint, which may move without changing the prompt."""
    return _MARK.sub(b"", raw) if b'"cache_control"' in raw else raw


def _markable(raw: bytes) -> bool:
    return b'thinking"' not in raw[:120] and b'"text":""' not in raw[:60] and raw[:1] == b"{"
