"""Whatever way a stream is cut into reads, the same events come out and not one byte is changed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from anthropic._streaming import SSEDecoder
from hypothesis import example, given
from hypothesis import strategies as st

from freehold.wire.frames import Frames, events, frame

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
words = st.text('ab:{}" é文', max_size=12).map(str.encode)
lines = st.one_of(
    words.map(b"data: ".__add__),
    words.map(b"data:".__add__),
    words.map(b": a comment ".__add__),
    st.sampled_from([b"event: message_stop", b"event:ping", b"id: 7", b"retry: 10", b"data", b"other: x", b"", b""]),
)
streams = st.lists(st.tuples(lines, line_ends)).map(lambda pairs: b"".join(line + end for line, end in pairs))


def reads(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    yield from (data[start:end] for start, end in itertools.pairwise(places))


def as_the_standard_says(data: bytes) -> list[tuple[str, bytes]]:
    """WHATWG HTML 9.2.6, slowly: line by line, an event at each blank line."""
    found, name, values = [], b"", list[bytes]()
    for line in re.split(rb"\r\n|\n|\r", data)[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            if name or values:
                found.append((name.decode(), b"\n".join(values)))
            name, values = b"", []
        elif field == b"event":
            name = value.removeprefix(b" ")
        elif field == b"data":
            values.append(value.removeprefix(b" "))
    return found


@given(streams, st.lists(st.integers(0, 10**6)))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [10])  # between the \r and the \n of a blank line
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", list(range(30)))
@example(b"data: a\r\rdata: b\r\r", list(range(30)))
@example(b"data: a\n\r\n\r\r\n", list(range(30)))
def test_any_split_gives_the_same_events_and_the_same_bytes(stream: bytes, cuts: list[int]) -> None:
    frames = Frames()
    passed, found = b"", []
    for read in reads(stream, cuts):
        data, borders = frames.feed(read)
        assert borders == sorted(borders)
        assert len(data) == (borders[-1] if borders else 0)
        passed += data
        found += list(events(data, borders))
    assert passed + frames.rest() == stream
    assert found == as_the_standard_says(stream)


@given(st.lists(st.tuples(st.sampled_from(["ping", "message_stop"]), words.filter(bool)), min_size=1))
def test_what_we_frame_the_sdk_reads(sent: list[tuple[str, bytes]]) -> None:
    stream = b"".join(frame(name, data) for name, data in sent)
    assert [(sse.event, sse.data.encode()) for sse in SSEDecoder().iter_bytes(iter([stream]))] == sent
    data, borders = Frames().feed(stream)
    assert list(events(data, borders)) == sent
