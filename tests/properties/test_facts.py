"""The facts of an answer are the same whether it came whole or as a stream, and however the stream was cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from freehold.wire.frames import Frames, frame
from freehold.wire.grammar import unfold
from freehold.wire.tap import Tap, of_whole
from tests.properties.messages import beta_blocks, messages
from tests.properties.test_frames import reads


def by_fours(text: str) -> Iterable[str]:
    return (text[at : at + 4] for at in range(0, len(text), 4))


@given(messages(beta_blocks), st.lists(st.integers(0, 10**6)), st.booleans())
def test_a_stream_tells_what_the_whole_answer_tells(message: dict[str, Any], cuts: list[int], spaced: bool) -> None:
    separators = (", ", " : ") if spaced else (",", ":")
    stream = b"".join(
        frame(event["type"], json.dumps(event, separators=separators).encode())
        for event in unfold(message, pieces=by_fours)
    )
    frames, tap = Frames(), Tap()
    for read in reads(stream, cuts):
        tap.read(frames.cut(read))
    assert tap.facts == of_whole(200, json.dumps(message).encode())
    assert tap.facts.complete


@given(st.binary(max_size=60), st.integers(100, 599))
def test_no_body_whatever_makes_the_readers_raise(body: bytes, status: int) -> None:
    of_whole(status, body)
    data = b'data: {"message_delta"' + body.replace(b"\n", b"").replace(b"\r", b"") + b"\n\n"
    Tap().read(data)
