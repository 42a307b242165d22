"""Messages as the API may answer them, for hypothesis: blocks that are streamed in pieces, and some that come whole."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text("abcdefgh_", min_size=1, max_size=8)
counts = st.integers(0, 10**7)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(texts, json_values, max_size=4)

citations = st.fixed_dictionaries(
    {
        "type": st.just("char_location"),
        "cited_text": texts,
        "document_index": counts,
        "document_title": st.none() | texts,
        "start_char_index": counts,
        "end_char_index": counts,
        "file_id": st.none(),
    }
)

ga_blocks = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": texts, "citations": st.none() | st.lists(citations, max_size=3)}
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts, "signature": texts}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": texts}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": names, "name": names, "input": inputs}),
    st.fixed_dictionaries(
        {"type": st.just("server_tool_use"), "id": names, "name": st.just("web_search"), "input": inputs}
    ),
    st.fixed_dictionaries({"type": st.just("container_upload"), "file_id": names}),
)

beta_blocks = ga_blocks | st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("mcp_tool_use"), "id": names, "name": names, "server_name": names, "input": inputs}
    ),
    st.fixed_dictionaries(
        {"type": st.just("compaction"), "content": st.none() | texts, "encrypted_content": st.none() | texts}
    ),
    st.fixed_dictionaries(
        {"type": st.just("compaction"), "content": texts, "encrypted_content": st.none(), "signature": texts}
    ),
)

usages = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts},
    optional={
        "cache_creation": st.fixed_dictionaries(
            {"ephemeral_5m_input_tokens": counts, "ephemeral_1h_input_tokens": counts}
        ),
        "cache_read_input_tokens": st.none() | counts,
        "server_tool_use": st.none()
        | st.fixed_dictionaries({"web_search_requests": counts, "web_fetch_requests": counts}),
        "output_tokens_details": st.fixed_dictionaries({"thinking_tokens": counts}),
        "service_tier": st.sampled_from(["standard", "priority", "batch"]),
        "speed": st.sampled_from(["standard", "fast"]),
        "inference_geo": st.sampled_from(["us", "global"]),
    },
).map(lambda usage: _with_sum(usage))


def _with_sum(usage: dict[str, Any]) -> dict[str, Any]:
    """The API gives the sum beside the split."""
    if "cache_creation" in usage:
        usage["cache_creation_input_tokens"] = sum(usage["cache_creation"].values())
    return usage


def messages(blocks: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Whole answers with such blocks."""
    return st.fixed_dictionaries(
        {
            "id": names.map("msg_".__add__),
            "type": st.just("message"),
            "role": st.just("assistant"),
            "model": st.just("claude-sonnet-4-5"),
            "content": st.lists(blocks, max_size=4),
            "stop_reason": st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence"]),
            "stop_sequence": st.none() | texts,
            "stop_details": st.none(),
            "usage": usages,
        },
        optional={
            "container": st.none()
            | st.fixed_dictionaries({"id": names, "expires_at": st.just("2026-11-23T00:00:00Z"), "skills": st.none()})
        },
    )
