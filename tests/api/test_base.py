"""The frame of the HTTP surface: doors, ids, envelopes, and what happens to a request that is no good."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from freehold.api.base import Application, Request, answer, application, route
from freehold.clock import HandClock
from freehold.errors import Conflict, RateLimited
from tests.api.parts import KEYS, app_of, http
from tests.contract.manifest import shows_difference


async def _echo(request: Request) -> Response:
    return answer({"got": await request.json(), "workspace": request.workspace_id})


async def _breaks(request: Request) -> Response:
    raise ZeroDivisionError("a secret detail")


async def _disk_full(request: Request) -> Response:
    raise OSError(errno.ENOSPC, "No space left on device")


async def _conflict(request: Request) -> Response:
    raise Conflict("changed meanwhile", details={"error_code": "x"})


async def _limited(request: Request) -> Response:
    raise RateLimited("slowly", headers={"retry-after": "7"})


async def _half(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    return StreamingResponse(pieces())


async def _nothing(request: Request) -> Response:
    return answer(None)


ROUTES: list[BaseRoute] = [
    route("POST", "/v1/things", _echo),
    route("POST", "/v1/things/{thing_id}/archive", _echo),
    route("GET", "/v1/breaks", _breaks),
    route("GET", "/v1/full", _disk_full),
    route("GET", "/v1/conflict", _conflict),
    route("GET", "/v1/limited", _limited),
    route("GET", "/v1/half", _half),
    route("GET", "/v1/nothing", _nothing),
    route("GET", "/v1/admin", _nothing, door="admin"),
    route("GET", "/open", _nothing, door="open"),
]


@pytest.fixture
def app() -> Application:
    return app_of(ROUTES)


def envelope(reply: httpx2.Response, status: int, kind: str) -> str:
    """Check that the answer is Claude's error envelope, and give its message."""
    body = reply.json()
    assert reply.status_code == status, body
    assert reply.headers["content-type"] == "application/json"
    assert body["type"] == "error" and body["error"]["type"] == kind
    assert body["request_id"] == reply.headers["request-id"]
    assert body["request_id"].startswith("req_")
    message: str = body["error"]["message"]
    return message


async def test_every_answer_names_its_request_organization_and_workspace(app: Application) -> None:
    async with http(app) as client:
        reply = await client.post("/v1/things", json={"a": 1})
    assert reply.json() == {"got": {"a": 1}, "workspace": "wrkspc_one"}
    assert reply.headers["request-id"].startswith("req_")
    assert reply.headers["anthropic-organization-id"] == "org_freehold"
    assert reply.headers["anthropic-workspace-id"] == "wrkspc_one"
    assert reply.headers["content-type"] == "application/json"


async def test_a_bare_path_is_left_to_its_own_app() -> None:
    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"mine")(scope, receive, send)

    app = application(ROUTES, keys=KEYS, clock=HandClock(), bare={"/v1/things": bare})
    async with http(app, None) as client:
        reply = await client.post("/v1/things", content=b"")
    assert reply.content == b"mine" and "request-id" not in reply.headers


async def test_an_unknown_path_is_404_and_a_wrong_method_405_in_the_envelope(app: Application) -> None:
    async with http(app) as client:
        assert "/v1/nowhere" in envelope(await client.get("/v1/nowhere"), 404, "not_found_error")
        envelope(await client.get("/v1/things/"), 404, "not_found_error")
        wrong = await client.get("/v1/things")
        assert "GET" in envelope(wrong, 405, "invalid_request_error")
        assert wrong.headers["allow"] == "POST"
        assert (await client.head("/v1/nothing")).status_code == 405
        envelope(await client.post("/v1/things/a%00b/archive"), 404, "not_found_error")


@pytest.mark.parametrize("key", [None, "", "sk-wrong"])
async def test_without_a_valid_key_a_request_is_401_before_its_body_is_read(app: Application, key: str | None) -> None:
    async with http(app, key) as client:
        message = envelope(await client.post("/v1/things", content=b"{broken"), 401, "authentication_error")
    assert "x-api-key" in message


async def test_an_open_door_needs_no_key_and_an_admin_door_an_admin_key(app: Application) -> None:
    async with http(app, None) as client:
        assert (await client.get("/open")).status_code == 200
    async with http(app, "sk-member") as client:
        assert "admin" in envelope(await client.get("/v1/admin"), 403, "permission_error")
    async with http(app, "sk-admin") as client:
        assert (await client.get("/v1/admin")).status_code == 200


@shows_difference("another-workspace-in-the-header")
async def test_a_key_of_one_workspace_cannot_ask_for_another(app: Application) -> None:
    async with http(app) as client:
        there = {"anthropic-workspace-id": "wrkspc_two"}
        assert "wrkspc_one" in envelope(await client.get("/v1/nothing", headers=there), 403, "permission_error")
        here = {"anthropic-workspace-id": "wrkspc_one"}
        assert (await client.get("/v1/nothing", headers=here)).status_code == 200


