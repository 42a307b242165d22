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

from freehold.cli.flow import LABEL, Flow, padded

WIDTH = 80


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
            self._print(Text.assemble(" " * (LABEL + 3), (line, style)))

    def commands(self, lines: Iterable[str]) -> None:
        """Lines to be copied: never cut, even where they are wider than the screen."""
        for line in lines:
            self._console.print(Text("      " + line, "cyan"), soft_wrap=True)

    def speak(self, label: str, parts: Iterable[str], *, style: str = "", most_lines: int = 0) -> None:
        """Speech that is printed while it comes, broken between words; after `most_lines` (0: all) it is cut short."""
        flow = Flow(self._console, self.width, most_lines, style)
        flow.begin(label)
        for part in parts:
            flow.write(part)
        flow.end()

    def event(self, seconds: float, kind: str, text: str, style: str = "") -> None:
        """One event of a session: when it came, what it is, what it says."""
        self._print(Text.assemble((f"{seconds:7.2f} s  ", "dim"), (padded(kind, 22), style or "blue"), " ", text))

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
