"""OAuth at `/mcp`: the official client signs in and is renewed; whatever is not exactly right opens nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from freehold import testing
from freehold.clock import HandClock
from freehold.inprocess import AsgiTransport

TOOLS = '''
from anthropic import beta_tool
from freehold.toolboxes import current_call

@beta_tool
def whoami() -> str:
    """Say with whose key this is called."""
    return current_call().asker.key_id
'''
BASE = "http://in-process"
BACK = "http://127.0.0.1:9/back"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Storage:
    """What the client keeps."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Opens the page that a client sends them to, and types a key."""

    def __init__(self, http: httpx2.AsyncClient, key: str) -> None:
        self.http = http
        self.key = key
        self.answered = ""

    async def sent_to(self, address: str) -> None:
        shown = await self.http.get(address)
        assert shown.status_code == 200 and "toolbox <code>mine</code>" in shown.text
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)">', shown.text))
        form = {name: unescape(value) for name, value in fields.items() if name != "decision"}
        given = await self.http.post(address.partition("?")[0], data={**form, "key": self.key, "decision": "allow"})
        assert given.status_code == 302, given.text
        self.answered = given.headers["location"]

    async def came_back(self) -> AuthorizationCodeResult:
        query = dict(parse_qsl(urlsplit(self.answered).query))
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))