async def test_nothing_is_the_json_null_and_never_an_empty_body(app: Application) -> None:
    async with http(app) as client:
        reply = await client.get("/v1/nothing")
    assert (reply.status_code, reply.content) == (200, b"null")


@pytest.mark.parametrize("body", [b"", b"{}", b"  "])
async def test_an_empty_body_and_an_empty_object_are_the_same(app: Application, body: bytes) -> None:
    async with http(app) as client:
        reply = await client.post("/v1/things/x/archive", content=body, headers={"content-type": "application/json"})
    assert reply.json()["got"] == {}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1,}', "byte 8"),
        (b'{"a": ', "byte 6"),
        (b'{"a":"\xff"}', "at byte 6"),
        (b'{"a":"\\ud800"}', "byte"),
        (b"[1]", "an array"),
        (b'"x"', "a string"),
        (b"null", "null"),
        (b'{"a":NaN}', "byte 5"),
        (b'{"a":1e999}', "out of range"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
    ],
)
async def test_a_body_that_is_no_json_object_is_400_and_says_where(app: Application, body: bytes, said: str) -> None:
    async with http(app) as client:
        assert said in envelope(await client.post("/v1/things", content=body), 400, "invalid_request_error")
        assert (await client.post("/v1/things", content=b"{}")).status_code == 200


async def test_a_compressed_body_or_a_foreign_charset_is_refused_by_code(app: Application) -> None:
    async with http(app) as client:
        packed = await client.post("/v1/things", content=b"{}", headers={"content-encoding": "gzip"})
        envelope(packed, 400, "invalid_request_error")
        assert packed.json()["error"]["details"] == {"error_code": "request_body_encoding_unsupported"}
        latin = await client.post(
            "/v1/things", content=b"{}", headers={"content-type": "application/json; charset=latin-1"}
        )
        assert latin.json()["error"]["details"] == {"error_code": "unsupported_charset"}
        plain = {"content-type": 'application/json; charset="UTF-8"'}
        assert (await client.post("/v1/things", content=b"{}", headers=plain)).status_code == 200


async def test_a_body_that_says_it_is_over_32_mb_is_413_unread(app: Application) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        raise AssertionError("the body must not be read")

    async def send(message: object) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer sk-member"), (b"content-length", b"33554433")]
    await app(_scope("POST", "/v1/things", headers), receive, send)
    assert sent[0]["status"] == 413  # type: ignore[index]


async def test_a_body_without_a_length_is_cut_off_at_32_mb(app: Application) -> None:
    pieces = 0
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b" " * (1 << 20), "more_body": True}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(_scope("POST", "/v1/things", [(b"authorization", b"Bearer sk-member")]), receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["type"] == "request_too_large"  # type: ignore[arg-type]
    assert pieces == 33


async def test_a_body_that_does_not_come_is_given_up() -> None:
    app = app_of(ROUTES, body_patience_s=0.02)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()
        yield b"}"

    never = asyncio.Event()
    async with http(app) as client:
        reply = await client.post("/v1/things", content=trickle())
    envelope(reply, 400, "invalid_request_error")
    assert reply.json()["error"]["details"] == {"error_code": "request_body_timeout"}


async def test_what_breaks_inside_is_500_with_the_id_and_its_traceback_only_in_the_log(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    async with http(app) as client:
        reply = await client.get("/v1/breaks")
    message = envelope(reply, 500, "api_error")
    assert reply.headers["request-id"] in message
    assert "secret" not in reply.text and "ZeroDivision" not in reply.text
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert reply.headers["request-id"] in record.getMessage()
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError


async def test_a_full_disk_is_503_and_says_so(app: Application) -> None:
    async with http(app) as client:
        assert "disk is full" in envelope(await client.get("/v1/full"), 503, "api_error")


async def test_an_error_carries_its_details_and_headers(app: Application) -> None:
    async with http(app) as client:
        conflict = await client.get("/v1/conflict")
        limited = await client.get("/v1/limited")
    envelope(conflict, 409, "conflict_error")
    assert conflict.headers["x-should-retry"] == "false"
    assert conflict.json()["error"]["details"] == {"error_code": "x"}
    assert limited.headers["retry-after"] == "7"


async def test_an_answer_that_breaks_off_half_way_is_not_finished(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    async with http(app) as client:
        with pytest.raises(httpx2.HTTPError):
            await client.get("/v1/half")
    assert "broke off" in caplog.text


async def test_a_client_that_left_before_its_body_was_read_gets_no_answer(app: Application) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    await app(_scope("POST", "/v1/things", [(b"authorization", b"Bearer sk-member")]), receive, send)
    assert sent == []


def _scope(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, object]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }
