"""What a request tells about its task, from at most four kilobytes of its text, and cheaply. Never raises.

A short request is decoded; of a longer one the head names the conversation and the tail holds what was said last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from freehold.calls import Call
from freehold.gateway.routing.shapes import Typed, decode_messages, decode_raws, decode_typed

READ_BYTES = 4096
"""Of the messages, so much is looked at."""
_HALF = READ_BYTES // 2
_ROLE = re.compile(rb'"role"\s*:\s*"(\w{1,16})"')
_STRING = re.compile(rb'"(?:text|content)"\s*:\s*"((?:[^"\\]|\\.)*+)"')
TO_WORDS = bytes(
    byte if byte >= 0x80 or chr(byte).isalnum() else 0x20 for byte in bytes(range(256)).lower()
)  # small letters; what is neither letter nor digit parts words


class Besides(NamedTuple):
    """What a request has besides the text of its messages."""

    tools: int = 0
    images: bool = False
    media: bool = False
    """Something is in the messages as base64."""
    forced: bool = False
    thinking: str = ""
    """`thinking.type`, or empty."""
    hard_thinking: bool = False
    """Thinking is ordered with a budget, or with the highest efforts."""


TEXT_ALONE = Besides()
"""Nothing, as with most requests."""


class Signals:
    """What was seen. `text` is the last thing that a user said, in lower case, as far as it was read."""

    __slots__ = ("besides", "continued", "conversation", "most_output", "prompt_bytes", "text", "words")

    def __init__(
        self,
        text: bytes,
        words: list[bytes],
        continued: bool,
        conversation: str,
        besides: Besides,
        prompt_bytes: int,
        most_output: int,
    ) -> None:
        self.text = text
        self.words = words
        self.continued = continued
        """An answer of a model is in the messages: the conversation is under way."""
        self.conversation = conversation
        """A name for the conversation: of its first message, and of who asks."""
        self.besides = besides
        self.prompt_bytes = prompt_bytes
        self.most_output = most_output


_NOTHING = Typed()


_MORE = frozenset(("tools", "thinking", "tool_choice", "output_config"))
"""Members of a request that tell more than its messages."""


def read_signals(call: Call) -> Signals:
    """The signals of a call."""
    fields = call.fields
    raw = fields.get("messages", b"")
    text, first, continued, blocks = _short(raw) if len(raw) <= READ_BYTES else _long(raw)
    text = text.lower()
    return Signals(
        text,
        text.translate(TO_WORDS).split(),
        continued,
        _conversation(call, first),
        TEXT_ALONE if not blocks and fields.keys().isdisjoint(_MORE) else _besides(fields, raw),
        len(call.body),
        _most_output(fields.get("max_tokens", b"")),
    )


@lru_cache(maxsize=1024)
def _most_output(raw: bytes) -> int:
    return int(raw) if raw.isdigit() and len(raw) < 8 else 4096


def _besides(fields: Mapping[str, bytes], messages: bytes) -> Besides:
    thinking = _member(fields, "thinking") if "thinking" in fields else _NOTHING
    choice = _member(fields, "tool_choice").type if "tool_choice" in fields else ""
    effort = _member(fields, "output_config").effort if "output_config" in fields else ""
    return Besides(
        _count(fields["tools"]) if "tools" in fields else 0,
        b'"image"' in messages,
        b'"base64"' in messages,
        choice in ("any", "tool"),
        thinking.type,
        thinking.type == "enabled" or effort in ("xhigh", "max"),
    )


def _member(fields: Mapping[str, bytes], name: str) -> Typed:
    try:
        return decode_typed(fields[name])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NOTHING


_Said = tuple[bytes, bytes, bool, bool]
"""(what the user said last, what begins the conversation, continued, there may be blocks that are no text)"""


def _short(raw: bytes) -> _Said:
    try:
        messages = decode_messages(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _long(raw)
    if len(messages) == 1 and messages[0].role == "user" and type(only := messages[0].content) is str:
        alone = only.encode()  # how most conversations begin
        return alone, alone[:_HALF], False, False
    users = [message for message in messages if message.role == "user"]
    if not users:
        return b"", raw, False, True
    last = users[-1].content
    first = users[0].content
    said = last if isinstance(last, str) else " ".join([block.text for block in last if block.text])
    begin = first if isinstance(first, str) else " ".join([block.text for block in first])
    return said.encode(), begin.encode()[:_HALF], len(messages) > len(users), True


def _long(raw: bytes) -> _Said:
    head, tail = raw[:_HALF], raw[-_HALF:]
    roles = list(_ROLE.finditer(tail))
    since = roles[-1].start() if roles else 0
    said = [found[1] for found in _STRING.finditer(tail, since)] or [found[1] for found in _STRING.finditer(tail)]
    if not said:  # one text longer than what is read: its end
        said = [tail.rsplit(b'"', 1)[0]]
    begin = _STRING.search(head)
    first = begin[1] if begin else head[head.find(b'"content"') :]
    continued = b'"assistant"' in raw  # a search for bytes; nothing of it is read
    return b" ".join(map(_plain, said)), _plain(first)[:_HALF], continued, True


def _plain(inside: bytes) -> bytes:
    """The text of what stands between the quotes of a JSON string."""
    if b"\\" not in inside:
        return inside
    try:
        return msgspec.json.decode(b'"%b"' % inside, type=str).encode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return inside


def _conversation(call: Call, first: bytes) -> str:
    if call.session_id:
        first = call.session_id.encode()
    who = call.caller.key_id + call.model if call.caller is not None else call.model
    return blake2b(first + who.encode(), digest_size=12).hexdigest()


def _count(tools: bytes) -> int:
    if len(tools) < 3:
        return 0
    try:
        return len(decode_raws(tools))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 0
