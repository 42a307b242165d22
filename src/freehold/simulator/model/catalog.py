"""The models this simulator plays, with the limits and refusals that differ between them.

Facts: Claude API docs, pages "Models overview", "Prompt caching", "Thinking" and "Effort", read 2026-11-23. Where no
page gives a maximum of output (the 5.2 models), the family's 128,000 is used. Prices stand in `prices.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from freehold.clock import parse_rfc3339
from freehold.errors import NotFound

Line = Literal["haiku", "sonnet", "opus", "fable", "mythos"]
EFFORTS = ("low", "medium", "high", "xhigh", "max")
_UNTIL_HIGH = EFFORTS[:3]
_WITHOUT_XHIGH = ("low", "medium", "high", "max")


@dataclass(frozen=True, slots=True)
class Model:
    """One model: what it takes, what it refuses, how it counts. Token figures are tokens, dates RFC 3339."""

    id: str
    display_name: str
    line: Line
    created_at: str
    context: int = 1_000_000
    max_output: int = 128_000
    cache_minimum: int = 512
    efforts: tuple[str, ...] = EFFORTS
    """Empty: the model takes no effort at all."""
    default_effort: str = "high"
    thinking: frozenset[str] = frozenset({"adaptive"})
    """Which `thinking.type` it takes."""
    thinks_unasked: bool = True
    disabled_until: str = "max"
    """The highest effort at which `disabled` is taken, on models that take it at all."""
    shows_thinking: bool = False
    """The default of `thinking.display`: summarized where True, omitted where False."""
    keeps_thinking: bool = True
    """Thinking of earlier turns stays in view; where False only that of the running turn does."""
    binds_thinking: bool = False
    """It reads no thinking of another model: such blocks are dropped in silence."""
    forced_choice: bool = True
    prefill: bool = False
    sampling: bool = False
    """It takes temperature, top_p and top_k other than their defaults."""
    fast: bool = False
    regional: bool = True
    """`inference_geo: us` is offered, at 1.1 times the price."""
    token_percent: int = 130
    """Tokens in percent of the older tokenizer's: the one of 4.7 and later makes about 30 % more."""
    deprecated_at: str | None = None
    retires_at: str | None = None
    aliases: tuple[str, ...] = ()

    def lifecycle(self, now_us: int) -> Literal["active", "deprecated", "retired"]:
        """Where the model stands at that time. A retired one goes on answering here, unlike the real one."""
        if self.retires_at and parse_rfc3339(self.retires_at) <= now_us:
            return "retired"
        return "deprecated" if self.deprecated_at and parse_rfc3339(self.deprecated_at) <= now_us else "active"


_OPTIONAL = frozenset({"adaptive", "disabled"})
_MANUAL = frozenset({"enabled", "disabled"})


def _older(model: Model) -> Model:
    """Opus, Sonnet and Haiku 4.5: 200K context, manual thinking, the older tokenizer."""
    return replace(
        model,
        context=200_000,
        max_output=64_000,
        thinking=_MANUAL,
        thinks_unasked=False,
        shows_thinking=True,
        prefill=True,
        sampling=True,
        regional=False,
        token_percent=100,
    )


def _family_46(model: Model) -> Model:
    return replace(
        model,
        efforts=_WITHOUT_XHIGH,
        thinking=_OPTIONAL | _MANUAL,
        thinks_unasked=False,
        shows_thinking=True,
        sampling=True,
        token_percent=100,
    )