class House:
    """A server with one toolbox, and a browser's way to it."""

    def __init__(self, running: testing.Running, http: httpx2.AsyncClient, key: str, key_id: str) -> None:
        self.running = running
        self.http = http
        self.key = key
        self.key_id = key_id

    async def registered(self, *uris: str) -> str:
        given = await self.http.post("/freehold/oauth/register", json={"redirect_uris": list(uris or (BACK,))})
        assert given.status_code == 201
        return str(given.json()["client_id"])

    def asking(self, client_id: str, **other: str) -> dict[str, str]:
        fields = {"response_type": "code", "client_id": client_id, "redirect_uri": BACK, "state": "s"}
        pkce = {"code_challenge": CHALLENGE, "code_challenge_method": "S256", "resource": f"{BASE}/mcp/mine"}
        return {name: value for name, value in {**fields, **pkce, **other}.items() if value}

    async def asked(self, fields: dict[str, str]) -> httpx2.Response:
        return await self.http.get(f"/freehold/oauth/authorize?{urlencode(fields)}")

    async def decided(self, fields: dict[str, str], key: str, **headers: str) -> httpx2.Response:
        data = {**fields, "key": key, "decision": "allow"}
        return await self.http.post("/freehold/oauth/authorize", data=data, headers=headers)

    async def code(self, client_id: str) -> str:
        given = await self.decided(self.asking(client_id), self.key)
        return dict(parse_qsl(urlsplit(given.headers["location"]).query))["code"]

    async def token(self, **fields: str) -> httpx2.Response:
        return await self.http.post("/freehold/oauth/token", data=fields)

    async def redeemed(self, client_id: str, code: str, other: Mapping[str, str] | None = None) -> httpx2.Response:
        fields = {"client_id": client_id, "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
        return await self.token(**{"grant_type": "authorization_code", **fields, **(other or {})})

    async def opens(self, token: str, toolbox: str = "mine") -> int:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        return (await self.http.post(f"/mcp/{toolbox}", json=body, headers=headers)).status_code


@asynccontextmanager
async def opened(folder: Path, clock: HandClock | None = None, **settings: Any) -> AsyncIterator[House]:
    file = folder / "mine.py"
    file.write_text(TOOLS)
    async with testing.server(tools=[file], clock=clock, settings=settings) as running:
        me: Any = await running.client.get("/freehold/v1/me", cast_to=object)
        body = {"name": "chat", "workspace_id": me["workspace_id"]}
        made: Any = await running.client.post("/freehold/v1/keys", cast_to=object, body=body)
        transport = AsgiTransport(running.application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE, follow_redirects=False, timeout=60) as http:
            yield House(running, http, made["secret"], made["id"])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        yield house


@pytest.fixture
async def timeless(tmp_path: Path) -> AsyncIterator[House]:
    """A house in which no time passes."""
    async with opened(tmp_path, HandClock()) as house:
        yield house


async def test_the_official_client_registers_signs_in_calls_and_is_renewed(house: House) -> None:
    person, storage = Person(house.http, house.key), Storage()
    metadata = OAuthClientMetadata(client_name="A <b>chat</b>", redirect_uris=[AnyUrl(BACK)], scope="mcp")
    auth = OAuthClientProvider(f"{BASE}/mcp/mine", metadata, storage, person.sent_to, person.came_back)
    transport = AsgiTransport(house.running.application.asgi)

    async def called() -> str:
        async with (
            httpx2.AsyncClient(transport=transport, auth=auth, timeout=60) as http,
            Client(streamable_http_client(f"{BASE}/mcp/mine", http_client=http)) as client,
        ):
            result = await client.call_tool("whoami", {})
            return str(result.content[0].text)  # type: ignore[union-attr]

    assert await called() == house.key_id
    assert storage.tokens is not None and storage.tokens.refresh_token
    first = storage.tokens
    assert auth.context.oauth_metadata is not None and str(auth.context.oauth_metadata.issuer).rstrip("/") == BASE
    auth.context.token_expiry_time = 1.0  # the client believes that its token is over
    assert await called() == house.key_id
    assert storage.tokens.access_token != first.access_token and storage.tokens.refresh_token != first.refresh_token
    assert await house.opens(first.access_token) == 401
    headers = {"x-api-key": house.key}
    [grant] = (await house.http.get("/freehold/v1/mcp_grants", headers=headers)).json()["data"]
    assert (grant["toolbox"], grant["key_id"]) == ("mine", house.key_id)
    assert (await house.http.delete(f"/freehold/v1/mcp_grants/{grant['id']}", headers=headers)).status_code == 200
    assert await house.opens(storage.tokens.access_token) == 401


async def test_without_a_token_a_client_is_told_where_to_get_one(house: House) -> None:
    told = (await house.http.post("/mcp/mine", json={})).headers["www-authenticate"]
    where = re.search('resource_metadata="([^"]+)"', told)
    assert where is not None
    resource = (await house.http.get(where[1])).json()
    assert resource["resource"] == f"{BASE}/mcp/mine" and resource["authorization_servers"] == [BASE]
    server = (await house.http.get("/.well-known/oauth-authorization-server")).json()
    assert server["issuer"] == BASE and server["code_challenge_methods_supported"] == ["S256"]
    assert (await house.http.get("/.well-known/oauth-protected-resource/mcp/none")).status_code == 404
    wrong = await house.http.post("/mcp/mine", json={}, headers={"authorization": "Bearer sk-fh-oat-wrong"})
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]


async def test_a_code_is_good_once_for_its_client_its_address_and_its_verifier(house: House) -> None:
    client, other = await house.registered(), await house.registered()
    for wrong in (
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:9/other"},
        {"client_id": other},
        {"resource": f"{BASE}/mcp/freehold"},
        {"code": "sk-fh-oac-" + "x" * 43},
        {"grant_type": "password"},
    ):
        given = await house.redeemed(client, await house.code(client), wrong)
        assert given.status_code == 400 and "access_token" not in given.text, wrong
    code = await house.code(client)
    tokens = (await house.redeemed(client, code)).json()
    assert await house.opens(tokens["access_token"]) == 200
    assert (await house.redeemed(client, code)).json()["error"] == "invalid_grant"
    assert await house.opens(tokens["access_token"]) == 401  # a code that comes twice was stolen


