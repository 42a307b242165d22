"""Cuts what was read into chunks of about the same size that know their place. Pure.

A chunk ends where a heading changes, else near the wanted size at the end of a paragraph, line or sentence. Characters
of scripts without spaces say more, so fewer of them make a chunk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from freehold.knowledge.reading.base import Line, Read

TARGET = 1200
"""Of a chunk, in characters of a script with spaces: some 200 words, a paragraph or three."""
LEAST = 300
"""A heading ends a chunk only when that has so much."""
MOST = 1600
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
_WIDE_WEIGHT = 1.5
"""More, for a character of them."""
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: its text, the headings above it, and where it stands."""

    text: str
    heading: str
    start: int
    end: int
    """Characters of the document's text, `end` behind the last."""
    page: int | None = None
    first_line: int | None = None
    last_line: int | None = None

    def place(self) -> str:
        """As JSON, without what is not known."""
        page = {} if self.page is None else {"page": self.page}
        lines = {} if self.first_line is None else {"first_line": self.first_line, "last_line": self.last_line}
        return json.dumps({**page, "start": self.start, "end": self.end, **lines})


def chunks(read: Read) -> Iterator[Chunk]:
    """The chunks of a document, in order; none of a document without words."""
    gathered: list[Line] = []
    size = 0.0
    for line in _short_lines(read.lines):
        weight = _weight(line.text)
        if gathered and _ends(gathered[-1], line, size, weight):
            yield from _made(gathered, read.table_head)
            gathered, size = [], 0.0
        if gathered or line.text.strip():
            gathered.append(line)
            size += weight
    yield from _made(gathered, read.table_head)


def _ends(last: Line, line: Line, size: float, weight: float) -> bool:
    """Whether a chunk that ends with `last` ends before `line`."""
    if line.page != last.page or size + weight > MOST:
        return True
    if line.heading != last.heading and not _below(last.heading, line.heading, size):
        return size >= LEAST
    return size >= TARGET or (size >= TARGET * 0.75 and not last.text.strip())


def _below(above: str, heading: str, size: float) -> bool:
    """A heading right under another one, with hardly a word between them."""
    return heading.startswith(above) and size < LEAST


def _made(lines: Sequence[Line], table_head: str) -> Iterable[Chunk]:
    text = "\n".join(line.text for line in lines).rstrip()
    if not re.search(r"\w", text):
        return ()
    first, last = lines[0], [line for line in lines if line.text.strip()][-1]
    text = f"{table_head}\n{text}" if table_head else text
    end = last.start + len(last.text)
    return [Chunk(text, _heading(lines), first.start, end, first.page, first.number, last.number)]


def _heading(lines: Sequence[Line]) -> str:
    """The one under which most of it stands."""
    sizes: dict[str, int] = {}
    for line in lines:
        sizes[line.heading] = sizes.get(line.heading, 0) + len(line.text)
    return max(sizes, key=lambda heading: sizes[heading])


def _short_lines(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines that are too long for a chunk come in parts, cut at sentences, else at spaces, else anywhere."""
    for line in lines:
        if _weight(line.text) <= TARGET:
            yield line
            continue
        at = 0
        for part in _parts(line.text):
            yield Line(part, line.start + at, line.heading, line.page, line.number)
            at += len(part)


def _parts(text: str) -> Iterator[str]:
    while text:
        most = TARGET if not _WIDE.search(text[:TARGET]) else int(TARGET / (1 + _WIDE_WEIGHT))
        if len(text) <= most:
            yield text
            return
        ends = [found.end() for found in _SENTENCE.finditer(text, most // 2, most)]
        cut = ends[-1] if ends else text.rfind(" ", most // 2, most) + 1
        cut = cut if cut > 0 else most
        yield text[:cut]
        text = text[cut:]


def _weight(text: str) -> float:
    return len(text) + 1 if text.isascii() else len(text) + 1 + _WIDE_WEIGHT * len(_WIDE.findall(text))
