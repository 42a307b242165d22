"""Text, Markdown, code and CSV: read here, by nothing but the standard library."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from freehold.knowledge.reading.base import Gathering, Line, Read, Unreadable

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_DEFINITION = re.compile(
    r"^[ \t]*(?:export |public |private |protected |static |async |pub |default |abstract |final )*"
    r"(?:def|class|func|function|fn|interface|struct|enum|trait|impl|module|type|CREATE TABLE)[ \t]+[\w.$]+",
    re.M,
)
_LONGEST_ROW = 100_000


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
        if heading:
            gathering.heading(len(heading[1]), heading[2])
        gathering.add(line, number=number)
    return gathering.read()


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
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:4096], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    reader, last = csv.reader(io.StringIO(text, newline=""), dialect), 0
    for cells in reader:
        first, last = last + 1, reader.line_num
        if any(cell.strip() for cell in cells):
            yield first, last, cells


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
