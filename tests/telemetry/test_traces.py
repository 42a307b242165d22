"""Traces, metrics and logs against a real receiver of OTLP; in the caller's trace, without any content or secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import pytest

from freehold.clock import HandClock
from freehold.launch import ServerProcess
from freehold.telemetry.calls import CallMetrics
from freehold.telemetry.exports import Exports
from freehold.telemetry.otlp import Collector, Refused
from freehold.telemetry.protobuf import request
from freehold.telemetry.settings import TelemetrySettings, headers_of
from freehold.telemetry.spans import Place, Span, is_chosen, new_place, place_of
from freehold.telemetry.traceparent import header, parsed
from freehold.telemetry.turns import Turns
from tests.telemetry.collector import Collected, collecting, seen

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


@dataclass(frozen=True, slots=True)
class Event:
    """As it was written."""

    type: str
    body: str


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
        "FREEHOLD_OTLP_METRICS_S": "0.5",
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


def test_metrics_of_calls_come_too_and_agree_with_the_server_s_own(
    client: Any, collected: Collected, server: ServerProcess
) -> None:
    for _ in range(3):
        client.messages.create(**{**CALL, "model": "claude-opus-4-8"})
    model = {"gen_ai__response__model": "claude-opus-4-8"}
    collected.until(lambda seen: seen.metrics and seen.metrics["freehold.calls"].total(**model) == 3)
    found = collected.metrics
    assert found["gen_ai.server.request.duration"].total(**model) == 3
    assert found["gen_ai.server.request.duration"].unit == "s"
    used = client.get("/freehold/v1/usage?by[]=model", cast_to=object)["data"]
    [row] = [row for row in used if row["model"] == "claude-opus-4-8"]
    tokens = next(
        value
        for labels, value in found["gen_ai.client.token.usage"].points.items()
        if {("gen_ai.token.type", "output"), ("gen_ai.response.model", "claude-opus-4-8")} <= labels
    )
    assert tokens[:3] == (3, row["output_tokens"], [3])
    assert found["freehold.call.cost"].total(**model) == row["cost_nanodollars"]
    assert all(one.cumulative for name, one in found.items() if name != "freehold.calls.open")
    failed = found["freehold.calls"].total(error__type="529")
    assert failed >= 1 and found["freehold.calls"].total() > failed


def test_a_box_that_was_opened_is_a_span_of_its_session(client: Any, collected: Collected) -> None:
    tools: Any = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_allow"}}}
    agent = client.beta.agents.create(name="runs", model="claude-sonnet-5-5", tools=[tools])
    session = client.beta.sessions.create(agent=agent.id, environment_id=client.beta.environments.list().data[0].id)
    text = {"type": "text", "text": "Please run\n```bash\necho hi\n```"}
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": [text]}])
        for event in stream:
            if event.type == "session.status_idle":
                break
    box = collected.wait("open_box")[0]
    assert box.attributes["gen_ai.conversation.id"] == session.id
    assert not box.failed and box.start_ns < box.end_ns
    tool = collected.wait("execute_tool bash")[0]
    assert tool.trace_id == box.trace_id


def test_nothing_of_what_was_said_and_no_key_is_in_any_span(collected: Collected, server: ServerProcess) -> None:
    everything = b"".join(collected.bodies)
    assert everything
    for hidden in (b"a secret of ours", server.key.encode(), b"7 yuan"):
        assert hidden not in everything


async def nowhere(path: str, body: bytes) -> None:
    raise OSError("there is no collector")


async def test_spans_that_cannot_be_sent_wait_and_the_oldest_go_when_they_are_too_many() -> None:
    got: list[bytes] = []
    away = True

    async def post(path: str, body: bytes) -> None:
        if away:
            raise OSError("away")
        got.append(body)

    collector = Collector(post, {"service.name": "x"}, "1")
    for number in range(9000):
        collector(Span(f"span {number}", new_place(), None, number, number + 1))
    await collector.close()
    away = False
    await collector.close()
    found = [span for body in got for span in seen(body)]
    assert [found[0].name, found[-1].name, len(found)] == ["span 808", "span 8999", 8192]


async def test_a_collector_that_is_away_is_not_asked_more_often_the_more_wait(caplog: pytest.LogCaptureFixture) -> None:
    asked = 0

    async def post(path: str, body: bytes) -> None:
        nonlocal asked
        asked += 1
        raise OSError("away")

    collector = Collector(post, {}, "0")
    span = Span("chat", new_place(), None, 1, 2)
    running = asyncio.create_task(collector.run())
    for _ in range(2000):
        collector(span)
        await asyncio.sleep(0)
    running.cancel()
    assert asked == 1
    assert [record.message for record in caplog.records] == ["the collector takes no spans now, newest ones wait: away"]


async def test_what_a_collector_refuses_is_not_sent_again() -> None:
    sent: list[bytes] = []

    async def post(path: str, body: bytes) -> None:
        sent.append(body)
        if len(sent) == 1:
            raise Refused("answered 400")

    collector = Collector(post, {}, "0")
    for number in range(600):
        collector(Span(f"span {number}", new_place(), None, 1, 2))
    await collector.close()
    assert len(sent) == 2 and b"span 0" in sent[0] and b"span 599" in sent[1] and b"span 0" not in sent[1]


def test_the_newest_turns_are_traced_however_many_never_ended() -> None:
    spans: list[Span] = []
    turns = Turns(spans.append, 1.0)
    at = '{"processed_at": "2026-11-29T06:00:00Z"}'
    for number in range(10_050):
        turns(f"sesn_{number}", 1, [Event("session.status_running", at)])
    turns("sesn_10049", 2, [Event("session.status_idle", at)])
    turns("sesn_0", 2, [Event("session.status_idle", at)])
    assert [span.attributes["gen_ai.conversation.id"] for span in spans] == ["sesn_10049"]


def test_every_kind_of_attribute_is_what_it_was_on_the_other_side() -> None:
    attributes: dict[str, Any] = {
        "text": "ü" * 200, "small": 1, "negative": -5, "large": 1 << 40, "share": 0.25, "yes": True, "no": False,
        "list": ("a", "b"), "": "",
    }  # fmt: skip
    span = Span("name", new_place(), new_place(), 5, 1 << 62, "client", attributes, "timeout")
    [found] = seen(request([span], {"service.name": "shop"}, ("freehold", "1")))
    assert found.attributes == {**attributes, "list": ["a", "b"], "error.type": "timeout"}
    assert (found.kind, found.failed, found.service, found.end_ns) == (3, True, "shop", 1 << 62)
    assert found.trace_id == f"{span.place.trace_id:032x}" and found.parent_id == f"{span.parent.span_id:016x}"  # type: ignore[union-attr]


def test_log_lines_come_with_their_ids_and_without_secrets(collected: Collected) -> None:
    exports = Exports(
        TelemetrySettings(otlp_url=collected.url, otlp_metrics_s=0), "1", CallMetrics(), HandClock(), nowhere
    )
    try:
        raise ValueError("the key sk-ant-abcdefghijk")
    except ValueError:
        logging.getLogger("freehold.shop").exception("req_0Vabc failed for sesn_0Vdef with sk-fh-abcdefghijklmnop")
    logging.getLogger("opentelemetry.x").warning("what the exporter says is not sent by itself")
    asyncio.run(exports.close())
    collected.until(lambda seen: seen.logs)
    [line] = collected.logs
    assert (line.severity, line.logger, line.service) == ("ERROR", "freehold.shop", "freehold")
    assert line.body == "req_0Vabc failed for sesn_0Vdef with [key]"
    assert line.attributes["freehold.request_id"] == "req_0Vabc"
    assert line.attributes["gen_ai.conversation.id"] == "sesn_0Vdef"
    assert line.attributes["exception.type"] == "ValueError"
    assert "sk-ant" not in line.attributes["exception.stacktrace"]


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
