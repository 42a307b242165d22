"""`POST /v1/messages` between real sockets: the official SDK in front, a scripted Claude behind."""

from __future__ import annotations

import asyncio
import json
import re

import anthropic
import pytest

from tests.gateway.house import (
    BODY,
    EVENTS,
    KEY,
    MESSAGE,
    MODEL,
    STREAM,
    UPSTREAM_KEY,
    House,
    RawClient,
    ask,
    error_answer,
    gateway,
    stream_all,
    until,
    whole,
)
from tests.scripted_upstream import Line, Request

STREAM_BODY = json.dumps({**BODY, "stream": True}).encode()
EVERYTHING = (
    '{ "model" : "claude-asked-for", "max_tokens":64,"stream":false, "future_field":{"a":[1,2.50,null,1E5]},\n'
    '"metadata":{"user_id":"u1"},"system":[{"type":"text","text":"kurz, bitte","cache_control":{"type":"ephemeral",'
    '"ttl":"1h","scope":"global"}}],"tools":[{"name":"f","input_schema":{"type":"object"},"future_tool_field":1},'
    '{"type":"computer_20251124","name":"computer","display_width_px":1024,"display_height_px":768}],'
    '"thinking":{"type":"adaptive"},"output_config":{"effort":"max","format":{"type":"json_schema","schema":{}}},'
    '"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":'
    '"iVBORw0KGgo="}},{"type":"document","source":{"type":"file","file_id":"file_1"},"citations":{"enabled":true}}]},'
    '{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking",'
    '"data":"ZGF0YQ=="},{"type":"tool_use","id":"toolu_1","name":"f","input":{"x":"caf\\u00e9 \U0001f600"}}]},'
    '{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"ok","future_block_field":true}]}'
    "]}"
).encode()


def header_names(request: Request) -> set[str]:
    return {name.lower() for name, _ in request.headers}


# What passes, passes byte for byte.


async def test_a_request_with_unknown_fields_arrives_byte_for_byte() -> None:
    async with gateway(whole) as house:
        status, _, body = await ask(house, EVERYTHING, "anthropic-beta: future-beta-2030-01-01,context-1m-2025-08-07")
        assert (status, body) == (200, MESSAGE)
        sent = house.upstream.requests[0]
        assert sent.body == EVERYTHING
        assert sent.header("anthropic-beta") == "future-beta-2030-01-01,context-1m-2025-08-07"


async def test_a_stream_leaves_byte_for_byte_pings_included() -> None:
    async with gateway(stream_all) as house:
        status, headers, body = await ask(house, STREAM_BODY)
        assert (status, body) == (200, STREAM)
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert headers["request-id"] == "req_upstream"
        assert headers["x-freehold-upstream"] == "claude"
        assert headers["x-freehold-model"] == MODEL
        assert "x-freehold-cost-nanodollars" not in headers


async def test_every_event_leaves_as_soon_as_it_is_whole() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for data in EVENTS:
            for half in (data[:7], data[7:]):
                await line.chunk(half)
            await asyncio.wait_for(seen.acquire(), 60)
        await line.chunk(b"")

    seen = asyncio.Semaphore(0)
    async with gateway(script) as house, RawClient.connected(house.url) as raw:
        await raw.post(STREAM_BODY)
        await raw.head()
        came = b""
        async for chunk in raw.chunks():
            came += chunk
            assert came == b"".join(EVENTS[: came.count(b"\n\n")])
            seen.release()
        assert came == STREAM


async def test_the_upstreams_headers_are_handed_on_and_its_own_affairs_are_not() -> None:
    async with gateway(whole) as house:
        _, headers, _ = await ask(house)
        assert headers["request-id"] == "req_upstream"
        assert headers["anthropic-ratelimit-requests-remaining"] == "3999"
        assert headers["anthropic-organization-id"] == "org_upstream"
        assert headers["anthropic-workspace-id"] == "wrkspc_one"
        assert "set-cookie" not in headers
        assert headers.get("server") != "cloudflare"