MODELS: tuple[Model, ...] = (
    Model(
        "claude-fable-5-2",
        "Claude Fable 5.2",
        "fable",
        "2026-11-09T00:00:00Z",
        fast=True,
        forced_choice=False,
        binds_thinking=True,
    ),
    Model(
        "claude-mythos-5-2",
        "Claude Mythos 5.2",
        "mythos",
        "2026-11-09T00:00:00Z",
        forced_choice=False,
        binds_thinking=True,
    ),
    Model(
        "claude-haiku-5-5",
        "Claude Haiku 5.5",
        "haiku",
        "2026-10-07T00:00:00Z",
        default_effort="medium",
        thinking=_OPTIONAL,
        disabled_until="high",
        binds_thinking=True,
    ),
    Model(
        "claude-sonnet-5-5",
        "Claude Sonnet 5.5",
        "sonnet",
        "2026-09-23T00:00:00Z",
        thinking=frozenset({"adaptive", "between_tools"}),
        forced_choice=False,
        binds_thinking=True,
    ),
    Model(
        "claude-opus-5-5",
        "Claude Opus 5.5",
        "opus",
        "2026-09-23T00:00:00Z",
        default_effort="medium",
        forced_choice=False,
        binds_thinking=True,
        fast=True,
    ),
    Model(
        "claude-fable-5-1",
        "Claude Fable 5.1",
        "fable",
        "2026-08-31T00:00:00Z",
        forced_choice=False,
        binds_thinking=True,
    ),
    Model(
        "claude-mythos-5-1",
        "Claude Mythos 5.1",
        "mythos",
        "2026-08-31T00:00:00Z",
        forced_choice=False,
        binds_thinking=True,
    ),
    Model(
        "claude-sonnet-5",
        "Claude Sonnet 5",
        "sonnet",
        "2026-06-30T00:00:00Z",
        cache_minimum=1024,
        thinking=_OPTIONAL,
    ),
    Model("claude-fable-5", "Claude Fable 5", "fable", "2026-06-09T00:00:00Z"),
    Model("claude-mythos-5", "Claude Mythos 5", "mythos", "2026-06-09T00:00:00Z"),
    Model(
        "claude-opus-5",
        "Claude Opus 5",
        "opus",
        "2026-07-24T00:00:00Z",
        thinking=_OPTIONAL,
        disabled_until="high",
        fast=True,
    ),
    Model(
        "claude-opus-4-8",
        "Claude Opus 4.8",
        "opus",
        "2026-05-28T00:00:00Z",
        cache_minimum=1024,
        thinking=_OPTIONAL,
        thinks_unasked=False,
        fast=True,
    ),
    Model(
        "claude-opus-4-7",
        "Claude Opus 4.7",
        "opus",
        "2026-04-16T00:00:00Z",
        cache_minimum=2048,
        thinking=_OPTIONAL,
        thinks_unasked=False,
    ),
    Model(
        "claude-mythos-preview",
        "Claude Mythos Preview",
        "mythos",
        "2026-04-07T00:00:00Z",
        cache_minimum=2048,
        forced_choice=False,
    ),
    _family_46(
        Model("claude-opus-4-6", "Claude Opus 4.6", "opus", "2026-02-05T00:00:00Z", cache_minimum=4096),
    ),
    _family_46(
        Model("claude-sonnet-4-6", "Claude Sonnet 4.6", "sonnet", "2026-02-17T00:00:00Z", cache_minimum=1024),
    ),
    _older(
        Model(
            "claude-opus-4-5-20251101",
            "Claude Opus 4.5",
            "opus",
            "2025-11-24T00:00:00Z",
            cache_minimum=4096,
            efforts=_UNTIL_HIGH,
            aliases=("claude-opus-4-5",),
        )
    ),
    _older(
        Model(
            "claude-haiku-4-5-20251001",
            "Claude Haiku 4.5",
            "haiku",
            "2025-10-15T00:00:00Z",
            cache_minimum=4096,
            efforts=(),
            keeps_thinking=False,
            aliases=("claude-haiku-4-5",),
        )
    ),
    _older(
        Model(
            "claude-sonnet-4-5-20250929",
            "Claude Sonnet 4.5",
            "sonnet",
            "2025-09-29T00:00:00Z",
            cache_minimum=1024,
            efforts=(),
            keeps_thinking=False,
            deprecated_at="2026-05-30T00:00:00Z",
            retires_at="2026-11-30T00:00:00Z",
            aliases=("claude-sonnet-4-5",),
        )
    ),
)

_BY_NAME = {name: model for model in MODELS for name in (model.id, *model.aliases)}


def find(name: str) -> Model:
    """The model of that id or alias.

    Raises:
        NotFound: there is none; the message names the nearest one.
    """
    model = _BY_NAME.get(name)
    if model is None:
        near = difflib.get_close_matches(name[:100], _BY_NAME, 1)
        hint = f" Did you mean {near[0]}?" if near else " GET /v1/models lists those the simulator plays."
        raise NotFound(f"model: {name[:100]}.{hint}")
    return model


def newest_first() -> Sequence[Model]:
    """All models in the order of `GET /v1/models`."""
    return sorted(MODELS, key=lambda model: model.created_at, reverse=True)


def info(model: Model, now_us: int) -> dict[str, Any]:
    """The entry of `GET /v1/models` (shape `ModelInfo`)."""
    lifecycle = model.lifecycle(now_us)
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": model.created_at,
        "line": model.line,
        "lifecycle": lifecycle,
        "deprecated_at": None if lifecycle == "active" else model.deprecated_at,
        "retires_at": None if lifecycle == "active" else model.retires_at,
        "max_input_tokens": model.context,
        "max_tokens": model.max_output,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: Model) -> dict[str, Any]:
    yes, no = {"supported": True}, {"supported": False}
    types = ("adaptive", "between_tools", "disabled", "enabled")
    return {
        "batch": yes,
        "citations": yes,
        "code_execution": no,
        "context_management": {
            "supported": True,
            "clear_thinking_20251015": yes,
            "clear_tool_uses_20250919": yes,
            "compact_20260112": yes,
        },
        "effort": {"supported": bool(model.efforts)}
        | {level: {"supported": level in model.efforts} for level in EFFORTS},
        "image_input": yes,
        "pdf_input": yes,
        "server_tools": {"supported": False, "code_execution": no, "web_search": no},
        "structured_outputs": yes,
        "thinking": {"supported": True, "types": {kind: {"supported": kind in model.thinking} for kind in types}},
    }
