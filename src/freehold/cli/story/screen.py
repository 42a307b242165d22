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
_NEVER_FIRST = "，。；：！？、）」』”’"
"""Of a line; they stay with the word before them."""
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
        self.speak(label or " ", [text], style=style)

    def lines(self, lines: Iterable[str], style: str = "dim") -> None:
        """Lines as they are, indented; each is cut where the screen ends."""
        for line in lines:
            self._print(Text.assemble(" " * (_LABEL + 3), (line, style)))

    def commands(self, lines: Iterable[str]) -> None:
        """Lines to be copied: never cut, even where they are wider than the screen."""
        for line in lines:
            self._console.print(Text("      " + line, "cyan"), soft_wrap=True)

    def speak(self, label: str, parts: Iterable[str], *, style: str = "", most_lines: int = 0) -> None:
        """Speech that is printed while it comes, broken between words; after `most_lines` (0: all) it is cut short."""
        flow = _Flow(self._console, self.width, most_lines, style)
        flow.begin(label)
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
        line.rstrip()
        line.truncate(self.width, overflow="ellipsis")
        self._console.print(line, no_wrap=True, soft_wrap=False, crop=False)


class _Flow:
    """Words go out as soon as they are complete and stay within the width; Chinese breaks anywhere."""

    def __init__(self, console: Console, width: int, most_lines: int, style: str) -> None:
        self._console = console
        self._style = style
        self._room = width - _LABEL - 3
        self._most_lines = most_lines
        self._lines = 1
        self._column = 0
        self._gap = 0
        """Spaces that are owed before the next word, if it stays on this line."""
        self._word = ""
        self._indented = False

    def begin(self, label: str) -> None:
        """The label at the left of the first line."""
        self._out(Text("   " + _padded(label, _LABEL), "dim") if label else Text())
        self._indented = bool(label)

    def write(self, text: str) -> None:
        """The next piece, of any size."""
        for character in text:
            if character == "\n":
                self._flush()
                self._break()
            elif character == " ":
                self._flush()
                self._gap += 1
            elif cell_len(character) == 2 and character not in _NEVER_FIRST:
                self._flush()
                self._word = character
            else:
                self._word += character

    def end(self) -> None:
        """The last word, and what was left out."""
        self._flush()
        self._out(Text("\n"))
        if self._hidden:
            left_out = self._lines - self._most_lines
            self._console.print(Text(f"{' ' * (_LABEL + 3)}… ({left_out} more lines)", "dim"))

    @property
    def _hidden(self) -> bool:
        return 0 < self._most_lines < self._lines

    def _flush(self) -> None:
        word, self._word = self._word, ""
        while word:
            if self._column and self._column + self._gap + cell_len(word) > self._room:
                self._break()
            self._gap = min(self._gap, self._room // 2)
            room = self._room - self._column - self._gap
            piece = word if cell_len(word) <= room else word[: max(1, room // 2)]
            self._put(" " * self._gap + piece)
            self._gap = 0
            word = word[len(piece) :]

    def _put(self, text: str) -> None:
        if not self._hidden:
            indent = "" if self._indented else " " * (_LABEL + 3)
            self._indented = True
            self._out(Text.assemble(indent, (text, self._style)))
        self._column += cell_len(text)

    def _break(self) -> None:
        self._lines += 1
        self._column = self._gap = 0
        self._indented = False
        if not self._hidden:
            self._out(Text("\n"))

    def _out(self, text: Text) -> None:
        self._console.print(text, end="", soft_wrap=True)
        self._console.file.flush()


def _padded(text: str, cells: int) -> str:
    return text + " " * max(0, cells - cell_len(text))
