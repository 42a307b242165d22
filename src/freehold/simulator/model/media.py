"""Images and PDFs: what they are, how large, and how many tokens that makes.

Images cost one token per begun 28 by 28 patch, after being scaled down to the model's largest size (Claude API docs,
page "Vision", read 2026-11-23). A PDF page costs its picture and its text; 2,300 tokens a page is the docs' own example
(page "PDF support", read 2026-11-23: about 7,000 tokens for 3 pages). What cannot be seen (a URL, a file id that nobody
resolves) is taken as one of nominal size.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from dataclasses import dataclass

from freehold.simulator.model.catalog import Model

PATCH_PX = 28
NOMINAL_IMAGE = (1092, 1092)
NOMINAL_PAGES = 3
_PAGE_PX = (1224, 1584)
"""A letter page at 144 dots per inch."""
_PAGE_TEXT_PIECES = 750
_HEAD_CHARACTERS = 256 << 10
"""Of the base64 text; a JPEG may carry a large preview before it says its size."""
_PDF_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_PDF_COUNT = re.compile(rb"/Count\s+(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Picture:
    """What the first bytes of an image say."""

    media_type: str
    width: int
    height: int


def decoded_size(data: str) -> int:
    """Bytes that a base64 text decodes to."""
    return len(data) * 3 // 4 - (data[-2:].count("=") if data else 0)


def decode(data: str, *, head_only: bool = False) -> bytes | None:
    """The bytes of a base64 text (or of its beginning); `None` if it is not base64."""
    text = data[: _HEAD_CHARACTERS - _HEAD_CHARACTERS % 4] if head_only else data
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def picture(raw: bytes) -> Picture | None:
    """The kind and size of an image from its first bytes, or `None` if it is none that Claude reads."""
    try:
        if raw.startswith(b"\x89PNG\r\n\x1a\n"):
            return Picture("image/png", *struct.unpack(">II", raw[16:24]))
        if raw[:6] in (b"GIF87a", b"GIF89a"):
            return Picture("image/gif", *struct.unpack("<HH", raw[6:10]))
        if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
            return _webp(raw)
        if raw.startswith(b"\xff\xd8"):
            return _jpeg(raw)
    except (struct.error, IndexError):
        return None
    return None


def _webp(raw: bytes) -> Picture | None:
    kind = raw[12:16]
    if kind == b"VP8X":
        return Picture("image/webp", int.from_bytes(raw[24:27], "little") + 1, int.from_bytes(raw[27:30], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return Picture("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", raw[26:30])
        return Picture("image/webp", width & 0x3FFF, height & 0x3FFF)
    return None


def _jpeg(raw: bytes) -> Picture | None:
    at = 2
    while at + 9 < len(raw):
        if raw[at] != 0xFF:
            return None
        marker = raw[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return Picture("image/jpeg", width, height)
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD9:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + struct.unpack(">H", raw[at + 2 : at + 4])[0]
    return None


def native_limits(model: Model) -> tuple[int, int]:
    """The longest edge in pixels and the most tokens an image has after scaling: larger from 4.7 on."""
    return (2576, 4784) if model.token_percent > 100 else (1568, 1568)


def scaled(width: int, height: int, model: Model) -> tuple[int, int]:
    """The size in which the model sees an image: unchanged if it fits, else the largest of the same shape that does."""
    edge, most = native_limits(model)
    factor = min(1.0, edge / max(width, height, 1))
    for _ in range(64):
        fitted = max(1, math.floor(width * factor)), max(1, math.floor(height * factor))
        if _patches(*fitted) <= most:
            break
        factor *= min(0.999, math.sqrt(most / _patches(*fitted)))
    return fitted


def _patches(width: int, height: int) -> int:
    return math.ceil(width / PATCH_PX) * math.ceil(height / PATCH_PX)


def image_tokens(width: int, height: int, model: Model) -> int:
    """Tokens of an image of that size in pixels."""
    return _patches(*scaled(width, height, model))


def pdf_pages(raw: bytes) -> int:
    """Pages of a PDF: the largest page tree or the page objects in it; at least one, as objects may be compressed."""
    counts = [int(found) for found in _PDF_COUNT.findall(raw)]
    return max(len(_PDF_PAGE.findall(raw)), *counts, 1)


def pdf_tokens(pages: int, model: Model) -> int:
    """Tokens of so many pages: each as a picture and as text."""
    edge = image_tokens(*_PAGE_PX, model) if model.token_percent == 100 else _patches(*_PAGE_PX)
    return pages * (edge + _PAGE_TEXT_PIECES)
