"""A part of a file as a file of its own."""

from __future__ import annotations

import io
from typing import IO


class Slice(io.RawIOBase):
    """`size` bytes of `file` from `start` on, to be read in order. The file itself stays open."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._at = start
        self._end = start + size

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase`."""
        self._file.seek(self._at)
        data = self._file.read(min(len(buffer), self._end - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
