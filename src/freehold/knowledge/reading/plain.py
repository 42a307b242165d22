"""Text, Markdown, code and CSV: read here, by nothing but the standard library."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

from freehold.knowledge.reading.base import Gathering, Line, Read, Unreadable

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_DEFINITION = re.compile(
    r"^[ \t]*(?:export |public |private |protected |static |async |pub |default |abstract |final )*"
    r"(?:def|class|func|function|fn|interface|struct|enum|trait|impl|module|type|CREATE TABLE)[ \t]+[\w.$]+",
    re.M,
)
_LONGEST_ROW = 100_000
_GUESSED_BY, _GUESSED_ROWS = 4096, 20
"""Characters and rows by which a table's delimiter is guessed."""


def text_of(data: bytes) -> str:
    """Bytes as text: by its mark, as UTF-8, as GB18030 if that fits, else as Latin-1. Raises `Unreadable`."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return _clean(data.decode(encoding, "replace"))
    if b"\0" in data[:4096]:
        raise Unreadable("it is not text: there are NUL bytes in it.")
    for encoding in ("utf-8", "gb18030"):
        try:
            return _clean(data.decode(encoding))
        except UnicodeDecodeError:
            continue
    return _clean(data.decode("latin-1"))


def plain(text: str, most: int) -> Read:
    """Lines as they are."""
    gathering = Gathering(most)
    for number, line in enumerate(text.split("\n"), 1):
        gathering.add(line, number=number)
    return gathering.read()


def markdown(text: str, most: int) -> Read:
    """Lines under their headings; what looks like one in a block of code is none."""
    gathering, fence = Gathering(most), ""
    for number, line in enumerate(text.split("\n"), 1):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        heading = None if fence else _HEADING.match(line)
        if heading and (title := _title(line[heading.end() :])):
            gathering.heading(len(heading[1]), title)
        gathering.add(line, number=number)
    return gathering.read()


def _title(rest: str) -> str:
    """Of a heading, without the marks that may close it. By hand: a pattern that may take them or leave them tries all
    the ways to do so, and a line may be as long as its document."""
    title = rest.strip(" \t")
    opened = title.rstrip("#")
    return opened.rstrip(" \t") if not opened or opened[-1] in " \t" else title


def code(text: str, most: int) -> Read:
    """Lines under the definition that they follow, nested by how far it is indented."""
    gathering, at = Gathering(most), 0
    definitions = {found.start(): found[0] for found in _DEFINITION.finditer(text)}
    for number, line in enumerate(text.split("\n"), 1):
        if found := definitions.get(at):
            gathering.heading(len(found) - len(found.lstrip()) + 1, found)
        gathering.add(line, number=number)
        at += len(line) + 1
    return Read(gathering.lines)


def table(text: str, most: int) -> Read:
    """CSV: one line a row, `name: value` where the first row names the columns."""
    if len(text) > most:
        raise Unreadable(f"it has more than {most:,} characters of text.")
    try:
        rows = list(_rows(text))
    except csv.Error as error:
        raise Unreadable(f"it is no CSV: {error}.") from error
    if not rows:
        return Read(())
    head = [" ".join(cell.split()) for cell in rows[0][2]]
    starts = _starts(text)
    lines = [
        Line(_row(head, cells), starts[min(first, len(starts)) - 1], "", None, first) for first, _, cells in rows[1:]
    ]
    return Read(lines, table_head=", ".join(filter(None, head)))


def _rows(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and cells of every row that has any."""
    reader, last = _reader(text, _delimiter(text)), 0
    for cells in reader:
        first, last = last + 1, reader.line_num
        if any(cell.strip() for cell in cells):
            yield first, last, cells


def _delimiter(text: str) -> str:
    """What cuts the first rows into the most columns, as many each if that can be. The library's own guess goes by
    patterns that a few hundred quotes keep busy for hours."""
    begun = text[:_GUESSED_BY]
    best, delimiter = (False, 1), ","
    for one in ",;\t|":
        counts = [len(cells) for cells in itertools.islice(_reader(begun, one), _GUESSED_ROWS) if cells]
        counts = counts[:-1] if len(counts) > 1 and len(text) > len(begun) else counts  # the last may be cut off
        found = (len(set(counts)) == 1, counts[0] if counts else 0)
        if found[1] > 1 and found > best:
            best, delimiter = found, one
    return delimiter


def _reader(text: str, delimiter: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _row(head: list[str], cells: list[str]) -> str:
    named = zip([*head, *[""] * len(cells)], cells, strict=False)
    told = (f"{name}: {value.strip()}" if name else value.strip() for name, value in named if value.strip())
    return "; ".join(told).replace("\n", " ")[:_LONGEST_ROW]


def _starts(text: str) -> list[int]:
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
