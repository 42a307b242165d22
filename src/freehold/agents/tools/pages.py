"""Web pages as text that a model can read: the title, the words, where links lead; no scripts, no styles. Pure.

Pages are strangers' work, up to megabytes of it, and the standard library's parser takes quadratic time for some that
are made for that (CVE-2025-6069 and others; a week for one of 10 MB). This one looks at each character a few times,
whatever the page holds: all that it finds, it goes on behind.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urljoin

_RAW = frozenset({"script", "style", "iframe", "title"})
"""What is in them is no markup; it ends with their own end tag."""
_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "canvas", "iframe", "object"})
_BREAKS = frozenset(
    (
        "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
        "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
        "section", "table", "tr", "ul",
    )
)  # fmt: skip
_MOST_DEPTH = 10_000
"""Of skipped elements; a page that nests deeper is not meant to be read."""
# Possessive throughout: nothing is looked at again where the rest does not fit.
_NAME = re.compile(r"[a-zA-Z][^\s/>]*+")
_GAP = re.compile(r"[\s/]*+")
_ATTRIBUTE = re.compile(r"=?[^\s/>=]*+")
_EQUALS = re.compile(r"\s*+=\s*+")
_BARE = re.compile(r"[^\s>]*+")


def text_of(html: str, url: str) -> str:
    """The page in plain text; links stand as `words (address)`, their addresses made absolute by `url`."""
    page = _Page(html, url)
    page.read()
    lines = [re.sub(r"[ \t\r\f\v]+", " ", line).strip() for line in "".join(page.pieces).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return f"{page.title.strip()}\n\n{text}" if page.title.strip() else text


class _Page:
    def __init__(self, html: str, url: str) -> None:
        self._html = html
        self._url = url
        self._skipping = 0
        self._links: list[str] = []
        self.title = ""
        self.pieces: list[str] = []

    def read(self) -> None:
        """All of it."""
        at = 0
        while (start := self._html.find("<", at)) >= 0:
            self._words(at, start)
            at = self._markup(start)
        self._words(at, len(self._html))

    def _markup(self, start: int) -> int:
        """Take in what begins there; gives where it ends."""
        if self._html.startswith("<!--", start):
            return self._behind("-->", start + 4)
        if self._html.startswith(("<!", "<?"), start):
            return self._behind(">", start + 2)
        closes = self._html.startswith("</", start)
        name = _NAME.match(self._html, start + 1 + closes)
        if name is None:
            return self._behind(">", start + 2) if closes else self._plain(start)
        tag = name.group().lower()
        end, href = self._attributes(name.end())
        if closes:
            self._ended(tag)
            return end
        self._began(tag, href)
        if self._html.startswith("/>", end - 2):
            self._ended(tag)
        elif tag in _RAW:
            return self._raw(tag, end)
        return end

    def _plain(self, start: int) -> int:
        """It begins nothing."""
        self._words(start, start + 1)
        return start + 1

    def _attributes(self, at: int) -> tuple[int, str | None]:
        """Where the tag ends whose name ended there, and its `href`."""
        href: str | None = None
        while True:
            at = _end(_GAP, self._html, at)
            if at >= len(self._html) or self._html[at] == ">":
                return min(at + 1, len(self._html)), href
            began, at = at, _end(_ATTRIBUTE, self._html, at)
            name = self._html[began:at]
            if equals := _EQUALS.match(self._html, at):
                value, at = self._value(equals.end())
                if href is None and name.lower() == "href":
                    href = unescape(value)

    def _value(self, at: int) -> tuple[str, int]:
        quote = self._html[at : at + 1]
        if quote not in ('"', "'"):
            end = _end(_BARE, self._html, at)
            return self._html[at:end], end
        end = self._behind(quote, at + 1)
        return self._html[at + 1 : end].removesuffix(quote), end

    def _behind(self, mark: str, at: int) -> int:
        """Behind the next such mark; without one it goes to the end of the page, as browsers have it."""
        found = self._html.find(mark, at)
        return len(self._html) if found < 0 else found + len(mark)

    def _raw(self, tag: str, at: int) -> int:
        found = re.compile(f"</{tag}(?=[\\s/>])", re.IGNORECASE).search(self._html, at)
        end = len(self._html) if found is None else found.start()
        if tag == "title" and not self.title:
            self.title = unescape(self._html[at:end])
        return end

    def _began(self, tag: str, href: str | None) -> None:
        if tag in _SKIPPED:
            self._skipping = min(self._skipping + 1, _MOST_DEPTH)
        elif tag == "a":
            self._links.append(self._absolute(href))
        elif tag in _BREAKS:
            self.pieces.append("\n- " if tag == "li" else "\n")
        elif tag in ("td", "th"):
            self.pieces.append(" | ")

    def _ended(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._skipping = max(0, self._skipping - 1)
        elif tag == "a" and self._links:
            address = self._links.pop()
            self.pieces.append(f" ({address})" if address else "")
        elif tag in _BREAKS:
            self.pieces.append("\n")

    def _words(self, start: int, end: int) -> None:
        if start < end and not self._skipping:
            self.pieces.append(unescape(self._html[start:end]))

    def _absolute(self, href: str | None) -> str:
        if not href or href.startswith(("#", "javascript:", "data:")):
            return ""
        try:
            return urljoin(self._url, href)
        except ValueError:
            return ""


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the pattern ends that begins there; it fits everywhere, at least with nothing."""
    found = pattern.match(text, at)
    return at if found is None else found.end()
