"""Traffic to replay, out of recorded calls and in files: one request a line as JSON, packed where the name ends in .xz.

{"at_us": 1795031460120394, "request": {…}, "begun_after_us": 830000, "key_id": "apikey_…", "source": null}
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from freehold.clock import parse_rfc3339
from freehold.errors import FreeholdError
from freehold.gateway.caching.replay import Sent

_PACKED = ".xz"
_decode = msgspec.json.Decoder(Sent).decode


class NoTraffic(FreeholdError):
    """A file holds no traffic."""


def sent_of(call: Mapping[str, Any]) -> Sent | None:
    """The request of a call as `GET /freehold/v1/calls/{id}` tells it; `None`: it was not recorded whole.

    Its model is the one that was asked in the end, whatever name its client used.
    """
    recording = call["recording"]
    if recording is None or not recording["request"]["complete"] or "body" not in recording["request"]:
        return None
    request: dict[str, Any] = msgspec.json.decode(recording["request"]["body"])
    if recording["attempts"]:
        request["model"] = recording["attempts"][-1]["model"]
    began_us = parse_rfc3339(call["started_at"])
    begun_after_us = call["first_byte_us"] or call["latency_us"]
    return Sent(began_us, request, begun_after_us, call["key_id"] or "", call["source"], call["task_type"])


def save(traffic: Iterable[Sent], file: Path) -> None:
    """Write it. Raises `OSError`."""
    data = b"".join(msgspec.json.encode(sent) + b"\n" for sent in traffic)
    file.write_bytes(lzma.compress(data) if file.suffix == _PACKED else data)


def load(file: Path) -> list[Sent]:
    """Read what `save` wrote.

    Raises:
        NoTraffic: it cannot be read, or a line of it is no request.
    """
    try:
        data = file.read_bytes()
        lines = (lzma.decompress(data) if file.suffix == _PACKED else data).splitlines()
    except (OSError, lzma.LZMAError) as error:
        raise NoTraffic(f"{file} cannot be read: {error}") from error
    return [_sent(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def _sent(line: bytes, place: str) -> Sent:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoTraffic(f"{place} is no request: {error}") from error
