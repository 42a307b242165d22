"""Traces against a real receiver of OTLP: calls, attempts, turns, tools; in the caller's trace, without any content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from freehold.launch import ServerProcess
from freehold.telemetry.otlp import headers_of
from freehold.telemetry.spans import Place, is_chosen, new_place, place_of
from freehold.telemetry.traceparent import header, parsed
from tests.telemetry.collector import Collected, collecting

CALL: Any = {
    "model": "claude-haiku-5-5",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "a secret of ours"}],
}
TOOLS = '''
from anthropic import beta_tool

@beta_tool
def get_price(product: str) -> str:
    """Get the price of a product, such as "ink"."""
    return "7 yuan"
'''
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def collected() -> Iterator[Collected]:
    with collecting() as collected:
        yield collected


@pytest.fixture(scope="module")
def server(collected: Collected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "shop.py").write_text(TOOLS, "utf-8")
    environment = {
        "FREEHOLD_OTLP_URL": collected.url,
        "FREEHOLD_OTLP_HEADERS": "x-tenant=tea",
        "FREEHOLD_TRACE_SHARE": "1",
        "FREEHOLD_SERVICE_NAME": "shop",
    }
    arguments = ["--upstream", "simulator"]
    with ServerProcess(
        folder / "data", tools=[folder / "shop.py"], arguments=arguments, environment=environment
    ) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0) as client:
        yield client


def test_a_call_is_a_span_below_its_caller_s_and_its_attempt_one_below_it(client: Any, collected: Collected) -> None:
    answered = client.messages.create(**CALL, extra_headers={"traceparent": CALLER, "x-freehold-task-type": "summary"})
    collected.wait("chat claude-haiku-5-5", 2)
    trace = [span for span in collected.spans if span.trace_id == "0af7651916cd43dd8448eb211c80319c"]
    outer = next(span for span in trace if span.parent_id == "b7ad6b7169203331")
    inner = next(span for span in trace if span.parent_id == outer.span_id)
    assert (outer.kind, inner.kind, outer.service) == (2, 3, "shop")
    known = outer.attributes
    assert known["gen_ai.operation.name"] == "chat"
    assert known["gen_ai.provider.name"] == "anthropic"
    assert known["gen_ai.request.model"] == known["gen_ai.response.model"] == "claude-haiku-5-5"
    assert known["gen_ai.usage.input_tokens"] == answered.usage.input_tokens
    assert known["gen_ai.usage.output_tokens"] == answered.usage.output_tokens
    assert known["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert known["freehold.task_type"] == "summary"
    assert known["freehold.cost_nanodollars"] > 0
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
    assert collected.headers[-1]["x-tenant"] == "tea"


def test_a_streamed_call_ends_with_its_stream(client: Any, collected: Collected) -> None:
    with client.messages.stream(**{**CALL, "model": "claude-opus-5-5"}) as stream:
        final = stream.get_final_message()
    found = [span for span in collected.wait("chat claude-opus-5-5", 2) if not span.failed]
    assert {span.attributes["gen_ai.usage.output_tokens"] for span in found} == {final.usage.output_tokens}


def test_a_failed_call_says_why(client: Any, collected: Collected) -> None:
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**{**CALL, "model": "claude-sonnet-5"}, extra_headers={"x-freehold-fault": "overloaded"})
    spans = collected.wait("chat claude-sonnet-5", 2)
    assert all(span.failed for span in spans)
    assert {span.attributes["error.type"] for span in spans if span.kind == 2} == {"overloaded_error"}


def test_a_caller_that_does_not_trace_is_not_traced(client: Any, collected: Collected) -> None:
    client.messages.create(**{**CALL, "model": "claude-haiku-4-5"}, extra_headers={"traceparent": CALLER[:-2] + "00"})
    client.messages.count_tokens(model="claude-sonnet-5-5", messages=CALL["messages"])
    collected.wait("count_tokens claude-sonnet-5-5")
    assert not [span for span in collected.spans if span.attributes.get("gen_ai.request.model") == "claude-haiku-4-5"]


def test_a_turn_its_tools_and_its_calls_are_one_trace(client: Any, collected: Collected) -> None:
    agent = client.beta.agents.create(
        name="clerk",
        model="claude-sonnet-5-5",
        mcp_servers=[{"type": "url", "name": "shop", "url": "toolbox:shop"}],
        tools=[
            {
                "type": "mcp_toolset",
                "mcp_server_name": "shop",
                "default_config": {"permission_policy": {"type": "always_allow"}},
            }
        ],
    )
    environment = client.beta.environments.create(name="plain")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    text = {"type": "text", "text": 'Please get the price of the product "ink".'}
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": [text]}])
        for event in stream:
            if event.type == "session.status_idle":
                break
    turn = collected.wait("invoke_agent")[0]
    tool = collected.wait("execute_tool get_price")[0]
    assert turn.attributes["gen_ai.conversation.id"] == session.id
    assert turn.attributes["freehold.stop_reason"] == "end_turn"
    assert turn.attributes["freehold.tool_calls"] == 1
    assert tool.parent_id == turn.span_id
    assert turn.start_ns <= tool.start_ns <= tool.end_ns <= turn.end_ns
    calls = [span for span in collected.spans if span.attributes.get("gen_ai.conversation.id") == session.id]
    assert {span.trace_id for span in calls} == {turn.trace_id}
    assert len([span for span in calls if span.kind == 2]) == 2


def test_nothing_of_what_was_said_and_no_key_is_in_any_span(collected: Collected, server: ServerProcess) -> None:
    everything = b"".join(collected.bodies)
    assert everything
    for hidden in (b"a secret of ours", server.key.encode(), b"7 yuan"):
        assert hidden not in everything


def test_a_collector_that_is_away_harms_no_call(tmp_path: Path) -> None:
    environment = {"FREEHOLD_OTLP_URL": "http://127.0.0.1:9", "FREEHOLD_TRACE_SHARE": "1"}
    with (
        ServerProcess(tmp_path, arguments=["--upstream", "simulator"], environment=environment) as server,
        anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0) as client,
    ):
        assert client.messages.create(**CALL).stop_reason == "end_turn"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"00-0-0-01",
        b"ff" + CALLER[2:].encode(),
        b"00-" + b"0" * 32 + CALLER[35:].encode(),
        CALLER.upper().encode(),
    ],
)
def test_a_broken_traceparent_is_nobody_s(value: bytes) -> None:
    assert parsed(value) is None


def test_a_traceparent_comes_back_as_it_went() -> None:
    place = new_place()
    assert parsed(header(place)) == (place, True)
    assert parsed(header(place, traced=False)) == (place, False)
    assert parsed(CALLER.encode()) == (Place(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331), True)


def test_a_share_of_the_traces_is_chosen_and_always_the_same() -> None:
    places = [place_of(f"sesn_{number}") for number in range(4000)]
    chosen = [place for place in places if is_chosen(place, 0.25)]
    assert 850 < len(chosen) < 1150
    assert all(is_chosen(place, 0.5) for place in chosen)
    assert not any(is_chosen(place, 0) for place in places)
    assert all(is_chosen(place, 1) for place in places)


def test_headers_for_the_collector() -> None:
    assert headers_of("a=b, c=d=e") == {"a": "b", "c": "d=e"}
    assert headers_of(None) == {}