async def test_a_token_opens_its_toolbox_and_nothing_else(house: House) -> None:
    client = await house.registered()
    tokens = (await house.redeemed(client, await house.code(client))).json()
    access = tokens["access_token"]
    assert (await house.opens(access), await house.opens(access, "freehold")) == (200, 401)
    for headers in ({"authorization": f"Bearer {access}"}, {"x-api-key": access}):
        assert (await house.http.get("/v1/agents", headers=headers)).status_code == 401
    assert await house.opens(tokens["refresh_token"]) == 401
    assert (await house.http.post("/freehold/oauth/revoke", data={"token": access})).status_code == 200
    assert await house.opens(access) == 401
    assert (await house.http.post("/freehold/oauth/revoke", data={"token": "nobody's"})).status_code == 200


async def test_a_refresh_token_is_good_once_and_ends_everything_when_it_comes_again(house: House) -> None:
    client = await house.registered()
    first = (await house.redeemed(client, await house.code(client))).json()
    fields = {"grant_type": "refresh_token", "client_id": client}
    second = (await house.token(**fields, refresh_token=first["refresh_token"])).json()
    assert await house.opens(second["access_token"]) == 200
    again = await house.token(**fields, refresh_token=first["refresh_token"])
    assert again.json()["error"] == "invalid_grant"
    assert await house.opens(second["access_token"]) == 401
    assert (await house.token(**fields, refresh_token=second["refresh_token"])).status_code == 400
    stranger = await house.registered()
    third = (await house.redeemed(client, await house.code(client))).json()
    mine = {"grant_type": "refresh_token", "refresh_token": third["refresh_token"]}
    assert (await house.token(**mine, client_id=stranger)).status_code == 400


async def test_all_ends_with_the_key_and_in_time(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock) as house:
        client = await house.registered()
        code = await house.code(client)
        await clock.advance(61)
        assert (await house.redeemed(client, code)).status_code == 400
        tokens = (await house.redeemed(client, await house.code(client))).json()
        await clock.advance(3601)
        assert await house.opens(tokens["access_token"]) == 401
        fields = {"grant_type": "refresh_token", "client_id": client}
        tokens = (await house.token(**fields, refresh_token=tokens["refresh_token"])).json()
        assert await house.opens(tokens["access_token"]) == 200
        await house.running.client.post(f"/freehold/v1/keys/{house.key_id}/revoke", cast_to=object, body={})
        assert await house.opens(tokens["access_token"]) == 401
        assert (await house.token(**fields, refresh_token=tokens["refresh_token"])).status_code == 400


async def test_nobody_is_sent_where_the_client_did_not_register(house: House) -> None:
    for uri in (
        "http://evil.test/x",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://a@b/",
        "https://x/#y",
        "x",
        "",
    ):
        given = await house.http.post("/freehold/oauth/register", json={"redirect_uris": [uri]})
        assert given.status_code == 400 and given.json()["error"] == "invalid_redirect_uri", uri
    client = await house.registered("https://claude.ai/api/mcp/auth_callback", "http://localhost:1/back")
    for uri in (
        "https://claude.ai/other",
        "https://claude.ai.evil.test/api/mcp/auth_callback",
        "http://localhost:1/x",
        "",
    ):
        given = await house.asked(house.asking(client, redirect_uri=uri))
        assert given.status_code == 400 and "location" not in given.headers, uri
    local = await house.asked(house.asking(client, redirect_uri="http://localhost:55555/back"))
    assert local.status_code == 200
    unknown = await house.asked(house.asking("mcpclient_none", redirect_uri="https://claude.ai/x"))
    assert unknown.status_code == 400 and "location" not in unknown.headers
    for wrong, error in (
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"resource": f"{BASE}/mcp/none"}, "invalid_target"),
        ({"resource": ""}, "invalid_target"),
        ({"resource": "https://evil.test/mcp/mine"}, "invalid_target"),
    ):
        fields = house.asking(client, redirect_uri="http://localhost:1/back", **wrong)
        sent = await house.asked(fields)
        query = dict(parse_qsl(urlsplit(sent.headers["location"]).query))
        assert (sent.status_code, query["error"], query["state"], query["iss"]) == (302, error, "s", BASE), wrong


