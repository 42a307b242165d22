"""Streams as they were recorded, cut in two at every byte, and into single bytes: the same events, the same message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.wire.frames import Frames, events
from freehold.wire.grammar import Fold
from freehold.wire.tap import Tap

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.sse"))


def folded(parts: list[bytes]) -> tuple[bytes, dict[str, Any], Any]:
    """The bytes that come out, the message that they make, and what the tap has seen."""
    frames, fold, tap, out = Frames(), Fold(), Tap(), b""
    for part in parts:
        data, borders = frames.feed(part)
        out += data
        if borders:
            tap.read(data)
        for _, event in events(data, borders):
            fold.add(json.loads(event))
    return out + frames.rest(), fold.finish(), tap.facts


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_a_recorded_stream_cut_at_every_byte_makes_the_same_message(file: Path) -> None:
    stream = file.read_bytes()
    expected = folded([stream])
    assert expected[0] == stream
    assert expected[2].complete
    for cut in range(1, len(stream)):
        assert folded([stream[:cut], stream[cut:]]) == expected, cut
    assert folded([stream[at : at + 1] for at in range(len(stream))]) == expected


def test_there_is_something_of_every_kind() -> None:
    together = b"".join(file.read_bytes() for file in RECORDED)
    for sign in (
        b"thinking_delta",
        b"signature_delta",
        b"input_json_delta",
        b"text_delta",
        b"citations_delta",
        b"ping",
    ):
        assert sign in together, sign
    assert not together.isascii()
