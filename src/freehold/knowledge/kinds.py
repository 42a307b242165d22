"""What kind of document some bytes are taken for: by name, by declared type, by their beginning. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from freehold.knowledge.reading.base import Unreadable

Kind = Literal["plain", "markdown", "code", "csv", "html", "pdf", "docx", "xlsx", "pptx"]
WALLED: frozenset[Kind] = frozenset({"html", "pdf", "docx", "xlsx", "pptx"})
"""Those that libraries read; these run in a process of their own."""
_OFFICE = "application/vnd.openxmlformats-officedocument."
_TYPES: dict[str, Kind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/pdf": "pdf",
    f"{_OFFICE}wordprocessingml.document": "docx",
    f"{_OFFICE}spreadsheetml.sheet": "xlsx",
    f"{_OFFICE}presentationml.presentation": "pptx",
}
_CODE = (
    "bash c cc cpp cs css go h hpp ini java jl js json jsonl jsx kt lua m mjs php pl proto ps1 py pyi r rb rs scala sh "
    "sql swift tf toml ts tsx vue xml yaml yml zig"
)
_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys(_CODE.split(), "code"),
    **dict.fromkeys(("md", "markdown", "mdx"), "markdown"),
    **dict.fromkeys(("txt", "text", "rst", "log", "adoc", "org", "tex"), "plain"),
    **dict.fromkeys(("csv", "tsv"), "csv"),
    **dict.fromkeys(("html", "htm", "xhtml"), "html"),
    "pdf": "pdf",
    "docx": "docx",
    "xlsx": "xlsx",
    "pptx": "pptx",
}
_OLD = frozenset({"doc", "xls", "ppt"})


def kind_of(name: str, media_type: str, data: bytes) -> Kind:
    """The kind. Raises `Unreadable` for one that is not taken, saying which are."""
    suffix = PurePosixPath(name).suffix.lower().removeprefix(".")
    kind = _SUFFIXES.get(suffix) or _TYPES.get(media_type.partition(";")[0].strip().lower())
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04") and kind not in ("docx", "xlsx", "pptx"):
        raise Unreadable("it is an archive; unpack it and add what is in it.")
    if suffix in _OLD or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("it is an Office file of the time before 2007; save it as docx, xlsx or pptx.")
    if kind is not None:
        return kind
    if data.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if b"\0" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("its kind is not known. Taken are PDF, docx, xlsx, pptx, HTML, Markdown, CSV, text and code.")
    return "plain"


def media_type_of(kind: Kind) -> str:
    """The type that is shown for a kind."""
    plain = {"plain": "text/plain", "code": "text/plain", "markdown": "text/markdown", "csv": "text/csv"}
    return plain.get(kind) or next(name for name, known in _TYPES.items() if known == kind)
