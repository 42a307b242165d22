"""The console's frame over an API that is only told what to answer: what a real one rarely does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from freehold.clock import HandClock
from freehold.console.settings import ConsoleSettings
from freehold.console.site import Site
from freehold.inprocess import AsgiTransport
from tests.console.test_door import Plain

ME = {"id": "apikey_1", "name": "first", "role": "member"}


class Api:
    """Answers by path."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {"/freehold/v1/me": (200, json.dumps(ME).encode())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = self.answers[scope["path"]]
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        if body.endswith(b"broken"):
            raise ConnectionResetError("in the middle")
        await send({"type": "http.response.body", "body": body[5:]})

    def refuses(self, path: str, status: int, message: str) -> None:
        error: Any = {"type": "error", "error": {"type": "api_error", "message": message}}
        self.answers[path] = status, json.dumps(error).encode()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def web(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    site = Site(lambda: api, Plain(), ConsoleSettings(console_secure_cookie=False), HandClock())
    async with httpx2.AsyncClient(transport=AsgiTransport(site), base_url="http://here") as web:
        yield web


async def log_in(web: httpx2.AsyncClient) -> httpx2.Response:
    return await web.post("/console/login", data={"key": "sk-fh-one"}, headers={"origin": "http://here"})


async def test_a_server_that_cannot_look_the_key_up_does_not_call_it_wrong(api: Api, web: httpx2.AsyncClient) -> None:
    api.refuses("/freehold/v1/me", 503, "The database is away.")
    for _ in range(9):  # more than wrong keys would be free
        answered = await log_in(web)
        assert (answered.status_code, "The database is away." in answered.text) == (503, True)
    api.answers["/freehold/v1/me"] = 200, json.dumps(ME).encode()
    assert (await log_in(web)).status_code == 303


async def test_what_breaks_off_is_no_whole_file(api: Api, web: httpx2.AsyncClient) -> None:
    await log_in(web)
    api.answers["/v1/files/file_1/content"] = 200, b"all of it"
    answered = await web.get("/console/files/file_1")
    assert (answered.status_code, answered.content) == (200, b"all of it")
    assert answered.headers["content-disposition"] == 'attachment; filename="file"'
    api.answers["/v1/files/file_1/content"] = 200, b"half of it: broken"
    with pytest.raises(httpx2.RemoteProtocolError):
        await web.get("/console/files/file_1")
    api.refuses("/v1/files/file_1/content", 400, "It was uploaded.")
    assert (await web.get("/console/files/file_1")).status_code == 400


async def test_whoever_changes_the_theme_comes_back_to_the_same_search(api: Api, web: httpx2.AsyncClient) -> None:
    await log_in(web)
    token = (await web.get("/console/agents/new")).text.split('name="token" value="', 1)[1].split('"', 1)[0]
    for came_from, goes_to in (
        ("http://here/console/requests?model=claude&failed=true", "/console/requests?model=claude&failed=true"),
        ("http://here/console?span=week", "/console?span=week"),
        ("http://here/consoles?x=1", "/console"),
    ):
        sent = {"token": token, "theme": "dark"}
        headers = {"origin": "http://here", "referer": came_from}
        answered = await web.post("/console/preferences", data=sent, headers=headers)
        assert answered.headers["location"] == goes_to


async def test_more_keys_than_one_page_are_a_page_further(api: Api, web: httpx2.AsyncClient) -> None:
    key = {**ME, "workspace_id": "wrkspc_1", "hint": "abcd", "created_at": "2026-11-29T06:00:00Z", "revoked_at": None}
    api.answers["/freehold/v1/me"] = 200, json.dumps({**key, "role": "admin"}).encode()
    api.answers["/freehold/v1/keys"] = 200, json.dumps({"data": [key], "next_page": "p 2"}).encode()
    for path in ("/freehold/v1/budgets", "/freehold/v1/workspaces"):
        api.answers[path] = 200, b'{"data": []}'
    await log_in(web)
    assert 'href="/console/keys?page=p%202"' in (await web.get("/console/keys")).text
