"""Cutting a stream at event borders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import UpstreamFailed
from freehold.wire.frames import Frames, borders_of, events, frame, parse_event

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def test_a_read_that_ends_at_a_border_is_passed_on_without_a_copy() -> None:
    frames = Frames()
    read = PING + STOP
    data, borders = frames.feed(read)
    assert data is read
    assert borders == [len(PING), len(PING + STOP)]
    assert frames.rest() == b""


def test_half_an_event_waits_for_its_other_half() -> None:
    frames = Frames()
    assert frames.feed(PING + STOP[:10]) == (PING, [len(PING)])
    assert frames.rest() == STOP[:10]
    assert frames.feed(STOP[10:20]) == (b"", [])
    assert frames.feed(STOP[20:] + PING[:1]) == (STOP, [len(STOP)])
    assert frames.rest() == PING[:1]


def test_an_empty_read_brings_nothing() -> None:
    frames = Frames()
    assert frames.feed(b"") == (b"", [])
    frames.feed(PING[:5])
    assert frames.feed(b"") == (b"", [])


def test_a_stream_fed_byte_by_byte_gives_each_event_at_its_last_byte() -> None:
    for stream in (PING + STOP, (PING + STOP).replace(b"\n", b"\r"), (PING + STOP).replace(b"\n", b"\r\n")):
        frames = Frames()
        found = [event for byte in stream for event in events(*frames.feed(bytes([byte])))]
        assert found == [("ping", b'{"type":"ping"}'), ("message_stop", b'{"type":"message_stop"}')]


def test_an_event_that_ends_in_a_carriage_return_does_not_wait_for_what_may_follow() -> None:
    frames = Frames()
    first = b"data: a\r\n\r"
    assert frames.feed(first) == (first, [len(first)])
    assert frames.feed(b"\ndata: b\r\n\r\n") == (b"\ndata: b\r\n\r\n", [12])


def test_data_of_several_lines_is_joined_and_comments_are_left_out() -> None:
    raw = b": hello\nevent: x\ndata: 1\nid: 7\ndata\ndata:  2\nunknown: y\n\n"
    assert parse_event(raw) == ("x", b"1\n\n 2")


def test_an_event_without_name_or_data_is_none() -> None:
    assert parse_event(b": only a comment\n\n") is None
    assert parse_event(b"\n") is None
    assert parse_event(b"event: named\n\n") == ("named", b"")
    assert parse_event(b"data: x\n\n") == ("", b"x")


def test_the_data_of_a_later_line_is_not_mistaken_for_the_second() -> None:
    assert parse_event(b"event: a\ndata: 1\ndata: 2\n\n") == ("a", b"1\n2")
    assert parse_event(b"event: a\ndata: 1\nevent: b\n\n") == ("b", b"1")


def test_a_frame_goes_out_with_one_data_line_for_each_line() -> None:
    assert frame("ping", b"{}") == b"event: ping\ndata: {}\n\n"
    assert frame("x", b"{\n}") == b"event: x\ndata: {\ndata: }\n\n"
    assert parse_event(frame("x", b"{\r\n}\r")) == ("x", b"{\n}\n")


def test_an_event_without_end_is_broken_off_not_buffered() -> None:
    frames = Frames(max_event_bytes=100)
    frames.feed(b"data: " + b"x" * 90)
    with pytest.raises(UpstreamFailed, match="longer than 100 bytes"):
        frames.feed(b"x" * 10)
    with pytest.raises(UpstreamFailed):
        Frames(max_event_bytes=100).feed(PING + b"x" * 101)


def test_many_small_events_in_one_large_read_are_not_too_long() -> None:
    frames = Frames(max_event_bytes=100)
    frames.feed(PING[:20])
    data, borders = frames.feed(PING[20:] + PING * 50)
    assert len(borders) == 51
    assert data == PING * 51


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\r\n\r\n"])
def test_without_borders_all_events_are_found_and_the_last_one_without_its_blank_line(end: bytes) -> None:
    assert list(events(PING + STOP.rstrip() + end)) == list(events(PING + STOP, [len(PING), len(PING + STOP)]))


@given(st.text("xy\n\r", max_size=40), st.integers(0, 40))
def test_cutting_lets_go_all_that_is_complete(text: str, at: int) -> None:
    data, frames = text.encode(), Frames()
    parts = [frames.cut(data[:at]), frames.cut(data[at:])]
    assert b"".join(parts) + frames.rest() == data
    assert borders_of(frames.rest()) == []
    assert all(part == b"" or part[-1:] in (b"\n", b"\r") for part in parts)
