"""Web pages as text that a model can read: the title, the words, where links lead; no scripts, no styles. Pure."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

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


def text_of(html: str, url: str) -> str:
    """The page in plain text; links stand as `words (address)`, their addresses made absolute by `url`."""
    page = _Page(url)
    page.feed(html)
    page.close()
    lines = [re.sub(r"[ \t\r\f\v]+", " ", line).strip() for line in "".join(page.pieces).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return f"{page.title.strip()}\n\n{text}" if page.title.strip() else text


class _Page(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self._url = url
        self._skipping = 0
        self._in_title = False
        self._links: list[str] = []
        self.title = ""
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skipping = min(self._skipping + 1, _MOST_DEPTH)
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "a":
            self._links.append(self._absolute(dict(attrs).get("href")))
        elif tag in _BREAKS:
            self.pieces.append("\n- " if tag == "li" else "\n")
        elif tag in ("td", "th"):
            self.pieces.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._skipping = max(0, self._skipping - 1)
        elif tag == "title":
            self._in_title = False
        elif tag == "a" and self._links:
            address = self._links.pop()
            self.pieces.append(f" ({address})" if address else "")
        elif tag in _BREAKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._skipping:
            self.pieces.append(data)

    def _absolute(self, href: str | None) -> str:
        if not href or href.startswith(("#", "javascript:", "data:")):
            return ""
        try:
            return urljoin(self._url, href)
        except ValueError:
            return ""
