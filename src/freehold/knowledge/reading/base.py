"""What every reader gives: a document as lines, each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Unreadable(Exception):
    """The document is not what it says, or more than is taken; the message is for whoever sent it."""


class Line(NamedTuple):
    """One line of text. `heading`: those above it, outermost first. `start` counts characters of the whole text.

    A tuple: there are twenty to a passage, and a frozen dataclass takes five times as long to make.
    """

    text: str
    start: int
    heading: str = ""
    page: int | None = None
    number: int | None = None
    """The line's, from 1, where the document has lines that a person can count."""


@dataclass(frozen=True, slots=True)
class Read:
    """A document that was read."""

    lines: Sequence[Line]
    title: str = ""
    table_head: str = ""
    """The first row of a table, repeated above every chunk of it."""


@dataclass(slots=True)
class Gathering:
    """Lines as a reader finds them; counts characters, keeps the headings, and stops at too many."""

    most_characters: int
    lines: list[Line] = field(default_factory=list)
    title: str = ""
    _at: int = 0
    _headings: list[tuple[int, str]] = field(default_factory=list)
    _heading: str = ""

    def heading(self, level: int, text: str) -> None:
        """From here on, below this heading; of the same level or deeper ones end."""
        text = " ".join(text.split())[:200]
        self._headings = [*(one for one in self._headings if one[0] < level), (level, text)]
        self._heading = " > ".join(text for _, text in self._headings if text)
        self.title = self.title or text

    def add(self, text: str, *, page: int | None = None, number: int | None = None) -> None:
        """One line, or several with line breaks. Raises `Unreadable` when it becomes too much."""
        for line in text.split("\n"):
            self.lines.append(Line(line, self._at, self._heading, page, number))
            self._at += len(line) + 1
        if self._at > self.most_characters:
            raise Unreadable(f"it has more than {self.most_characters:,} characters of text.")

    def read(self, title: str = "") -> Read:
        """All of it."""
        return Read(self.lines, title or self.title)
