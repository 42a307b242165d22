"""A skill as one archive: whatever way its files came, checked and packed anew, so that what is stored is harmless.

Refused: links, devices, absolute paths, `..`, encrypted or oddly packed members, archives that unpack to too much, and
a SKILL.md that does not say what the skill is. Rules: Claude API docs, Agent Skills, read 2026-11-23. Reads and writes
files that it is handed; knows no database, no HTTP.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from freehold.errors import InvalidRequest

UPLOAD_LIMIT_BYTES = 30 * 1024 * 1024
"""Of all parts of one upload together."""
UNPACKED_LIMIT_BYTES = 100 * 1024 * 1024
"""Of all files of a skill together; an archive that is more is taken for a bomb."""
MOST_FILES = 2000
MOST_PATH_BYTES = 1024
MOST_SEGMENTS = 20
MOST_SKILL_MD_BYTES = 1024 * 1024
SKILL_MD = "SKILL.md"
_JUNK = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$)")
"""What macOS adds to archives; left out silently."""
_MEMBER_MARK = b"PK\x01\x02"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
_CHUNK = 64 << 10
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold: the same files give the same bytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file on its way into a skill. `executable` is `None` where nobody said; then its first bytes decide."""

    path: str
    executable: bool | None
    open: Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, slots=True)
class Front:
    """What the head of SKILL.md says."""

    name: str
    description: str


@contextlib.contextmanager
def archive_sources(file: IO[bytes]) -> Iterator[list[Source]]:
    """The files of an uploaded zip. Raises `InvalidRequest` for what may be hostile or broken."""
    _refuse_many_members(file)
    try:
        with zipfile.ZipFile(file) as archive:
            yield [_member(archive, info) for info in archive.infolist() if not _is_folder(info)]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise InvalidRequest(f"files: the zip archive cannot be read: {error}") from error


def pack(sources: Sequence[Source], target: IO[bytes]) -> Front:
    """Write the skill's archive: one top folder named after the skill, members in order. Gives what SKILL.md says.

    Raises:
        InvalidRequest: no or a bad SKILL.md, a bad path, too many files or bytes.
    """
    folder, files = _rooted([replace(s, path=checked_path(s.path)) for s in sources if not _JUNK.search(s.path)])
    front = _front(files[SKILL_MD], folder)
    left = UNPACKED_LIMIT_BYTES
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            left -= _add(archive, f"{front.name}/{path}", files[path], left)
    return front


