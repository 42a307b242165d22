"""Batches at a running server: sent in pieces from a file, looked at, read line by line."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

from freehold.cli.calling import Server, lines_of

MOST_REQUESTS = 100_000
MOST_BYTES = 200 << 20
_TIMEOUT_S = 600
PATH = "/v1/messages/batches"


def send(server: Server, requests: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Make batches of all requests, as few as the API's limits allow; gives each as it was taken."""
    return _each(server, PATH, requests)


def estimates(server: Server, requests: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """What each of these batches would cost."""
    return _each(server, "/freehold/v1/batches/estimate", requests)


def _each(server: Server, path: str, requests: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    rest = iter(requests)
    first = next(rest, None)
    while first is not None:
        with tempfile.TemporaryFile() as body:
            first = _fill(body, first, rest)
            yield _post(server, path, body)


def _fill(
    body: IO[bytes], first: tuple[str, dict[str, Any]], rest: Iterator[tuple[str, dict[str, Any]]]
) -> tuple[str, dict[str, Any]] | None:
    """Write one batch; gives the request that did not fit any more."""
    body.write(b'{"requests":[')
    one: tuple[str, dict[str, Any]] | None = first
    count = 0
    while one is not None:
        entry = json.dumps({"custom_id": one[0], "params": one[1]}, ensure_ascii=False).encode()
        if count and (count >= MOST_REQUESTS or body.tell() + len(entry) > MOST_BYTES):
            break
        body.write((b"," if count else b"") + entry)
        count += 1
        one = next(rest, None)
    body.write(b"]}")
    return one


def _post(server: Server, path: str, body: IO[bytes]) -> dict[str, Any]:
    with server.open("POST", path, body, timeout_s=_TIMEOUT_S) as answer:
        made: dict[str, Any] = json.loads(answer.read())
    return made


def progress(server: Server, batch_id: str) -> dict[str, Any]:
    """How far it is."""
    return server.get(f"/freehold/v1/batches/{batch_id}/progress")


def results(server: Server, batch_id: str) -> Iterator[dict[str, Any]]:
    """The results of an ended batch, one at a time."""
    with server.open("GET", f"{PATH}/{batch_id}/results", timeout_s=_TIMEOUT_S) as answer:
        yield from lines_of(answer)
