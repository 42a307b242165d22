"""Speech on a screen while it comes: broken between words, beside a label, never wider than the screen."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_NEVER_FIRST = "，。；：！？、）」』”’"
"""Of a line; they stay with the word before them."""
LABEL = 12
"""Columns of the label at the left of a line."""


class Flow:
    """Words go out as soon as they are complete and stay within the width; Chinese breaks anywhere."""

    def __init__(self, console: Console, width: int, most_lines: int, style: str) -> None:
        self._console = console
        self._style = style
        self._room = width - LABEL - 3
        self._most_lines = most_lines
        self._lines = 1
        self._column = 0
        self._gap = 0
        """Spaces that are owed before the next word, if it stays on this line."""
        self._word = ""
        self._indented = False

    def begin(self, label: str) -> None:
        """The label at the left of the first line."""
        self._out(Text("   " + padded(label, LABEL), "dim") if label else Text())
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
            self._console.print(Text(f"{' ' * (LABEL + 3)}… ({left_out} more lines)", "dim"))

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
            indent = "" if self._indented else " " * (LABEL + 3)
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


def padded(text: str, cells: int) -> str:
    """The text, filled up with spaces to so many columns of the screen; Chinese takes two a character."""
    return text + " " * max(0, cells - cell_len(text))
