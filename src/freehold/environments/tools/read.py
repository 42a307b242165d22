"""The `read` tool: text with line numbers, a range of lines, an image or a PDF as a block."""

from __future__ import annotations

import os
import stat

from freehold.environments.tools.places import Places
from freehold.environments.tools.results import ToolFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

TEXT_BYTES = 256 << 10
IMAGE_BASE64_BYTES = 5 << 20
"""The API's limit on one image, in base64."""
PDF_BYTES = 20 << 20
"""Raw; in base64 it still fits a request of 32 MB."""

_SHOWN = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")
_BEGINNINGS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def run(arguments: dict[str, Any], places: Places) -> str | dict[str, Any]:
    """The text, or one content block."""
    name = arguments["file_path"]
    with open_regular(places.find(name), name) as file:
        size = os.fstat(file.fileno()).st_size
        if os.path.splitext(name)[1].lower() in _SHOWN:
            return _block(file, name, size)
        view = arguments.get("view_range")
        if view:
            return _lines(file, name, max(1, view[0]), view[1])
        if size > TEXT_BYTES:
            raise ToolFailed(
                f"{name} has {size} bytes, more than the {TEXT_BYTES} that are shown at once; "
                "ask for a range of lines, for example view_range: [1, 500]"
            )
        return _lines(file, name, 1, 0) or "(the file is empty)"


def open_regular(path: str, name: str) -> BinaryIO:
    """A regular file, opened to read; a FIFO or device is refused without waiting for it.

    Raises:
        ToolFailed: it is something else.
    """
    if os.path.isdir(path):
        raise ToolFailed(f"{name} is a directory; `glob` lists files")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ToolFailed(f"{name} is not a regular file")
    return open(fd, "rb")


def text_of(data: bytes, name: str) -> str:
    """UTF-8, or a message that says it is not.

    Raises:
        ToolFailed: it is not.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ToolFailed(f"{name} is not UTF-8 text; of other files only images and PDFs can be shown") from None


def _lines(file: BinaryIO, name: str, first: int, last: int) -> str:
    """Lines `first` to `last` (0 or less: to the end), each after its number; the file is never held whole."""
    kept: list[str] = []
    size = 0
    for number, line in enumerate(iter(lambda: file.readline(TEXT_BYTES + 1), b""), 1):
        if number < first:
            continue
        if 0 < last < number:
            break
        size += len(line)
        if size > TEXT_BYTES:
            raise ToolFailed(f"lines {first} to {number} of {name} exceed {TEXT_BYTES} bytes; ask for fewer lines")
        kept.append(f"{number:6}\t{text_of(line, name)}")
    if not kept and first > 1:
        return f"(the file has fewer than {first} lines)"
    return "".join(kept)


def _block(file: BinaryIO, name: str, size: int) -> dict[str, Any]:
    """What it is, its bytes say: the model refuses what is not so, and every later request that holds it."""
    import binascii

    begins = file.read(1024)  # in which a PDF may begin anywhere
    kind = next((kind for beginning, kind in _BEGINNINGS if begins.startswith(beginning)), None)
    kind = kind or ("application/pdf" if b"%PDF-" in begins else None)
    if kind is None:
        raise ToolFailed(f"{name} is no image or PDF, whatever its name says; `bash` can look at its bytes")
    file.seek(0)
    most = PDF_BYTES if kind == "application/pdf" else IMAGE_BASE64_BYTES // 4 * 3
    if not 0 < size <= most:
        raise ToolFailed(f"{name} has {size} bytes; a file of type {kind} must have 1 to {most}")
    data = binascii.b2a_base64(file.read(most), newline=False).decode()
    block = "document" if kind == "application/pdf" else "image"
    return {"type": block, "source": {"type": "base64", "media_type": kind, "data": data}}
