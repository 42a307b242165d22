"""PDF as lines with their pages, by `pypdf`. Only in the child."""

from __future__ import annotations

import io

from freehold.knowledge.reading.base import Gathering, Read, Unreadable

_MOST_PAGES = 10_000


def pdf(data: bytes, most: int) -> Read:
    """The text of every page. Raises `Unreadable`."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("it is locked with a password.")
        if len(reader.pages) > _MOST_PAGES:
            raise Unreadable(f"it has more than {_MOST_PAGES:,} pages.")
        gathering = Gathering(most)
        for number, page in enumerate(reader.pages, 1):
            gathering.add(page.extract_text(), page=number)
        title = str((reader.metadata.title if reader.metadata else None) or "")
    except PyPdfError as error:
        raise Unreadable(f"it is no PDF that can be read: {error}.") from error
    if not any(line.text.strip() for line in gathering.lines):
        raise Unreadable("there is no text in it, only pictures of it; text recognition is not done here.")
    return gathering.read(title)
