"""Word, Excel and PowerPoint (since 2007), by `python-docx`, `openpyxl` and `python-pptx`. Only in the child."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from typing import Any

from freehold.knowledge.reading.base import Gathering, Read, Unreadable

_MOST_UNPACKED_BYTES = 256 << 20
_MOST_ENTRIES = 10_000
_DOCTYPES = tuple("<!DOCTYPE".encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))
_HEADING = re.compile(r"(?:heading|überschrift|标题)\s*(\d)", re.I)
_LONGEST_LINE = 100_000


def check(data: bytes) -> None:
    """Refuse archives that unpack into too much, and XML that declares entities. Raises `Unreadable`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > _MOST_UNPACKED_BYTES or len(entries) > _MOST_ENTRIES:
                raise Unreadable(
                    f"it unpacks to {size:,} bytes in {len(entries):,} parts, which is more than is taken."
                )
            for entry in entries:
                if entry.filename.endswith((".xml", ".rels")):
                    part = archive.read(entry)
                    if any(mark in part for mark in _DOCTYPES):
                        raise Unreadable("a part of it declares a document type, which Office files do not.")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise Unreadable(f"it is no Office file that can be read: {error}.") from error


def docx(data: bytes, most: int) -> Read:
    """Paragraphs under their headings, rows of tables as lines. Raises `Unreadable`."""
    check(data)
    import docx as library

    document, gathering = library.Document(io.BytesIO(data)), Gathering(most)
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                gathering.add(_joined(cell.text for cell in row.cells))
            continue
        style = str(block.style.name) if block.style is not None else ""
        level = 1 if style == "Title" else int(found[1]) if (found := _HEADING.match(style)) else 0
        if level and block.text.strip():
            gathering.add("")
            gathering.heading(level, block.text)
        gathering.add(block.text)
    return gathering.read(str(document.core_properties.title or ""))


def xlsx(data: bytes, most: int) -> Read:
    """Rows as `name: value` under the name of their sheet, with their numbers. Raises `Unreadable`."""
    check(data)
    import openpyxl

    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    gathering = Gathering(most)
    for sheet in workbook.worksheets:
        gathering.heading(1, sheet.title)
        head: list[str] | None = None
        for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
            cells = ["" if value is None else " ".join(str(value).split()) for value in row]
            if not any(cells):
                continue
            if head is None:
                head = cells
                gathering.add(_joined(cells), number=number)
                continue
            named = zip([*head, *[""] * len(cells)], cells, strict=False)
            line = "; ".join(f"{name}: {cell}" if name else cell for name, cell in named if cell)
            gathering.add(line[:_LONGEST_LINE], number=number)
    return gathering.read()


def pptx(data: bytes, most: int) -> Read:
    """Slides as pages: title, texts, tables, notes. Raises `Unreadable`."""
    check(data)
    import pptx as library

    slides, gathering = library.Presentation(io.BytesIO(data)), Gathering(most)
    for number, slide in enumerate(slides.slides, 1):
        title = slide.shapes.title
        gathering.heading(1, title.text_frame.text if title is not None else f"Slide {number}")
        for text in _texts(slide.shapes):
            gathering.add(text, page=number)
        if slide.has_notes_slide:
            gathering.add(slide.notes_slide.notes_text_frame.text, page=number)
    return gathering.read(str(slides.core_properties.title or ""))


def _texts(shapes: Any) -> Iterable[str]:
    for shape in shapes:
        if getattr(shape, "shapes", None) is not None:
            yield from _texts(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False) and shape.has_table:
            for row in shape.table.rows:
                yield _joined(cell.text for cell in row.cells)


def _joined(cells: Iterable[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells)[:_LONGEST_LINE]