async def test_the_page_is_safe_and_wrong_keys_are_slowed_down(timeless: House) -> None:
    house = timeless
    body = {"redirect_uris": ["https://claude.ai/back"], "client_name": "<script>alert(1)</script>"}
    client = (await house.http.post("/freehold/oauth/register", json=body)).json()["client_id"]
    fields = house.asking(client, redirect_uri="https://claude.ai/back", state='"><script>')
    shown = await house.asked(fields)
    assert "<script>" not in shown.text and "claude.ai" in shown.text
    policy = shown.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "form-action 'self' https://claude.ai;" in policy
    assert shown.headers["cache-control"] == "no-store"
    crossed = await house.decided(fields, house.key, **{"sec-fetch-site": "cross-site"})
    assert crossed.status_code == 403
    denied = await house.http.post("/freehold/oauth/authorize", data={**fields, "decision": "deny"})
    assert "error=access_denied" in denied.headers["location"]
    body = {"name": "looks", "role": "viewer", "workspace_id": (await workspace(house))}
    viewer: Any = await house.running.client.post("/freehold/v1/keys", cast_to=object, body=body)
    assert (await house.decided(fields, viewer["secret"])).status_code == 401
    statuses = [(await house.decided(fields, f"sk-fh-{secrets.token_urlsafe(8)}")).status_code for _ in range(6)]
    assert statuses[0] == 401 and statuses[-1] == 429
    assert (await house.decided(fields, house.key)).status_code == 429


async def workspace(house: House) -> str:
    me: Any = await house.running.client.get("/freehold/v1/me", cast_to=object)
    return str(me["workspace_id"])


async def test_keys_are_asked_for_over_https_only_and_it_can_be_switched_off(tmp_path: Path) -> None:
    async with opened(tmp_path, public_url="https://freehold.example.com/") as house:
        server = (await house.http.get("/.well-known/oauth-authorization-server")).json()
        assert server["token_endpoint"] == "https://freehold.example.com/freehold/oauth/token"
    async with opened(tmp_path) as house:
        elsewhere = {"host": "freehold.example.com"}
        assert (await house.http.get("/.well-known/oauth-authorization-server", headers=elsewhere)).status_code == 400
        client = await house.registered()
        page = await house.http.get(f"/freehold/oauth/authorize?{urlencode(house.asking(client))}", headers=elsewhere)
        assert page.status_code == 400 and "https://" in page.text
        told = (await house.http.post("/mcp/mine", json={}, headers=elsewhere)).headers["www-authenticate"]
        assert "resource_metadata" not in told
    async with opened(tmp_path, mcp_oauth=False) as house:
        assert (await house.http.get("/.well-known/oauth-authorization-server")).status_code == 404
        assert "resource_metadata" not in (await house.http.post("/mcp/mine", json={})).headers["www-authenticate"]


async def test_clients_are_bounded_and_those_that_nobody_used_make_room(tmp_path: Path, database_url: str) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock, mcp_clients=3, database=database_url) as house:
        used = await house.registered()
        await house.code(used)
        first = await house.registered()
        await house.registered()
        others = [await house.registered() for _ in range(3)]  # room is made by those that nobody used
        assert (await house.asked(house.asking(first))).status_code == 400
        for client in others[1:]:
            await house.code(client)
        full = await house.http.post("/freehold/oauth/register", json={"redirect_uris": [BACK]})
        assert (full.status_code, full.json()["error"]) == (503, "temporarily_unavailable")
        await clock.advance(601)
        tokens = (await house.redeemed(used, await house.code(used))).json()
        fields = {"grant_type": "refresh_token", "client_id": used, "refresh_token": tokens["refresh_token"]}
        assert (await house.token(**fields)).status_code == 200
        assert (await house.token(**fields)).status_code == 400
        assert (await house.asked(house.asking(used))).status_code == 200
