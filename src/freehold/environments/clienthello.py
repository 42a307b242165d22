"""The server name in the first message of a TLS connection (RFC 8446 §4.1.2, RFC 6066 §3). It decrypts nothing."""

from __future__ import annotations

from dataclasses import dataclass

_HANDSHAKE_RECORD, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
MOST_BYTES = 128 << 10
"""Far longer than any honest first message with all that a read may bring after it."""


class NotTls(ValueError):
    """The bytes are not the beginning of a TLS connection, or not a well-formed one."""


@dataclass(slots=True)
class _Cursor:
    """Reads big-endian numbers and counted parts, and stops at the end."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise NotTls("it ends in the middle")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def part(self, size: int) -> bytes:
        """Bytes after their own length."""
        return self.take(self.number(size))


def server_name(data: bytes) -> str | None:
    """The name it asks for; `""` when it asks for none, `None` while more bytes are needed.

    Raises:
        NotTls: these can never become such a message.
    """
    hello = _handshake(data)
    if hello is None:
        return None
    cursor = _Cursor(hello)
    cursor.take(2 + 32)  # version, random
    cursor.part(1)  # session id
    cursor.part(2)  # cipher suites
    cursor.part(1)  # compression
    extensions = _Cursor(cursor.part(2)) if cursor.at < len(hello) else _Cursor(b"")
    found = ""
    while extensions.at < len(extensions.data):
        kind, body = extensions.number(2), extensions.part(2)
        if kind == _SERVER_NAME:
            if found:
                raise NotTls("it names two servers")
            found = _host_name(body)
    return found


def _handshake(data: bytes) -> bytes | None:
    """The body of the first handshake message, put together from its records."""
    if data and data[0] != _HANDSHAKE_RECORD:
        raise NotTls("it does not begin with a handshake")
    if len(data) > MOST_BYTES:
        raise NotTls("its first message is too long")
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if at + 5 > len(data):
            return None
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE_RECORD or data[at + 1] != 3 or not 0 < length <= 1 << 14:
            raise NotTls("a record of it is malformed")
        if at + 5 + length > len(data):
            return None
        message += data[at + 5 : at + 5 + length]
        at += 5 + length
    if message[0] != _CLIENT_HELLO:
        raise NotTls("its first message is no ClientHello")
    return message[4 : 4 + int.from_bytes(message[1:4], "big")]


def _host_name(body: bytes) -> str:
    names = _Cursor(_Cursor(body).part(2))
    if names.number(1) != _HOST_NAME:
        raise NotTls("its server name is of an unknown kind")
    name = names.part(2)
    if names.at != len(names.data):
        raise NotTls("it names two servers")
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise NotTls("its server name is not ASCII") from None
