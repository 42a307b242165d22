"""What a command printed: its first and its last part are kept, all of it is counted."""

from __future__ import annotations


class Output:
    """Takes any number of bytes and keeps at most `limit` of them, half from the beginning and half from the end."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """One more piece, of any length."""
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:
            del self._tail[: len(self._tail) - self._half]

    def text(self) -> str:
        """Both halves as text without terminal escapes, with the number of bytes left out between them."""
        tail = self._tail[-self._half :]
        left_out = self.total - len(self._head) - len(tail)
        if left_out:
            head = _readable(self._head)
            return f"{head}\n[... {left_out} of {self.total} bytes of output are left out here ...]\n{_readable(tail)}"
        return _readable(self._head + tail)


def _readable(data: bytes | bytearray) -> str:
    text = data.decode("utf-8", "replace")
    if "\x1b" in text:
        import re

        text = re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))", "", text)
    return text
