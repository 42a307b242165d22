"""Request bodies: read with a limit on size and on patience, then taken as JSON. Does not know any resource."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from starlette.types import Receive

from freehold.errors import InvalidRequest, TooLarge

JSON_LIMIT_BYTES = 32 * 1024 * 1024
"""Of every JSON body but batches (Claude API docs, errors page, read 2026-11-23)."""
MOST_DEPTH = 200
"""Levels of nesting in a JSON body: far from the interpreter's recursion limit, far above any real request."""
_JSON_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


class ClientLeft(Exception):
    """The client closed the connection before its request was read; there is nobody to answer."""


class Body:
    """The body of one request. It can be read once, in whole or in pieces.

    `patience_s` is how long we wait for the next piece; a JSON body must also be complete within twice that.
    """

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, *, patience_s: float) -> None:
        self._headers = {name.lower(): value for name, value in headers}
        self._receive = receive
        self._patience_s = patience_s

    @property
    def content_type(self) -> str:
        """As sent, or `""`."""
        return self._headers.get(b"content-type", b"").decode("latin-1")

    async def chunks(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """The bytes as they come in.

        Raises:
            TooLarge: said or sent more than `limit_bytes`; nothing beyond them is read.
            InvalidRequest: compressed, or nothing came for `patience_s`.
            ClientLeft: the connection is gone.
        """
        self._refuse_encoding()
        self._refuse_length(limit_bytes)
        taken = 0
        more = True
        while more:
            message = await self._next()
            more = message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            taken += len(piece)
            if taken > limit_bytes:
                raise _too_large(limit_bytes)
            if piece:
                yield piece

    async def whole(self, limit_bytes: int) -> bytes:
        """All of it, at most `limit_bytes`. Raises as `chunks`."""
        try:
            async with asyncio.timeout(2 * self._patience_s):
                return b"".join([piece async for piece in self.chunks(limit_bytes)])
        except TimeoutError as error:
            raise _too_slow(2 * self._patience_s) from error

    async def json(self, limit_bytes: int) -> dict[str, Any]:
        """The body as a JSON object; an empty body is `{}`.

        Raises:
            InvalidRequest: not UTF-8, not JSON (with the byte where it breaks), or not an object.
        """
        self._refuse_charset()
        return parse_object(await self.whole(limit_bytes))

    async def _next(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._patience_s):
                message = await self._receive()
        except TimeoutError as error:
            raise _too_slow(self._patience_s) from error
        if message["type"] == "http.disconnect":
            raise ClientLeft
        return dict(message)

    def _refuse_encoding(self) -> None:
        coding = self._headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if coding not in ("", "identity"):
            raise InvalidRequest(
                f"content-encoding: {coding!r} is not taken here. Send the body uncompressed.",
                details={"error_code": "request_body_encoding_unsupported"},
            )

    def _refuse_length(self, limit_bytes: int) -> None:
        said = self._headers.get(b"content-length", b"")
        if said.isdigit() and int(said) > limit_bytes:
            raise _too_large(limit_bytes)

    def _refuse_charset(self) -> None:
        _, _, rest = self.content_type.lower().partition("charset=")
        charset = rest.split(";")[0].strip(" \"'")
        if charset not in _JSON_CHARSETS:
            raise InvalidRequest(
                f"content-type: the charset {charset!r} is not taken here. Send JSON as UTF-8.",
                details={"error_code": "unsupported_charset"},
            )


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object from its bytes; `b""` gives `{}`. Raises `InvalidRequest` with the place where it breaks."""
    if not body.strip():
        return {}
    try:
        body.decode("utf-8")
        value = msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"The body is not UTF-8: {error.reason} at byte {error.start}.",
            details={"error_code": "request_body_encoding_invalid"},
        ) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {_place(str(error), body)}.") from error
    except RecursionError as error:
        raise _too_deep() from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {_kind(value)}.")
    if _deeper_than(value, MOST_DEPTH):
        raise _too_deep()
    return value


def _place(message: str, body: bytes) -> str:
    plain = message.removeprefix("JSON is malformed: ")
    return plain if "(byte " in plain else f"{plain} (byte {len(body)})"


def _deeper_than(value: object, most: int) -> bool:
    level: list[object] = [value]
    for _ in range(most):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return False
    return True


def _members(value: object) -> list[object]:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [member for member in members if isinstance(member, dict | list)]


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body is nested too deeply; at most {MOST_DEPTH} levels are taken.")


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The request is larger than the {limit_bytes:,} bytes that this route takes.")


def _too_slow(seconds: float) -> InvalidRequest:
    return InvalidRequest(
        f"The body did not come within {seconds:g} s.", details={"error_code": "request_body_timeout"}
    )
