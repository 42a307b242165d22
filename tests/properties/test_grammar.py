"""What a message is taken apart into adds up to it again, for us and for the SDK alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx2
from anthropic.lib.streaming._beta_messages import accumulate_event as accumulate_beta
from anthropic.lib.streaming._messages import accumulate_event as accumulate_ga
from hypothesis import given
from hypothesis import strategies as st
from jiter import from_json

from freehold.wire import partial_json
from freehold.wire.grammar import Fold, Grammar, unfold
from tests.properties.messages import beta_blocks, ga_blocks, json_values, messages


def by_threes(text: str) -> Iterable[str]:
    return (text[at : at + 3] for at in range(0, len(text), 3))


def folded(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    fold = Fold()
    for event in events:
        fold.add(event)
    return fold.finish()


@given(messages(beta_blocks))
def test_a_message_unfolds_to_a_legal_stream_that_folds_to_it_again(message: dict[str, Any]) -> None:
    before = json.dumps(message)
    grammar = Grammar()
    events = list(unfold(message, pieces=by_threes))
    for event in events:
        grammar.accept(event)
    assert grammar.over
    assert folded(events) == message == json.loads(before)


@given(messages(ga_blocks))
def test_the_sdk_adds_a_stream_up_to_the_same_message(message: dict[str, Any]) -> None:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in unfold(message, pieces=by_threes):
        snapshot = accumulate_ga(event=_any(event), current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot.to_dict(mode="json") == folded(unfold(message))


@given(messages(beta_blocks))
def test_the_sdk_adds_a_beta_stream_up_to_the_same_message(message: dict[str, Any]) -> None:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in unfold(message, pieces=by_threes):
        snapshot = accumulate_beta(
            event=_any(event), current_snapshot=snapshot, json_bufs=buffers, request_headers=httpx2.Headers()
        )
    assert snapshot.to_dict(mode="json") == folded(unfold(message))


@given(json_values, st.data())
def test_json_that_is_cut_off_is_read_as_the_sdk_reads_it(value: Any, data: st.DataObject) -> None:
    text = json.dumps({"input": value}, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(1)))
    cut = text[: data.draw(st.integers(1, len(text)))]
    assert partial_json.read(cut) == from_json(cut.encode(), partial_mode=True)


def _any(event: dict[str, Any]) -> Any:
    return event