async def test_credentials_and_our_own_headers_stay_here() -> None:
    async with gateway(whole) as house:
        await ask(
            house,
            None,
            "x-freehold-task-type: summary",
            "x-freehold-user-id: u1",
            "x-freehold-source: tests",
            "x-freehold-fault: 529",
            "x-request-source: tests",
            "cookie: session=1",
            "connection: keep-alive, x-of-this-hop",
            "x-of-this-hop: 1",
            "proxy-authorization: Basic x",
            "accept-encoding: gzip",
            "anthropic-version: 2023-06-01",
            "x-trace: 1",
        )
        sent = house.upstream.requests[0]
        assert not {name for name in header_names(sent) if name.startswith("x-freehold-")}
        assert not header_names(sent) & {"cookie", "proxy-authorization", "authorization", "x-of-this-hop"}
        assert sent.header("x-api-key") == UPSTREAM_KEY
        assert sent.header("accept-encoding") == "identity"
        assert (sent.header("anthropic-version"), sent.header("x-trace")) == ("2023-06-01", "1")
        assert KEY not in str(sent.headers)
        assert [name.lower() for name, _ in sent.headers].count("host") == 1


async def test_the_query_is_handed_on() -> None:
    async with gateway(whole) as house:
        await house.sdk().beta.messages.create(**BODY, extra_query={"beta": "true"})
        assert house.upstream.requests[0].line == "POST /v1/messages?beta=true HTTP/1.1"


async def test_a_request_of_32_megabytes_passes() -> None:
    picture = "A" * (32 * 1024 * 1024 - 400)
    body = json.dumps({**BODY, "messages": [{"role": "user", "content": picture}]}).encode()
    async with gateway(whole) as house:
        status, _, _ = await ask(house, body)
        assert status == 200
        assert house.upstream.requests[0].body == body


# The official SDK, strict, sync and async.


async def test_the_sdk_gets_a_message_with_its_request_id() -> None:
    async with gateway(whole) as house:
        message = await house.sdk().messages.create(**BODY)
        assert message.content[0].type == "text"
        assert message.usage.output_tokens == 30
        assert message._request_id == "req_upstream"


async def test_the_sdk_streams() -> None:
    async with gateway(stream_all) as house:
        async with house.sdk().messages.stream(**BODY) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            message = await stream.get_final_message()
        assert text == "Once upon a time"
        assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 30)


async def test_the_sync_sdk_does_both() -> None:
    def talk(house: House) -> tuple[str, str]:
        with house.sync_sdk() as client:
            house.upstream.script = whole
            message = client.messages.create(**BODY)
            house.upstream.script = stream_all
            with client.messages.stream(**BODY) as stream:
                return message.id, "".join(stream.text_stream)

    async with gateway(whole) as house:
        assert await asyncio.to_thread(talk, house) == ("msg_01", "Once upon a time")


async def test_the_sdk_counts_tokens() -> None:
    async def count(_: Request, line: Line) -> None:
        await line.answer(200, b'{"input_tokens": 2095}')

    async with gateway(count) as house:
        counted = await house.sdk().messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "x"}])
        assert counted.input_tokens == 2095
        assert house.upstream.requests[0].line == "POST /v1/messages/count_tokens HTTP/1.1"
        row = await house.row()
        assert (row.route, row.status, row.usage_known, row.error_type) == ("count_tokens", 200, "none", None)


@pytest.mark.parametrize("key_header", ["api_key", "auth_token"])
async def test_both_ways_to_send_a_key_are_taken(key_header: str) -> None:
    async with gateway(whole) as house:
        given = {"api_key": None, "auth_token": None, key_header: KEY}
        assert await house.sdk(**given).messages.create(**BODY)


# Errors.

ERRORS = [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (401, "authentication_error", anthropic.AuthenticationError),
    (402, "billing_error", anthropic.APIStatusError),
    (403, "permission_error", anthropic.PermissionDeniedError),
    (404, "not_found_error", anthropic.NotFoundError),
    (413, "request_too_large", anthropic.APIStatusError),
    (429, "rate_limit_error", anthropic.RateLimitError),
    (500, "api_error", anthropic.InternalServerError),
    (504, "timeout_error", anthropic.InternalServerError),
    (529, "overloaded_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind", "error_class"), ERRORS)
async def test_an_error_of_the_upstream_leaves_as_it_came(
    status: int, kind: str, error_class: type[anthropic.APIStatusError]
) -> None:
    hints = ("retry-after: 7", "x-should-retry: false", "anthropic-ratelimit-requests-remaining: 0")
    async with gateway(error_answer(status, kind, *hints)) as house:
        with pytest.raises(error_class) as caught:
            await house.sdk().messages.create(**BODY)
        answer = caught.value.response
        assert caught.value.status_code == status
        assert answer.json() == {
            "type": "error",
            "error": {"type": kind, "message": "no"},
            "request_id": "req_upstream",
        }
        assert (answer.headers["request-id"], answer.headers["retry-after"]) == ("req_upstream", "7")
        assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"
        row = await house.row()
        assert (row.status, row.error_type, row.upstream_request_id) == (status, kind, "req_upstream")


