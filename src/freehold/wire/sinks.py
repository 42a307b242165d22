"""What takes the reads of a stream in the turn of the loop in which they come. Pure: what it does is done per read."""

from __future__ import annotations

from collections.abc import Callable

from freehold.wire.frames import Frames

Sink = Callable[[bytes], bool]
"""Takes what one read brought. False: no more for now."""


def onto(sink: Sink, frames: Frames) -> Sink:
    """One that takes bytes in any split, and hands whole events to `sink`."""

    def take(data: bytes) -> bool:
        whole = frames.cut(data)
        return sink(whole) if whole else True

    return take


def noting(sink: Sink, note: Callable[[bytes], None]) -> Sink:
    """One whose `note` is told the bytes of each read before `sink` gets them."""

    def take(data: bytes) -> bool:
        note(data)
        return sink(data)

    return take
