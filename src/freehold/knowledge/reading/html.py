"""HTML pages as lines under their headings; no scripts, styles or navigation. Only the standard library."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from freehold.knowledge.reading.base import Gathering, Read
from freehold.knowledge.reading.plain import text_of

_NO_WORDS = "script style noscript template svg canvas iframe object nav footer form select"
_SKIPPED = frozenset(_NO_WORDS.split())
_IN_LINES = """a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span strong
sub sup time tt u var wbr"""
_INLINE = frozenset(_IN_LINES.split())
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]{2,40})", re.I)
_LEVELS = {f"h{level}": level for level in range(1, 7)}


def page(data: bytes, most: int) -> Read:
    """What a person would read of it. Raises `Unreadable`."""
    parser = _Page(most)
    parser.feed(_decoded(data))
    parser.close()
    parser.end_line()
    title = " ".join("".join(parser.title).split())
    return parser.gathering.read(title)


def _decoded(data: bytes) -> str:
    declared = _CHARSET.search(data[:4096])
    if declared:
        try:
            return data.decode(declared[1].decode("ascii"), "replace").replace("\0", " ")
        except LookupError:
            pass
    return text_of(data)


class _Page(HTMLParser):
    def __init__(self, most: int) -> None:
        super().__init__(convert_charrefs=True)
        self.gathering = Gathering(most)
        self.title: list[str] = []
        self._line: list[str] = []
        self._skipping: list[str] = []
        self._in_title = False
        self._pre = 0
        self._level = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skipping.append(tag)
        elif tag == "title":
            self._in_title = not self.title
        elif tag in ("td", "th"):
            self._line.append(" | " if self._line else "")
        elif tag not in _INLINE:
            self.end_line()
            self._pre += tag == "pre"
            self._level = _LEVELS.get(tag, self._level)

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            if tag in self._skipping:
                del self._skipping[self._skipping.index(tag) :]
        elif tag == "title":
            self._in_title = False
        elif tag not in _INLINE and tag not in ("td", "th"):
            self.end_line()
            self._pre -= tag == "pre" and self._pre > 0
            self._level = 0 if tag in _LEVELS else self._level

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._skipping:
            self._line.append(data)

    def end_line(self) -> None:
        """What has come so far is a line, or a paragraph."""
        text, self._line = "".join(self._line), []
        if self._pre:
            self.gathering.add(text.strip("\n"))
            return
        text = " ".join(text.split())
        if not text:
            return
        if self._level:
            self.gathering.add("")
            self.gathering.heading(self._level, text)
        self.gathering.add(text)