REFUSED = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", "must be a JSON object"),
    (b'{"model":"m","messages":"\xff"}', "not UTF-8"),
    (b'{"messages":[]}', "model: Field required"),
    (b'{"model":7,"messages":[]}', "model: must be a string"),
    (b'{"model":"","messages":[]}', "model: must not be empty"),
    (b'{"model":"m"}', "messages: Field required"),
    (b'{"model":"m","messages":[],"stream":"yes"}', "stream: must be true or false"),
    (b"[" * 100_000, "body"),
]


@pytest.mark.parametrize(("body", "why"), REFUSED)
async def test_what_we_cannot_route_is_a_400_and_a_row(body: bytes, why: str) -> None:
    async with gateway(whole) as house:
        status, headers, answer = await ask(house, body)
        error = json.loads(answer)
        assert (status, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error")
        assert why in error["error"]["message"]
        assert error["request_id"] == headers["request-id"]
        assert re.fullmatch(r"req_\w{24}", headers["request-id"])
        row = await house.row()
        assert (row.status, row.error_type, row.attempts) == (400, "invalid_request_error", 0)
        assert (row.key_id, row.id) == ("apikey_member", headers["request-id"])
        assert not house.upstream.requests


async def test_a_call_without_a_key_is_a_401_and_a_row_of_nobody() -> None:
    async with gateway(whole) as house:
        with pytest.raises(anthropic.AuthenticationError):
            await house.sdk(api_key="sk-wrong").messages.create(**BODY)
        row = await house.row()
        assert (row.status, row.error_type, row.workspace_id) == (401, "authentication_error", None)
        assert not house.upstream.requests


async def test_a_stranger_is_told_nothing_about_a_bad_body() -> None:
    async with gateway(whole) as house, RawClient.connected(house.url) as raw:
        raw.writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{")
        status, _ = await raw.head()
        assert status == 401


async def test_the_key_of_another_workspace_is_a_403() -> None:
    async with gateway(whole) as house:
        with pytest.raises(anthropic.PermissionDeniedError):
            await house.sdk(default_headers={"anthropic-workspace-id": "wrkspc_two"}).messages.create(**BODY)


@pytest.mark.parametrize("name", ["x-freehold-no-such-thing"])
async def test_a_header_of_ours_that_is_not_built_is_a_400_that_names_it(name: str) -> None:
    async with gateway(whole) as house:
        status, _, answer = await ask(house, None, f"{name}: 1")
        assert status == 400
        assert name in json.loads(answer)["error"]["message"]


async def test_a_label_that_is_too_long_is_a_400() -> None:
    async with gateway(whole) as house:
        status, _, answer = await ask(house, None, "x-freehold-task-type: " + "x" * 65)
        assert status == 400
        assert "x-freehold-task-type" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("sends_all", [True, False])
async def test_a_body_over_the_limit_is_a_413_and_the_server_goes_on(sends_all: bool) -> None:
    async with gateway(whole, body_limit_bytes=100_000) as house:
        async with RawClient.connected(house.url) as raw:
            if sends_all:
                await raw.post(b"x" * 100_001)
            else:
                head = (
                    f"POST /v1/messages HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                raw.writer.write(head.encode() + b"%x\r\n%s\r\n" % (100_001, b"x" * 100_001))
            status, headers = await raw.head()
            assert status == 413
            assert json.loads(await raw.body(headers))["error"]["type"] == "request_too_large"
        assert (await ask(house))[0] == 200
        assert (await house.row()).status == 413


async def test_a_compressed_body_is_a_400_that_says_so() -> None:
    async with gateway(whole) as house:
        status, _, answer = await ask(house, b"\x1f\x8b", "content-encoding: gzip")
        assert status == 400
        assert json.loads(answer)["error"]["details"] == {"error_code": "request_body_encoding_unsupported"}


@pytest.mark.parametrize("begun", [b"", b"{"])
async def test_a_body_that_never_comes_is_given_up(begun: bytes) -> None:
    async with gateway(whole, body_patience_s=0.05) as house, RawClient.connected(house.url) as raw:
        head = f"POST /v1/messages HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: 9\r\n\r\n"
        raw.writer.write(head.encode() + begun)
        status, headers = await raw.head()
        assert status == 400
        error = json.loads(await raw.body(headers))["error"]
        assert error["details"] == {"error_code": "request_body_timeout"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_another_method_is_a_405(method: str) -> None:
    async with gateway(whole) as house, RawClient.connected(house.url) as raw:
        raw.writer.write(f"{method} /v1/messages HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        status, headers = await raw.head()
        assert (status, dict(headers)["allow"]) == (405, "POST")
        assert json.loads(await raw.body(headers))["error"]["type"] == "invalid_request_error"


async def test_an_upstream_that_is_away_is_a_502_without_its_address() -> None:
    async with gateway(whole) as house:
        port = house.upstream.port
        await house.upstream.close()
        status, _, answer = await ask(house)
        await house.upstream.open()
        assert status == 502
        assert json.loads(answer)["error"]["type"] == "api_error"
        assert str(port) not in answer.decode() and "127.0.0.1" not in answer.decode()


# A stream that breaks, and a client that leaves.


async def test_a_stream_that_is_cut_ends_with_an_error_event() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"".join(EVENTS[:5]) + EVENTS[5][:20])
        line.writer.close()

    async with gateway(script) as house:
        with pytest.raises(anthropic.APIStatusError, match="broke off"):
            async with house.sdk().messages.stream(**BODY) as stream:
                await stream.get_final_message()
        row = await house.row()
        assert (row.status, row.error_type, row.usage_known) == (502, "api_error", "partial")
        assert (row.input_tokens, row.output_tokens) == (25, 1)
        _, _, body = await ask(house, STREAM_BODY)
        whole_events = b"".join(EVENTS[:5])
        assert body.startswith(whole_events + b"event: error\ndata: {")


async def test_the_last_event_without_its_blank_line_still_leaves() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(STREAM[:-1])
        await line.chunk(b"")

    async with gateway(script) as house:
        _, _, body = await ask(house, STREAM_BODY)
        assert body == STREAM[:-1]
        assert (await house.row()).usage_known == "exact"


async def test_a_stream_that_ends_too_early_is_recorded_as_incomplete() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"".join(EVENTS[:5]))
        await line.chunk(b"")

    async with gateway(script) as house:
        _, _, body = await ask(house, STREAM_BODY)
        assert body == b"".join(EVENTS[:5])
        row = await house.row()
        assert (row.status, row.error_type, row.usage_known) == (200, "incomplete_stream", "partial")


PHASES = {"before the answer": 0, "before the first event": 1, "mid-stream": 2, "mid-body": 3}


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES.keys())
async def test_a_client_that_leaves_lets_the_upstream_go_at_once(phase: int) -> None:
    gone = asyncio.Event()

    async def script(_: Request, line: Line) -> None:
        if phase in (1, 2):
            await line.begin_stream()
        if phase == 2:
            await line.chunk(b"".join(EVENTS[:4]))
        if phase == 3:
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{")
        assert await line.closed_by_peer()
        gone.set()

    async with gateway(script) as house:
        async with RawClient.connected(house.url) as raw:
            await raw.post(STREAM_BODY)
            await house.upstream.arrived(1)
            if phase in (1, 2):
                await raw.head()
            if phase == 2:
                await anext(raw.chunks())
            raw.leave()
            async with asyncio.timeout(60):
                await gone.wait()
        row = await house.row()
        assert (row.status, row.error_type) == (499, "client_left")
        assert row.usage_known == ("partial" if phase == 2 else "none")
        await until(lambda: house.client.open_connections == 0)
        house.upstream.script = whole
        assert (await ask(house))[0] == 200


async def test_a_client_that_leaves_while_sending_leaves_nothing_behind() -> None:
    async with gateway(whole) as house:
        async with RawClient.connected(house.url) as raw:
            raw.writer.write(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
            await raw.writer.drain()
        assert (await ask(house))[0] == 200
        assert len(house.rows) == 1


async def test_a_slow_client_holds_the_upstream_back() -> None:
    sent = 0

    async def script(_: Request, line: Line) -> None:
        nonlocal sent
        await line.begin_stream()
        await line.chunk(EVENTS[0] + EVENTS[1])
        for _n in range(3000):
            await line.chunk(b"event: x\ndata: " + b"a" * 10_000 + b"\n\n")
            sent += 1
        await line.chunk(b"")

    async with gateway(script) as house, RawClient.connected(house.url) as raw:
        await raw.post(STREAM_BODY)
        await until(lambda: sent > 5)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 2900
        _, headers = await raw.head()
        assert len(await raw.body(headers)) > 30_000_000


# The record.


async def test_a_whole_answer_is_recorded_to_the_token() -> None:
    async with gateway(whole) as house:
        labels = {
            "x-freehold-task-type": "summary",
            "x-freehold-user-id": "u-42",
            "x-freehold-source": "batch-job",
            "x-request-source": "not this",
        }
        answer = await house.sdk(default_headers=labels).messages.with_raw_response.create(**BODY)
        row = await house.row()
        assert (row.workspace_id, row.key_id, row.session_id) == ("wrkspc_one", "apikey_member", None)
        assert (row.task_type, row.user_id, row.source) == ("summary", "u-42", "batch-job")
        assert (row.route, row.model_asked, row.model_answered) == ("messages", MODEL, MODEL)
        assert (row.upstream, row.streamed, row.status, row.error_type) == ("claude", False, 200, None)
        assert (row.stop_reason, row.attempts, row.usage_known) == ("end_turn", 1, "exact")
        assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (25, 30, 0)
        assert row.cost_nanodollars == 25 * 5000 + 30 * 25_000
        assert answer.headers["x-freehold-cost-nanodollars"] == str(row.cost_nanodollars)
        assert answer.headers["x-freehold-model"] == MODEL
        assert row.price_version is not None and row.price_version.startswith("genai-prices")
        assert row.upstream_request_id == "req_upstream" and row.id.startswith("req_")
        assert row.first_byte_us is not None and 0 < row.first_byte_us <= row.latency_us


async def test_a_stream_is_recorded_with_its_last_usage() -> None:
    async with gateway(stream_all) as house:
        await ask(
            house,
            json.dumps({**BODY, "stream": True, "metadata": {"user_id": "u-7"}}).encode(),
            "x-request-source: ide",
        )
        row = await house.row()
        assert (row.streamed, row.status, row.usage_known, row.stop_reason) == (True, 200, "exact", "end_turn")
        assert (row.input_tokens, row.output_tokens) == (25, 30)
        assert row.cost_nanodollars == 25 * 5000 + 30 * 25_000
        assert (row.user_id, row.source) == ("u-7", "ide")


async def test_the_first_byte_is_that_of_the_first_event_not_of_the_end() -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"".join(EVENTS[:4]))
        await go.wait()
        await line.chunk(b"".join(EVENTS[4:]))
        await line.chunk(b"")

    go = asyncio.Event()
    async with gateway(script) as house, RawClient.connected(house.url) as raw:
        await raw.post(STREAM_BODY)
        await raw.head()
        chunks = raw.chunks()
        await anext(chunks)
        asyncio.get_running_loop().call_later(0.05, go.set)
        async for _chunk in chunks:
            pass
        row = await house.row()
        assert row.first_byte_us is not None
        assert row.latency_us - row.first_byte_us > 40_000


async def test_text_from_outside_always_fits_its_column() -> None:
    body = json.dumps({**BODY, "model": "m\0" * 300, "metadata": {"user_id": "\0" + "u" * 999}}).encode()
    async with gateway(error_answer(404, "not_found_error")) as house:
        await ask(house, body)
        row = await house.row()
        assert row.model_asked is not None and len(row.model_asked) <= 128 and "\0" not in row.model_asked
        assert row.user_id is not None and len(row.user_id) <= 256 and "\0" not in row.user_id


# Aliases.


async def test_an_alias_changes_the_model_and_no_other_byte() -> None:
    async with gateway(whole, aliases={"claude-asked-for": 'llama3.2:"latest"'}, prefix="/api") as house:
        await ask(house, EVERYTHING)
        sent = house.upstream.requests[0]
        assert sent.line == "POST /api/v1/messages HTTP/1.1"
        assert sent.body == EVERYTHING.replace(b'"claude-asked-for"', b'"llama3.2:\\"latest\\""')
        row = await house.row()
        assert (row.model_asked, row.model_answered) == ("claude-asked-for", MODEL)
