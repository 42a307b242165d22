"""How the story looks: chapters, facts, speech that flows in, timed events; 80 columns, with or without colour.

It knows the terminal, not the API.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 80
_LABEL = 12
"""Columns of the label at the left of a line."""


class Screen:
    """Prints the story; every line fits into 80 columns, or fewer where the terminal has fewer."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        self.width = min(WIDTH, console.width)
        self._console = console
        self._began = time.monotonic()

    def title(self, text: str, aside: str) -> None:
        """The first two lines."""
        self._print(Text.assemble((text, "bold"), "   ", (aside, "dim")))
        self._print(Text("═" * self.width, "dim"))

    def chapter(self, number: int, title: str) -> None:
        """A new part of the story, with the time since the beginning."""
        passed = f"{time.monotonic() - self._began:.1f} s"
        head = f"{number}  {title}"
        gap = " " * max(1, self.width - cell_len(head) - len(passed))
        self._print(Text())
        self._print(Text.assemble((head, "bold cyan"), gap, (passed, "dim")))

    def fact(self, label: str, text: str, style: str = "") -> None:
        """A labelled line; what does not fit goes on below itself."""
        room = self.width - _LABEL - 3
        for number, line in enumerate(Text(text, style).wrap(self._console, room) or [Text()]):
            line.rstrip()
            shown = label if number == 0 else ""
            self._print(Text.assemble(("   " + _padded(shown, _LABEL), "dim"), line))

    def lines(self, lines: Iterable[str], style: str = "dim") -> None:
        """Lines as they are, indented; each is cut where the screen ends."""
        for line in lines:
            self._print(Text.assemble(" " * (_LABEL + 3), (line, style)))

    def speak(self, label: str, parts: Iterable[str]) -> None:
        """Speech that is printed while it comes, broken between words."""
        flow = _Flow(self._console, label, self.width)
        for part in parts:
            flow.write(part)
        flow.end()

    def event(self, seconds: float, kind: str, text: str, style: str = "") -> None:
        """One event of a session: when it came, what it is, what it says."""
        self._print(Text.assemble((f"{seconds:7.2f} s  ", "dim"), (_padded(kind, 22), style or "blue"), " ", text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Figures, right-aligned but for the first column; the last row is the sum."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="bold" if row is rows[-1] else "")
        self._console.print(table, width=self.width)

    def _print(self, line: Text) -> None:
        line.truncate(self.width, overflow="ellipsis")
        self._console.print(line, no_wrap=True, soft_wrap=False, crop=False)


class _Flow:
    """Words go out as soon as they are complete and stay within the width; Chinese breaks anywhere."""

    def __init__(self, console: Console, label: str, width: int) -> None:
        self._console = console
        self._indent = " " * (_LABEL + 3)
        self._room = width - _LABEL - 3
        self._column = 0
        self._word = ""
        self._out(Text("   " + _padded(label, _LABEL), "dim"))

    def write(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self._flush()
                self._break()
            elif character == " ":
                self._flush()
                self._space()
            elif cell_len(character) == 2 and character not in "，。；：！？、）」』":
                self._flush()
                self._word = character
            else:
                self._word += character

    def end(self) -> None:
        self._flush()
        self._console.print()

    def _flush(self) -> None:
        word, self._word = self._word, ""
        while word:
            if self._column and self._column + cell_len(word) > self._room:
                self._break()
            piece = word if cell_len(word) <= self._room else word[: self._room // 2]
            self._out(Text(piece))
            self._column += cell_len(piece)
            word = word[len(piece) :]

    def _space(self) -> None:
        if 0 < self._column < self._room:
            self._out(Text(" "))
            self._column += 1

    def _break(self) -> None:
        self._out(Text("\n" + self._indent))
        self._column = 0

    def _out(self, text: Text) -> None:
        self._console.print(text, end="", soft_wrap=True)
        self._console.file.flush()


def _padded(text: str, cells: int) -> str:
    return text + " " * max(0, cells - cell_len(text))