def unpack(archive: Path, folder: Path) -> None:
    """Lay out an archive that `pack` made: its files directly under `folder`, which must not exist yet."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            target = folder / info.filename.partition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(info) as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, _CHUNK)
            target.chmod(info.external_attr >> 16 & 0o755)


def checked_path(path: str) -> str:
    """A relative path without tricks. Raises `InvalidRequest`."""
    segments = path.removeprefix("./").split("/")
    if (
        path.startswith("/")
        or any(segment in ("", ".", "..") for segment in segments)
        or len(segments) > MOST_SEGMENTS
        or len(path.encode("utf-8", "surrogatepass")) > MOST_PATH_BYTES
        or any(len(segment.encode("utf-8", "surrogatepass")) > 255 for segment in segments)
        or any(unicodedata.category(char) in ("Cc", "Cs") or char == "\\" for char in path)
    ):
        raise InvalidRequest(
            f"files: the path {path[:100]!r} is not taken: relative, with `/` between at most {MOST_SEGMENTS} names, "
            f"none of them `..` or with a control character or a backslash."
        )
    return "/".join(segments)


def _refuse_many_members(file: IO[bytes]) -> None:
    """Before the directory of the archive is read into memory: a small file can list a million members."""
    file.seek(0)
    count, tail = 0, b""
    while chunk := file.read(_CHUNK):
        count += (tail + chunk).count(_MEMBER_MARK)
        tail = chunk[-len(_MEMBER_MARK) + 1 :]
        if count > 2 * MOST_FILES:
            raise _too_many()
    file.seek(0)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    if info.is_dir():
        checked_path(info.filename.rstrip("/"))
    return info.is_dir()


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Source:
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InvalidRequest(f"files: {info.filename[:100]!r} is a link or a device; only plain files are taken.")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidRequest(f"files: {info.filename[:100]!r} is encrypted or packed in a way that is not taken.")
    if "\0" in info.orig_filename:
        raise InvalidRequest(f"files: the path {info.orig_filename[:100]!r} is not taken.")
    return Source(info.filename, bool(mode & 0o111) if mode else None, lambda: archive.open(info))


def _rooted(sources: Sequence[Source]) -> tuple[str | None, dict[str, Source]]:
    """The enclosing folder, if there is one, and the files by their path below it."""
    if len(sources) > MOST_FILES:
        raise _too_many()
    tops = {source.path.partition("/")[0] for source in sources}
    wrapped = len(tops) == 1 and all("/" in source.path for source in sources)
    folder = tops.pop() if wrapped else None
    files: dict[str, Source] = {}
    for source in sources:
        path = source.path.partition("/")[2] if wrapped else source.path
        if path in files:
            raise InvalidRequest(f"files: {path[:100]!r} is there twice.")
        files[path] = source
    _refuse_files_as_folders(files)
    if SKILL_MD not in files:
        raise InvalidRequest(f"files: there is no {SKILL_MD} at the root of the skill, or in its one top folder.")
    return folder, files


def _refuse_files_as_folders(files: dict[str, Source]) -> None:
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in files:
                raise InvalidRequest(f"files: {path[:100]!r} lies in something that is itself a file.")


def _front(source: Source, folder: str | None) -> Front:
    import yaml

    with source.open() as file:
        raw = file.read(MOST_SKILL_MD_BYTES + 1)
    if len(raw) > MOST_SKILL_MD_BYTES:
        raise _bad_front(f"is larger than {MOST_SKILL_MD_BYTES:,} bytes")
    try:
        found = _FRONT.match(raw.decode("utf-8"))
        head = yaml.safe_load(found.group(1)) if found else None
    except UnicodeDecodeError as error:
        raise _bad_front("is not UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _bad_front("has a head that is not YAML") from error
    if not isinstance(head, dict):
        raise _bad_front("must begin with a head between two lines of `---` that has name and description")
    return Front(_name(head.get("name", folder)), _description(head.get("description")))


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64 or not _NAME.fullmatch(value):
        raise _bad_front("has a name that is not 1 to 64 lowercase letters, digits and single hyphens")
    for reserved in ("anthropic", "claude"):
        if reserved in value:
            raise _bad_front(f"has a name with the reserved word {reserved!r}")
    return value


def _description(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 1024:
        raise _bad_front("must have a description of 1 to 1024 characters")
    if re.search(r"<[^>]*>", value) or "\0" in value:
        raise _bad_front("has a description with an XML tag")
    return value.strip()


def _bad_front(why: str) -> InvalidRequest:
    return InvalidRequest(f"files: {SKILL_MD} {why}.")


def _add(archive: zipfile.ZipFile, path: str, source: Source, most_bytes: int) -> int:
    """Add one file; gives its size. Sizes that an archive claims are not believed: what comes out is counted."""
    size = 0
    with source.open() as file:
        first = file.read(_CHUNK)
        executable = first.startswith(b"#!") if source.executable is None else source.executable
        info = zipfile.ZipInfo(path, _EPOCH)
        info.create_system = 3
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
        with archive.open(info, "w") as out:
            chunk = first
            while chunk:
                size += len(chunk)
                if size > most_bytes:
                    raise InvalidRequest(
                        f"files: the skill unpacks to more than the {UNPACKED_LIMIT_BYTES:,} bytes that are taken."
                    )
                out.write(chunk)
                chunk = file.read(_CHUNK)
    return size


def _too_many() -> InvalidRequest:
    return InvalidRequest(f"files: more than the {MOST_FILES} files that one skill may have.")
