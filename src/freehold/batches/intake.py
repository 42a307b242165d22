"""A new batch on its way in: kept on disk while it comes, checked whole, then written to the store in slices.

What is checked before a batch is taken: its envelope, every `custom_id`, and that params are objects; the error names
the index. What is in the params is judged when their turn comes. Nothing here grows with the size of a batch but the
list of its items (about 200 bytes each): the body is on disk, and looked at through a map of the file.

It does not know who will do the work.
"""

from __future__ import annotations

import asyncio
import codecs
import mmap
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import IO, Any

import msgspec

from freehold.batches.prefixes import prefixes, turns
from freehold.errors import InvalidRequest
from freehold.jobs import chaos
from freehold.store.batches import BatchRow, BatchRows, NewItem

BODY_LIMIT_BYTES = 256 << 20
MOST_REQUESTS = 100_000
"""Both: Claude API docs, page "Batch processing", read 2026-11-23."""
_IN_MEMORY_BYTES = 4 << 20
"""A body up to this never touches the disk."""
_SLICE_ITEMS = 2_000
_SLICE_BYTES = 4 << 20
"""What is written to the store in one go: others write in between."""
_BRACE = ord("{")
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}").fullmatch


class _CustomId(str):
    """A `custom_id`, looked at by our own hook while the body is read."""

    __slots__ = ()


class Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One request; `params` are the bytes as they came."""

    custom_id: _CustomId
    params: msgspec.Raw


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[Request]


class _Refused(Exception):
    """Not a ValueError: msgspec lets it pass as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Spool:
    """The body as it comes: in memory while it is small, else in a file without a name. Close it when done."""

    def __init__(self, scratch: Callable[[], IO[bytes]]) -> None:
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._buffer = bytearray()
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._taken = 0

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        """All of it.

        Raises:
            InvalidRequest: it is not UTF-8.
        """
        async for chunk in chunks:
            self._check(chunk, final=False)
            self._buffer += chunk
            if len(self._buffer) >= _IN_MEMORY_BYTES:
                await asyncio.to_thread(self._spill)
        self._check(b"", final=True)
        if self._file is not None:
            await asyncio.to_thread(self._spill)

    def view(self) -> bytes | mmap.mmap:
        """What came. A map is never closed by hand: what was read from it points into it."""
        if self._file is None:
            return bytes(self._buffer)
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Let the file go; a map of it lives on."""
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = self._scratch()
        self._file.write(self._buffer)
        self._file.flush()
        self._buffer = bytearray()

    def _check(self, chunk: bytes, *, final: bool) -> None:
        try:
            self._utf8.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"The body is not UTF-8: {error.reason} near byte {self._taken + error.start}.",
                details={"error_code": "request_body_encoding_invalid"},
            ) from error
        self._taken += len(chunk)


def parse(body: bytes | mmap.mmap) -> list[Request]:
    """The requests of a batch, their custom_ids checked; their params point into `body`.

    Raises:
        InvalidRequest: the envelope or a custom_id is wrong; names the index.
    """
    try:
        envelope = msgspec.json.Decoder(_Envelope, dec_hook=_Ids()).decode(body)
    except _Refused as error:
        raise InvalidRequest(error.message) from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(_placed(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {str(error).removeprefix('JSON is malformed: ')}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    if not envelope.requests:
        raise InvalidRequest("requests: must hold at least one request.")
    _check_params(envelope.requests)
    return envelope.requests


class _Model(msgspec.Struct, gc=False):
    model: Any = None


_model_of = msgspec.json.Decoder(_Model).decode


def left_to_us(body: bytes | mmap.mmap, requests: Sequence[Request], names: Collection[str]) -> str | None:
    """The first of these names that a request has for its model: it leaves the choice to this server. Most bodies have
    none of them anywhere, which is one search.
    """
    if not any(body.find(msgspec.json.encode(name)) >= 0 for name in names):
        return None
    for request in requests:
        model = _model_of(request.params).model
        if isinstance(model, str) and model in names:
            return model
    return None


class _Ids:
    """Called for every custom_id in order: counts, judges and remembers them."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, kind: type, value: object) -> _CustomId:
        index = len(self._seen)
        if index >= MOST_REQUESTS:
            raise _Refused(f"requests: at most {MOST_REQUESTS:,} requests are taken in one batch.")
        if not isinstance(value, str) or not _CUSTOM_ID(value):
            raise _Refused(
                f"requests.{index}.custom_id: must be text of 1 to 64 letters, digits, `_` and `-`, not {value!r:.80}."
            )
        if value in self._seen:
            raise _Refused(f"requests.{index}.custom_id: {value!r} stands there twice; it must be unique in the batch.")
        self._seen.add(value)
        return _CustomId(value)


def _check_params(requests: Sequence[Request]) -> None:
    for index, request in enumerate(requests):
        if memoryview(request.params)[0] != _BRACE:
            raise InvalidRequest(f"requests.{index}.params: must be an object.")


_PLACE = re.compile(r"(.*) - at `\$((?:\.\w+|\[\d+\])*)`", re.DOTALL)


def _placed(message: str) -> str:
    """``Object missing required field `params` - at `$.requests[3]` `` → `requests.3: …`"""
    found = _PLACE.fullmatch(message)
    if found is None:
        return f"{message}."
    place = found[2].replace("[", ".").replace("]", "").lstrip(".")
    return f"{place}: {found[1]}." if place else f"{found[1]}."


async def store_items(rows: BatchRows, row: BatchRow, requests: Sequence[Request]) -> None:
    """Write the batch and its items, and show it when all are there. Broken off, nothing of it is ever seen."""
    await rows.begin(row)
    try:
        order = await asyncio.to_thread(lambda: turns([prefixes(bytes(request.params)) for request in requests]))
        for items in _slices(requests, order):
            await rows.add(row.id, items)
            chaos.point("batch_inserting")
        await rows.start(row.id)
    except BaseException:
        await asyncio.shield(rows.forget(row.id))
        raise


def _slices(requests: Sequence[Request], order: Sequence[int]) -> Iterator[list[NewItem]]:
    items: list[NewItem] = []
    size_bytes = 0
    for index, request in enumerate(requests):
        items.append(NewItem(index, str(request.custom_id), bytes(request.params), order[index]))
        size_bytes += len(items[-1].params)
        if len(items) >= _SLICE_ITEMS or size_bytes >= _SLICE_BYTES:
            yield items
            items, size_bytes = [], 0
    if items:
        yield items
