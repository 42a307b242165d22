"""Rules of thinking: which modes a model takes, budgets, and that thinking blocks come back as they were sent."""

from __future__ import annotations

from collections.abc import Iterator

from freehold.errors import InvalidRequest
from freehold.simulator.model import signatures
from freehold.simulator.model.catalog import EFFORTS
from freehold.simulator.model.request import Placed, Request, Turn

_SMALLEST_BUDGET = 1024


def check(request: Request, seed: int) -> None:
    """See the module."""
    if request.body.get("thinking") is not None:
        _mode(request)
    if request.thinking.on:
        _returned(request, seed)


def _mode(request: Request) -> None:
    thinking, model = request.thinking, request.model
    name = request.asked_model
    if thinking.type not in model.thinking:
        use = ", ".join(f'"{kind}"' for kind in sorted(model.thinking))
        raise InvalidRequest(
            f'thinking.type: "{thinking.type}" is not supported for {name}. Use {use} or leave it out.'
        )
    extra = set(request.body["thinking"]) - {"type"}
    if thinking.type == "between_tools" and extra:
        raise InvalidRequest(f"thinking.between_tools.{min(extra)}: Extra inputs are not permitted")
    if thinking.type == "between_tools" and request.effort in ("xhigh", "max"):
        raise InvalidRequest(f'thinking.type: "between_tools" is not supported at effort "{request.effort}"')
    if thinking.type == "disabled" and EFFORTS.index(request.effort) > EFFORTS.index(model.disabled_until):
        raise InvalidRequest(f'thinking.type: "disabled" is not supported by {name} at effort "{request.effort}"')
    if thinking.type == "enabled":
        _budget(request)


def _budget(request: Request) -> None:
    budget = request.thinking.budget_tokens
    if budget is None:
        raise InvalidRequest("thinking.enabled.budget_tokens: Field required")
    if budget < _SMALLEST_BUDGET:
        raise InvalidRequest(
            f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_SMALLEST_BUDGET}"
        )
    if "max_tokens" in request.body and budget >= request.max_tokens:
        raise InvalidRequest("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _returned(request: Request, seed: int) -> None:
    turn = _running(request)
    if turn is None:
        return
    for placed in turn.of_type("thinking"):
        if placed.path in request.dropped:
            continue
        block = placed.block
        if signatures.verify(seed, block["signature"], block["thinking"]) is not None:
            continue
        if signatures.looks_ours(block["signature"]):
            raise InvalidRequest(
                f"{placed.path}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
                "modified. These blocks must remain as they were in the original response."
            )
        raise InvalidRequest(f"{placed.path}: Invalid `signature` in `thinking` block")
    if request.thinking.type == "enabled" and any(turn.of_type("tool_use")) and not _begins_with_thinking(turn):
        raise InvalidRequest(
            f"{turn.path}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{turn.placed[0].type}`. When `thinking` is enabled, a final `assistant` message must start with a "
            "thinking block (before its last `tool_use` and `tool_result` blocks)."
        )


def _begins_with_thinking(turn: Turn) -> bool:
    return turn.placed[0].type in ("thinking", "redacted_thinking")


def _running(request: Request) -> Turn | None:
    """The assistant turn whose tool calls the last user turn answers, or which is still being written."""
    return next((turn for turn in reversed(request.turns) if turn.role == "assistant"), None)


def _all(request: Request) -> Iterator[Placed]:
    for turn in request.turns:
        if turn.role == "assistant":
            yield from turn.of_type("thinking")


def unreadable(request: Request, seed: int) -> frozenset[str]:
    """Paths of thinking blocks that this model does not see: another model's, on models that are bound to their own."""
    if not request.model.binds_thinking:
        return frozenset()
    own = signatures.model_digest(request.model.id)
    paths = set()
    for placed in _all(request):
        signed = signatures.verify(seed, placed.block["signature"], placed.block["thinking"])
        foreign = signed is None and not signatures.looks_ours(placed.block["signature"])
        if foreign or (signed is not None and signed.model_digest != own):
            paths.add(placed.path)
    return frozenset(paths)
