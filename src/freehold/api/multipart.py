"""multipart/form-data, part by part as it comes in; no part is ever held whole. Does not know what parts are for."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from freehold.errors import InvalidRequest

MOST_FIELD_BYTES = 4096
"""Of a part that is a plain value, such as `expires_in_seconds`."""
_PIECE_BYTES = 64 << 10
"""The parser is fed at most this much at once, so that what waits between it and the reader stays small."""


@dataclass(slots=True)
class Part:
    """One part: its field name, its file name as sent (`None` without one), its content type, and its bytes."""

    name: str
    filename: str | None
    content_type: str | None
    _source: Multipart = field(repr=False)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, once, as they come."""
        async for piece in self._source.pieces_of(self):
            yield piece

    async def text(self, most_bytes: int = MOST_FIELD_BYTES) -> str:
        """The whole part as text. Raises `InvalidRequest` when it is longer, or not UTF-8."""
        taken = b""
        async for piece in self.pieces():
            taken += piece
            if len(taken) > most_bytes:
                raise InvalidRequest(f"{self.name}: longer than {most_bytes} bytes.")
        try:
            return taken.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{self.name}: not UTF-8.") from error


class Multipart:
    """A multipart body that is read once: `async for part in Multipart(content_type, chunks, most_parts=…)`.

    A part whose bytes the reader leaves is skipped.

    Raises:
        InvalidRequest: not multipart/form-data, broken, cut off, or more than `most_parts` parts.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes], *, most_parts: int) -> None:
        self._chunks = chunks
        self._most_parts = most_parts
        self._waiting: deque[Part | bytes | None] = deque()
        self._headers: list[tuple[bytes, bytes]] = []
        self._name = self._value = b""
        self._count = 0
        self._ended = False
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": lambda: self._waiting.append(None),
                "on_end": self._end,
            },
        )

    async def __aiter__(self) -> AsyncIterator[Part]:
        while (item := await self._next()) is not _END:
            if isinstance(item, Part):
                yield item

    async def pieces_of(self, part: Part) -> AsyncIterator[bytes]:
        """What is left of the current part (`Part.pieces`)."""
        while True:
            item = await self._next()
            if item is None:
                return
            if not isinstance(item, bytes):
                raise InvalidRequest(f"{part.name}: the part was already read.")
            yield item

    async def _next(self) -> Part | bytes | _End | None:
        while not self._waiting:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                if not self._ended:
                    raise InvalidRequest("The multipart body ends before its closing boundary.")
                return _END
            self._feed(chunk)
        return self._waiting.popleft()

    def _feed(self, chunk: bytes) -> None:
        try:
            for start in range(0, len(chunk), _PIECE_BYTES):
                self._parser.write(chunk[start : start + _PIECE_BYTES])
        except FormParserError as error:
            raise InvalidRequest(f"The multipart body is broken: {error}") from error

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._most_parts:
            raise InvalidRequest(f"The multipart body has more than the {self._most_parts} parts that are taken here.")
        self._headers = []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers.append((self._name.lower(), self._value))
        self._name = self._value = b""

    def _headers_end(self) -> None:
        headers = dict(self._headers)
        _, options = parse_options_header(headers.get(b"content-disposition"))
        if b"name" not in options:
            raise InvalidRequest("The multipart body has a part without a name.")
        filename = options.get(b"filename")
        content_type = headers.get(b"content-type")
        self._waiting.append(
            Part(
                _text(options[b"name"], "the name of a part"),
                None if filename is None else _text(filename, "a file name"),
                None if content_type is None else content_type.decode("latin-1"),
                self,
            )
        )

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._waiting.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


class _End:
    """The body is over."""


_END = _End()


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise InvalidRequest(
            f"content-type: this route takes multipart/form-data with a boundary, not {content_type[:80]!r}."
        )
    return boundary


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The multipart body has {what} that is not UTF-8.") from error
