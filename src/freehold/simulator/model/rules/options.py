"""Rules of the request's own fields: what is played here, limits, sampling, effort, speed, region, breakpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freehold.errors import InvalidRequest, NotBuilt
from freehold.simulator.model.request import Request

_NOT_PLAYED = (
    "billing_policy",
    "compaction",
    "container",
    "fallback_credit_token",
    "fallbacks",
    "mcp_servers",
)
_PLAYED = (
    "cache_control",
    "context_management",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "thread",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
)
_KNOWN = frozenset(_PLAYED + _NOT_PLAYED)
_MOST_MESSAGES = 100_000


def check(request: Request) -> None:
    """See the module."""
    _fields(request.body)
    _sizes(request)
    _sampling(request)
    _effort(request)
    _speed_and_region(request)
    _stop_sequences(request)
    _breakpoints(request)


def _fields(body: Mapping[str, Any]) -> None:
    if body.get("thread") is not None:
        # The SDK's tool runner sends its whole history again when it reads this code, and goes on without threads.
        raise InvalidRequest(
            "thread: message threads are not supported for this request. Send the whole conversation without `thread`.",
            details={"error_code": "thread_unsupported_request"},
        )
    for name, value in body.items():
        if name not in _KNOWN:
            raise InvalidRequest(f"{name[:100]}: Extra inputs are not permitted")
        if name in _NOT_PLAYED and value is not None:
            raise NotBuilt(f"{name}: the simulator does not play this field. Leave it out.")


def _sizes(request: Request) -> None:
    model = request.model
    if request.max_tokens < 0:
        raise InvalidRequest("max_tokens: Input should be greater than or equal to 0")
    if request.max_tokens > model.max_output:
        raise InvalidRequest(
            f"max_tokens: {request.max_tokens} > {model.max_output}, which is the maximum allowed number of output "
            f"tokens for {request.asked_model}"
        )
    if len(request.body["messages"]) > _MOST_MESSAGES:
        raise InvalidRequest(f"messages: List should have at most {_MOST_MESSAGES} items")
    if request.max_tokens == 0 and request.stream:
        raise InvalidRequest("max_tokens: 0 warms the cache and generates nothing; it cannot be streamed")
    if request.max_tokens == 0 and request.choice.type in ("any", "tool"):
        raise InvalidRequest("max_tokens: 0 generates nothing, so tool_choice cannot force a tool")


def _sampling(request: Request) -> None:
    body = request.body
    for name, lowest, highest, default in (("temperature", 0, 1, 1), ("top_p", 0, 1, None), ("top_k", 0, 500, None)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise InvalidRequest(f"{name}: Input should be a number from {lowest} to {highest}")
        if not request.model.sampling and value != default:
            raise InvalidRequest(f"{name}: `{name}` is not supported by {request.asked_model}; leave it out")
        if request.body.get("thinking") and request.thinking.on and name == "temperature" and value != 1:
            raise InvalidRequest("`temperature` may only be set to 1 when thinking is enabled.")


def _effort(request: Request) -> None:
    effort = (request.body.get("output_config") or {}).get("effort")
    if effort is None:
        return
    if not request.model.efforts:
        raise InvalidRequest(
            f"output_config.effort: This model does not support the effort parameter: {request.asked_model}"
        )
    if effort not in request.model.efforts:
        allowed = ", ".join(request.model.efforts)
        raise InvalidRequest(
            f"output_config.effort: {effort!r} is not supported by {request.asked_model}; it takes {allowed}"
        )


def _speed_and_region(request: Request) -> None:
    if request.speed == "fast" and not request.model.fast:
        raise InvalidRequest(f"speed: fast mode is not supported by {request.asked_model}")
    if request.geo is not None and request.geo not in ("us", "global"):
        raise InvalidRequest(f"inference_geo: {request.geo[:40]!r} is not a known region; use 'us' or 'global'")
    if request.geo is not None and not request.model.regional:
        raise InvalidRequest(f"inference_geo: not supported by {request.asked_model}")
    if request.body.get("service_tier") not in (None, "auto", "standard_only"):
        raise InvalidRequest("service_tier: Input should be 'auto' or 'standard_only'")


def _stop_sequences(request: Request) -> None:
    for index, sequence in enumerate(request.stop_sequences):
        if not sequence.strip():
            raise InvalidRequest(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")


def markers(request: Request) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Every `cache_control` in the order of the prefix (tools, system, messages): path, block, marker.

    One on a block inside a tool result is at its own place too.
    """
    for index, tool in enumerate(request.tools):
        if tool.get("cache_control"):
            yield f"tools.{index}", tool, tool["cache_control"]
    for placed in request.system:
        if placed.block.get("cache_control"):
            yield placed.path, placed.block, placed.block["cache_control"]
    for turn in request.turns:
        for placed in turn.placed:
            if placed.block.get("cache_control"):
                yield placed.path, placed.block, placed.block["cache_control"]
            content = placed.block.get("content") if placed.type == "tool_result" else None
            for at, inner in enumerate(content if isinstance(content, list) else ()):
                if inner.get("cache_control"):
                    yield f"{placed.path}.content.{at}", inner, inner["cache_control"]


def _breakpoints(request: Request) -> None:
    found = list(markers(request))
    total = len(found) + (1 if request.cache_control else 0)
    if total > 4 and len(found) <= 4:
        raise InvalidRequest(
            "cache_control: automatic caching needs one of the 4 breakpoints, and 4 blocks carry cache_control already."
        )
    if total > 4:
        raise InvalidRequest(f"A maximum of 4 blocks with cache_control may be provided. Found {total}.")
    short_before = ""
    for path, block, marker in found:
        if block.get("type") in ("thinking", "redacted_thinking"):
            raise InvalidRequest(f"{path}.cache_control: Extra inputs are not permitted")
        if block.get("type") == "text" and not block["text"]:
            raise InvalidRequest(f"{path}: cache_control cannot be set for empty text blocks")
        if (marker.get("ttl") or "5m") == "5m":
            short_before = path
        elif short_before:
            raise InvalidRequest(
                f"{path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                f"cache_control block ({short_before}). Blocks are processed in the order tools, system, messages."
            )
