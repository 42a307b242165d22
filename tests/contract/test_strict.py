"""The strictness helper finds what it is for."""

from __future__ import annotations

from anthropic.types.beta import BetaMessage

from tests.contract.strict import undeclared

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hi", "citations": None}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def test_a_declared_answer_has_nothing_undeclared() -> None:
    assert undeclared(BetaMessage.model_validate(MESSAGE)) == []


def test_members_that_the_type_does_not_declare_are_found_at_any_depth() -> None:
    odd = MESSAGE | {"mood": "good", "content": [{"type": "text", "text": "Hi", "colour": "red"}]}
    assert sorted(undeclared(BetaMessage.model_validate(odd))) == ["content.0.colour", "mood"]
