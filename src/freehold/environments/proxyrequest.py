"""What a program asks of the proxy, read strictly: one request per connection, one meaning per request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOP_BY_HOP = {
    *(b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"upgrade"),
    *(b"proxy-authorization", b"proxy-authenticate", b"host"),
}
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_READ_BYTES = 64 << 10
_MOST_CHUNK_LINE = 1024


class BadRequest(ValueError):
    """It is not a request, or one that could be read in two ways."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the program wants to go, as it wrote it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers. `length` is that of the body; `None` means chunked."""

    method: bytes
    target: Target
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None

    @property
    def tunnel(self) -> bool:
        """Whether it is a CONNECT."""
        return self.method == b"CONNECT"

    def forwarded(self, name: str) -> bytes:
        """The head as the host gets it: with the name that was judged, and for one request only."""
        host = name if self.target.port == 80 else f"{name}:{self.target.port}"
        lines = [b"%b %b HTTP/1.1" % (self.method, self.path), b"Host: %b" % host.encode("ascii"), b"Connection: close"]
        lines += [b"%b: %b" % header for header in self.headers if header[0].lower() not in _HOP_BY_HOP]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def parse(raw: bytes) -> Head:
    """From everything up to and including the empty line.

    Raises:
        BadRequest: says what is wrong.
    """
    first, *rest = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not words[0] or set(words[0]) - _TOKEN:
        raise BadRequest("this is no HTTP request line")
    if set(raw) & {0, 11, 12} or b"\n" in raw.replace(b"\r\n", b"") or b"\r" in raw.replace(b"\r\n", b""):
        raise BadRequest("there are control characters in the head")
    headers = tuple(_header(line) for line in rest)
    target, path = _authority(words[1]) if words[0] == b"CONNECT" else _absolute(words[1])
    return Head(words[0], target, path, headers, _length(headers))


async def body(head: Head, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The body exactly as long as the head says; a second request on the connection is never read.

    Raises:
        BadRequest: its chunks are malformed.
        EOFError: it ended early.
    """
    if head.length is not None:
        async for piece in _exactly(reader, head.length):
            yield piece
        return
    size = -1
    while size:
        line = await reader.readuntil(b"\r\n")
        digits = line.partition(b";")[0].strip()
        if len(line) > _MOST_CHUNK_LINE or not digits or set(digits) - set(b"0123456789abcdefABCDEF"):
            raise BadRequest("a chunk of the body is malformed")
        size = int(digits, 16)
        yield b"%x\r\n" % size
        async for piece in _exactly(reader, size):
            yield piece
        if await reader.readexactly(2) != b"\r\n":
            raise BadRequest("a chunk of the body is malformed")
        yield b"\r\n"


async def _exactly(reader: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    while count:
        piece = await reader.read(min(count, _READ_BYTES))
        if not piece:
            raise EOFError("the body ended early")
        count -= len(piece)
        yield piece


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or set(name) - _TOKEN:
        raise BadRequest("a header is malformed")
    return name, value.strip(b" \t")


def _length(headers: tuple[tuple[bytes, bytes], ...]) -> int | None:
    """Exactly one way to tell where the body ends."""
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    codings = [value for name, value in headers if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise BadRequest("the length of the body is not clear")
        return None
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise BadRequest("the length of the body is not clear")
    return int(lengths[0][:18]) if lengths else 0


def _authority(text: bytes) -> tuple[Target, bytes]:
    host, _, port = _ascii(text).rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5:
        raise BadRequest("CONNECT wants host:port")
    return Target(host, int(port)), b""


def _absolute(text: bytes) -> tuple[Target, bytes]:
    url = _ascii(text)
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise BadRequest(f"the address of the request is malformed: {error}") from error
    if parts.scheme.lower() != "http" or not parts.netloc or "@" in parts.netloc:
        raise BadRequest("this proxy takes http:// addresses without a user, and CONNECT for everything else")
    host = parts.netloc.rpartition(":")[0] if parts.netloc.rpartition(":")[2].isdecimal() else parts.netloc
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host.removesuffix(":"), port), path.encode("ascii")


def _ascii(text: bytes) -> str:
    if any(byte <= 32 or byte >= 127 for byte in text):
        raise BadRequest("there are unusual characters in the address")
    return text.decode("ascii")
