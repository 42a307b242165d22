"""A session that is watched: what is told when its events stop coming."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from freehold.cli.running.live import Answer, Live, StreamEnded


class Events:
    """Of one session, as the SDK gives them."""

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds
        self.sent: list[Any] = []

    @contextmanager
    def stream(self, session_id: str, *, event_deltas: Any) -> Iterator[Iterator[Any]]:
        yield iter([SimpleNamespace(type=kind, id=f"sevt_{kind}") for kind in self._kinds])

    def send(self, session_id: str, *, events: Any) -> None:
        self.sent += events


def live(events: Events) -> Live:
    client: Any = SimpleNamespace(beta=SimpleNamespace(sessions=SimpleNamespace(events=events)))
    return Live(client, "sesn_1", lambda call: Answer(True))


def test_a_stream_that_ends_early_is_no_session_that_has_ended() -> None:
    with pytest.raises(StreamEnded, match="freehold sessions show sesn_1"):
        live(Events("session.status_running")).turn("go", lambda event: None)


def test_a_session_that_has_ended_is_told_as_that() -> None:
    events = Events("session.status_running", "session.status_terminated")
    assert live(events).turn("go", lambda event: None).stop_reason == "terminated"
    assert [event["type"] for event in events.sent] == ["user.message"]
