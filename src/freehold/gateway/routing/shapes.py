"""The shapes of a request that routing decodes: messages as far as their texts go, and members that have a type."""

from __future__ import annotations

import msgspec


class Block(msgspec.Struct, gc=False):
    """A block of a message's content; other members are skipped."""

    text: str = ""


class Message(msgspec.Struct, gc=False):
    """A message."""

    role: str = ""
    content: str | list[Block] = ""


class Typed(msgspec.Struct, gc=False):
    """`thinking`, `tool_choice` or `output_config`."""

    type: str = ""
    effort: str = ""


decode_messages = msgspec.json.Decoder(list[Message]).decode
decode_typed = msgspec.json.Decoder(Typed).decode
decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
