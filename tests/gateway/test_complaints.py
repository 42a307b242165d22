"""What users of other gateways complain of, where it could happen here and no other test names it."""

from __future__ import annotations

import json

from tests.gateway.house import BODY, ENDING, PING, START, ask, event, gateway, stream_all, whole
from tests.scripted_upstream import Line, Request

STREAM_BODY = json.dumps({**BODY, "stream": True}).encode()
TOOL_STREAM = [
    START,
    event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}),
    event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "ZGF0YQ=="}),
    event("content_block_stop", index=0),
    event(
        "content_block_start", index=1, content_block={"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    ),
    PING,
    *(
        event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": part})
        for part in ('{"pa', 'th": ', '"a.py"}')
    ),
    event("content_block_stop", index=1),
    *ENDING[1:],
]


async def test_cache_control_and_betas_reach_the_upstream_to_the_byte() -> None:
    """Complaint #15, #19, #20: scope and ttl of a breakpoint, and `anthropic-beta`, are the upstream's to judge."""
    control = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
    system = [{"type": "text", "text": "x", "cache_control": control}]
    body = json.dumps({**BODY, "system": system, "a_field_of_2030": 1e2}).encode()
    async with gateway(whole) as house:
        await ask(house, body, "anthropic-beta: one-2030-01-01,two-2030-01-01")
        (request,) = house.upstream.requests
        assert request.body == body
        assert request.header("anthropic-beta") == "one-2030-01-01,two-2030-01-01"


async def test_tool_input_and_signatures_stream_through_to_the_byte() -> None:
    """Complaint #16, #17, #18, #21: every `input_json_delta`, ping and signature, in order, and nothing besides."""

    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for data in TOOL_STREAM:
            await line.chunk(data)
        await line.chunk(b"")

    async with gateway(script) as house:
        assert (await ask(house, STREAM_BODY))[2] == b"".join(TOOL_STREAM)


async def test_a_connection_is_used_again_after_a_stream_that_was_read_to_its_end() -> None:
    """Complaint #23: and the next answer on it begins where it should."""
    async with gateway(stream_all) as house:
        first = (await ask(house, STREAM_BODY))[2]
        house.upstream.script = whole
        status, _, _ = await ask(house)
        assert status == 200
        assert first.endswith(ENDING[-1])
        assert [request.connection for request in house.upstream.requests] == [0, 0]


async def test_a_streams_last_usage_wins_over_its_first() -> None:
    """Complaint #31, #32: cache writes that grow during the answer are billed, and none of them twice."""
    usage = {"input_tokens": 25, "output_tokens": 9, "cache_creation_input_tokens": 70, "cache_read_input_tokens": 5}
    late = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)

    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for data in (START, late, ENDING[-1]):
            await line.chunk(data)
        await line.chunk(b"")

    async with gateway(script) as house:
        await ask(house, STREAM_BODY)
        row = await house.row()
        assert (row.input_tokens, row.cache_write_5m_tokens, row.cache_read_tokens) == (25, 70, 5)
        assert (row.output_tokens, row.usage_known) == (9, "exact")
