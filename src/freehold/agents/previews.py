"""What is being written right now, for readers who asked to watch: never stored, never replayed, best effort.

Rules of the API (Claude API docs, Managed Agents events, read 2026-11-23): `event_start` once for an id, after the
start of its span; then `event_delta`s whose texts make a prefix of what the event will hold; the event itself is the
last thing that a reader gets for its id. A reader that falls behind loses the rest of a preview, never the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from freehold.agents.session import Json

MOST_WAITING = 1000
"""Pieces that one reader may be behind."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One preview event. It may be shown once the log was read up to `after_seq`."""

    event_id: str
    kind: str
    """The type of the event that is being written."""
    after_seq: int
    body: Json


@dataclass(slots=True, eq=False)
class Watcher:
    """One reader that asked for previews of some types."""

    kinds: frozenset[str]
    pieces: asyncio.Queue[Piece] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))
    lost: set[str] = field(default_factory=set)

    def take(self, piece: Piece) -> None:
        """Keep a piece, or give up on its event when too many wait."""
        if piece.kind not in self.kinds or piece.event_id in self.lost:
            return
        try:
            self.pieces.put_nowait(piece)
        except asyncio.QueueFull:
            self.lost.add(piece.event_id)


class Previews:
    """Hands pieces from the loops of this process to the streams of this process."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}

    def watched(self, session_id: str) -> bool:
        """Somebody looks; else there is no need to make pieces."""
        return session_id in self._watchers

    def publish(self, session_id: str, piece: Piece) -> None:
        """Give it to everybody who watches that session."""
        for watcher in self._watchers.get(session_id, ()):
            watcher.take(piece)

    @contextmanager
    def watching(self, session_id: str, kinds: frozenset[str]) -> Iterator[Watcher]:
        """Watch a session while the context is open."""
        watcher = Watcher(kinds)
        self._watchers.setdefault(session_id, set()).add(watcher)
        try:
            yield watcher
        finally:
            watchers = self._watchers[session_id]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[session_id]


class Writing:
    """Turns the stream events of one model reply into pieces: one `agent.thinking`, one `agent.message`."""

    def __init__(self, previews: Previews, session_id: str, message_id: str, thinking_id: str) -> None:
        self._previews = previews
        self._session_id = session_id
        self._ids = {"agent.message": message_id, "agent.thinking": thinking_id}
        self._after_seq: int | None = None
        self._held: list[tuple[str, Json]] = []
        self._started: set[str] = set()
        self._texts: dict[int, int] = {}
        self._blank: dict[int, str] = {}

    def span_is_logged(self, seq: int) -> None:
        """The start of the span is in the log: from now on pieces may leave."""
        self._after_seq = seq
        for kind, body in self._held:
            self._publish(kind, body)
        self._held.clear()

    def take(self, event: Mapping[str, object]) -> None:
        """Look at one event of the reply's stream."""
        if not self._previews.watched(self._session_id):
            return
        block, delta = event.get("content_block"), event.get("delta")
        if isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking"):
            self._start("agent.thinking")
        elif isinstance(delta, dict) and delta.get("type") == "text_delta":
            self._text(event.get("index"), delta.get("text"))

    def _text(self, block: object, text: object) -> None:
        if not isinstance(block, int) or not isinstance(text, str) or not text:
            return
        if block not in self._texts:
            # A block that stays blank is left out of the event, so its place is not given away before it has text.
            text = self._blank.pop(block, "") + text
            if not text.strip():
                self._blank[block] = text
                return
            self._texts[block] = len(self._texts)
        self._start("agent.message")
        content = {"type": "content_delta", "index": self._texts[block], "content": {"type": "text", "text": text}}
        self._send("agent.message", {"type": "event_delta", "event_id": self._ids["agent.message"], "delta": content})

    def _start(self, kind: str) -> None:
        if kind not in self._started:
            self._started.add(kind)
            self._send(kind, {"type": "event_start", "event": {"type": kind, "id": self._ids[kind]}})

    def _send(self, kind: str, body: Json) -> None:
        if self._after_seq is None:
            self._held.append((kind, body))
        else:
            self._publish(kind, body)

    def _publish(self, kind: str, body: Json) -> None:
        self._previews.publish(self._session_id, Piece(self._ids[kind], kind, self._after_seq or 0, body))
