"""What a file may be called, and what kind of thing it is taken for."""

from __future__ import annotations

import mimetypes
import re

from freehold.errors import InvalidRequest

MOST_NAME_CHARS = 255
OCTETS = "application/octet-stream"
_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f]')
_MIME = re.compile(r"[a-z0-9!#$&^_.+-]{1,120}/[a-z0-9!#$&^_.+-]{1,120}")


def mime_of(content_type: str | None, filename: str | None) -> str:
    """The type that was sent, without its parameters, else what the name's ending says, else plain octets."""
    sent = (content_type or "").partition(";")[0].strip().lower()
    if _MIME.fullmatch(sent):
        return sent
    return mimetypes.guess_type(filename or "", strict=False)[0] or OCTETS


def name_of(sent: str | None, mime_type: str) -> str:
    """The last part of the path that was sent, else `unnamed` with the ending of its type.

    Raises:
        InvalidRequest: longer than 255 characters, `.` or `..`, or with one of `<>:"|?*` or a control character.
    """
    name = (sent or "").replace("\\", "/").rsplit("/", 1)[-1]
    if not name:
        return f"unnamed{mimetypes.guess_extension(mime_type) or ''}"
    return checked_name(name)


def checked_name(name: str) -> str:
    """`name`, if a file may be called so. Raises as `name_of`."""
    if len(name) > MOST_NAME_CHARS or name in (".", "..") or _FORBIDDEN.search(name):
        raise InvalidRequest(
            f"file: the name {name[:80]!r} is not taken: 1 to {MOST_NAME_CHARS} characters, none of them a control "
            f'character or one of <>:"|?*\\/.'
        )
    return name


def output_name(relative: str, taken: frozenset[str] | set[str]) -> str:
    """A file name for a path below a session's outputs (`charts/a.png` gives `charts_a.png`), unlike those taken."""
    plain = (
        _FORBIDDEN.sub("_", relative).encode("utf-8", "replace").decode("utf-8")[-MOST_NAME_CHARS:].lstrip(".")
        or "unnamed"
    )
    stem, dot, ending = plain.rpartition(".")
    for number in range(1, len(taken) + 2):
        name = plain if number == 1 else f"{(stem if dot else plain)[:200]}-{number}{dot}{ending if dot else ''}"
        if name not in taken:
            return name
    raise AssertionError("more names than were taken cannot all be taken")
