"""Bytes of a stream in any split → whole server-sent events, bytes untouched; and the way back for our own events.

An event ends at a blank line. Line ends are `\\n`, `\\r\\n` or `\\r`, also mixed (WHATWG HTML section 9.2.6, event
stream interpretation). This module does not know which events exist nor their order: that is `grammar`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from freehold.errors import UpstreamFailed

MAX_EVENT_BYTES = 32 << 20
"""One event may be this long; as long as a whole request. Beyond it the stream is broken off, not buffered."""

# Atomic groups: without them a lone `\r\n` would be read as `\r` and `\n`, two line ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Frames:
    """Cuts one stream at event borders. One instance a stream.

    A read that ends exactly at a border, the common case, comes back as the same object: no copy.
    """

    __slots__ = ("_held", "_max_event_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._held = bytearray()
        self._max_event_bytes = max_event_bytes

    def feed(self, data: bytes) -> tuple[bytes, list[int]]:
        """All events that are complete by now (`b""` if none) and the offset after each.

        Everything after the last border is kept for the next call. An event that ends in `\\r` is complete at once;
        should a `\\n` follow, it leaves with the next event, where a blank line means nothing.

        Raises:
            UpstreamFailed: an event is longer than the limit.
        """
        if self._held:
            return self._feed_held(data)
        borders = borders_of(data)
        end = borders[-1] if borders else 0
        if end == len(data):
            return data, borders
        self._hold(data[end:])
        return data[:end], borders

    def cut(self, data: bytes) -> bytes:
        """As `feed`, without the borders, which few ask for: the events that are complete by now."""
        if self._held or b"\r" in data:
            return self.feed(data)[0]
        at = data.rfind(b"\n\n")
        if at < 0:
            self._hold(data)
            return b""
        end = at + 2
        if end == len(data):
            return data
        self._hold(data[end:])
        return data[:end]

    def rest(self) -> bytes:
        """What came after the last border: a half event, if the stream ended here. Only line ends are no event."""
        return bytes(self._held)

    def _feed_held(self, data: bytes) -> tuple[bytes, list[int]]:
        held = self._held
        start = len(held) - 1  # of a blank line no more than one line end can be here; its last byte tells enough
        held += data
        borders = borders_of(held, start)
        if not borders:
            self._check_size()
            return b"", borders
        end = borders[-1]
        whole = bytes(memoryview(held)[:end])
        del held[:end]
        self._check_size()
        return whole, borders

    def _hold(self, data: bytes) -> None:
        self._held += data
        self._check_size()

    def _check_size(self) -> None:
        if len(self._held) > self._max_event_bytes:
            raise UpstreamFailed(f"One event of the stream is longer than {self._max_event_bytes} bytes.")


def borders_of(data: bytes | bytearray, start: int = 0) -> list[int]:
    """The offset after each blank line from `start` on."""
    if data.find(b"\r", start) >= 0:
        return [match.end() for match in _BLANK_LINE.finditer(data, start)]
    borders = []
    find = data.find
    at = find(b"\n\n", start)
    while at >= 0:
        borders.append(at + 2)
        at = find(b"\n\n", at + 2)
    return borders


def events(data: bytes, borders: list[int] | None = None) -> Iterator[tuple[str, bytes]]:
    """The events between these borders (`None`: up to the end, found on the way): each its name (`""`: it has none)
    and its data, lines joined by `\n`.

    Comments, `id`, `retry` and unknown fields are left out, and so is an event with neither name nor data.
    """
    start = 0
    for end in _borders_ahead(data) if borders is None else borders:
        event = parse_event(data[start:end])
        start = end
        if event is not None:
            yield event


def _borders_ahead(data: bytes) -> Iterator[int]:
    """As `borders_of`, and the end of the data, where the last event may lack its blank line."""
    if b"\r" in data:
        yield from (*borders_of(data), len(data))
        return
    end = 0
    while (at := data.find(b"\n\n", end)) >= 0:
        end = at + 2
        yield end
    if end < len(data):
        yield len(data)


def parse_event(raw: bytes) -> tuple[str, bytes] | None:
    """One event, blank line included, as name and data; `None` if it has neither."""
    first = raw.find(b"\n")
    # The one form that Claude sends: two lines, one space after each colon.
    if raw.startswith(b"event: ") and raw.startswith(b"data: ", first + 1) and b"\r" not in raw:
        second = raw.find(b"\n", first + 1)
        if second == len(raw) - 2:
            return raw[7:first].decode("utf-8", "replace"), raw[first + 7 : second]
    return _parse_any_event(raw)


def _parse_any_event(raw: bytes) -> tuple[str, bytes] | None:
    name = b""
    lines: list[bytes] = []
    for line in _LINE_END.split(raw):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            lines.append(value)
    if not name and not lines:
        return None
    return name.decode("utf-8", "replace"), b"\n".join(lines)


def frame(name: str, data: bytes) -> bytes:
    """One event as it goes out. Data of several lines becomes several `data:` lines."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
