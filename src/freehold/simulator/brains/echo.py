"""The brain that says what it was told: for tests of everything around the model."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.simulator.brains.base import Say, Step
from freehold.simulator.model.request import Placed, Request, text_of


class Echo:
    """Answers with the text of the last user turn; tool results count as text, media are named."""

    def answer(self, request: Request) -> Sequence[Step]:
        """See `Brain`."""
        turns = [turn for turn in request.turns if turn.role == "user"]
        return [Say("\n".join(filter(None, map(_text, turns[-1].placed))) or "(nothing)")]


def _text(placed: Placed) -> str:
    if placed.type == "text":
        return str(placed.block["text"])
    if placed.type == "tool_result":
        return text_of(placed.block.get("content"))
    return f"[{placed.type}]"
