"""What images and documents in a request cost at most, in tokens: seen by their first bytes, or by what nobody sees.

Facts: Claude API docs, pages "Vision" (one token per begun 28 by 28 pixels, after scaling down to at most 1,568 or,
from 4.7 on, 4,784 tokens) and "PDF support" (a page is a picture and 1,500 to 3,000 tokens of text), read 2026-11-23.
Knows no prices.
"""

from __future__ import annotations

import binascii
import re
import struct
from typing import Any, Literal

import msgspec

PATCH_PX = 28
MOST_IMAGE_TOKENS = 4_784
PDF_PAGE_TOKENS = 3_000 + MOST_IMAGE_TOKENS
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF = (b"GIF87a", b"GIF89a")
_HEAD_CHARACTERS = 64
"""Of base64: enough for the size of a PNG or GIF; of other kinds the most is taken."""
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_DEEPEST = 64


_Kind = Literal[
    "text", "image", "document", "search_result", "tool_use", "tool_result", "thinking", "redacted_thinking"
]


class _Block(msgspec.Struct, gc=False):
    """What matters of a block of a usual kind. Its other members are text, the input of a tool among them."""

    type: _Kind
    content: str | list[_Block] | None = None
    source: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    file_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    cache_control: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Message(msgspec.Struct, gc=False):
    content: str | list[_Block]


_decode_usual = msgspec.json.Decoder(list[_Message]).decode
_decode = msgspec.json.Decoder().decode


class Seen:
    """What was found in a request: how many bytes of it are no text, how many tokens they make at most."""

    def __init__(self) -> None:
        self.bytes = 0
        self.tokens = 0
        self.unseen = False
        """Something comes from elsewhere: a URL, a file. Only the context window bounds it."""
        self.caches = False
        """A block asks for a cache write."""

    def messages(self, raw: bytes) -> None:
        """Look at all messages. Usual ones are read for what matters alone, which takes a third of the time.

        Raises:
            MsgspecError, RecursionError, UnicodeDecodeError: this is no JSON that anybody could read.
        """
        try:
            usual = _decode_usual(raw)
        except msgspec.ValidationError:
            self.look(_decode(raw))
            return
        for message in usual:
            if type(message.content) is list:
                self._blocks(message.content)

    def _blocks(self, blocks: list[_Block]) -> None:
        unset = msgspec.UNSET
        for block in blocks:
            if block.source is not unset or block.file_id is not unset or block.cache_control is not unset:
                self._special(block)
            if type(block.content) is list:
                self._blocks(block.content)

    def _special(self, block: _Block) -> None:
        self.unseen = self.unseen or block.file_id is not msgspec.UNSET
        self.caches = self.caches or block.cache_control is not msgspec.UNSET
        if isinstance(block.source, msgspec.Raw):
            self._block({"source": _decode(block.source)}, 0)

    def look(self, value: Any, depth: int = 0) -> None:
        """Take a look at a part of the request, and at what is in it."""
        if depth > _DEEPEST:
            self.unseen = True
        elif isinstance(value, list):
            for one in value:
                self.look(one, depth + 1)
        elif isinstance(value, dict):
            self._block(value, depth)

    def _block(self, block: dict[str, Any], depth: int) -> None:
        if block.get("type") == "container_upload" or "file_id" in block:
            self.unseen = True
        self.caches = self.caches or "cache_control" in block
        source = block.get("source")
        if isinstance(source, dict):
            self._source(source)
        for value in block.values():
            if isinstance(value, list | dict):
                self.look(value, depth + 1)

    def _source(self, source: dict[str, Any]) -> None:
        data = source.get("data")
        if source.get("type") == "base64" and isinstance(data, str):
            self.bytes += len(data)
            if source.get("media_type") == "application/pdf":
                self._pdf(data)
            else:
                self.tokens += image_tokens(data)
        elif source.get("type") not in ("text", "content", "base64"):
            self.unseen = True

    def _pdf(self, data: str) -> None:
        pages = pdf_pages(data)
        if pages is None:
            self.unseen = True
        else:
            self.tokens += pages * PDF_PAGE_TOKENS


def image_tokens(data: str) -> int:
    """At most so many tokens for an image in base64."""
    try:
        head = binascii.a2b_base64(data[:_HEAD_CHARACTERS])
    except (binascii.Error, ValueError):
        return MOST_IMAGE_TOKENS
    if head.startswith(_PNG) and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
    elif head[:6] in _GIF and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
    else:
        return MOST_IMAGE_TOKENS
    return int(min(MOST_IMAGE_TOKENS, -(-width // PATCH_PX) * -(-height // PATCH_PX)))


def pdf_pages(data: str) -> int | None:
    """Pages of a PDF in base64, if it says so in the open; `None`: what it has is packed away."""
    try:
        raw = binascii.a2b_base64(data)
    except (binascii.Error, ValueError):
        return None
    if b"/ObjStm" in raw or b"/Encrypt" in raw:
        return None
    counts = [int(found) for found in _COUNT.findall(raw)]
    return max(len(_PAGE.findall(raw)), *counts, 0) or None
