"""Previews: a prefix of the event, never before its span, given up for a reader that is too slow."""

from __future__ import annotations

from typing import Any

from freehold.agents.previews import MOST_WAITING, Piece, Previews, Watcher, Writing


def drained(watcher: Watcher) -> list[Any]:
    found = []
    while not watcher.pieces.empty():
        found.append(watcher.pieces.get_nowait().body)
    return found


def delta(index: int, text: str) -> dict[str, object]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def test_pieces_are_held_until_the_span_is_in_the_log() -> None:
    previews = Previews()
    with previews.watching("sesn_1", frozenset({"agent.message"})) as watcher:
        writing = Writing(previews, "sesn_1", "sevt_m", "sevt_t")
        writing.take(delta(0, "Hel"))
        assert drained(watcher) == []
        writing.span_is_logged(7)
        writing.take(delta(0, "lo"))
        start, first, second = drained(watcher)
        assert start == {"type": "event_start", "event": {"type": "agent.message", "id": "sevt_m"}}
        assert [first["delta"]["content"]["text"], second["delta"]["content"]["text"]] == ["Hel", "lo"]


def test_places_are_those_of_the_event_which_leaves_blank_blocks_out() -> None:
    previews = Previews()
    with previews.watching("sesn_1", frozenset({"agent.message"})) as watcher:
        writing = Writing(previews, "sesn_1", "sevt_m", "sevt_t")
        writing.span_is_logged(1)
        writing.take(delta(0, "  "))
        writing.take(delta(1, "\n"))
        writing.take(delta(1, "text"))
        _, piece = drained(watcher)
        assert piece["delta"]["index"] == 0 and piece["delta"]["content"]["text"] == "\ntext"


def test_thinking_is_announced_once_and_never_told() -> None:
    previews = Previews()
    with previews.watching("sesn_1", frozenset({"agent.thinking"})) as watcher:
        writing = Writing(previews, "sesn_1", "sevt_m", "sevt_t")
        writing.span_is_logged(1)
        for index in (0, 1):
            writing.take({"type": "content_block_start", "index": index, "content_block": {"type": "thinking"}})
        writing.take(delta(2, "text"))
        assert drained(watcher) == [{"type": "event_start", "event": {"type": "agent.thinking", "id": "sevt_t"}}]


def test_a_slow_reader_loses_the_rest_of_a_preview_and_no_other() -> None:
    watcher = Watcher(frozenset({"agent.message"}))
    for number in range(MOST_WAITING + 5):
        watcher.take(Piece("sevt_1", "agent.message", 1, {"n": number}))
    assert watcher.pieces.qsize() == MOST_WAITING and watcher.lost == {"sevt_1"}
    watcher.pieces.get_nowait()
    watcher.take(Piece("sevt_1", "agent.message", 1, {"n": -1}))
    watcher.take(Piece("sevt_2", "agent.message", 2, {"n": -2}))
    assert [piece["n"] for piece in drained(watcher)] == [*range(1, MOST_WAITING), -2]


def test_nobody_watching_costs_nothing() -> None:
    previews = Previews()
    with previews.watching("sesn_1", frozenset({"agent.message"})):
        assert previews.watched("sesn_1")
    assert not previews.watched("sesn_1")
