"""The console's door: forms of other sites, scripts in names, borrowed cookies, small roles, guessed keys."""

from __future__ import annotations

import contextlib
from typing import Any

import anthropic
import httpx2
import pytest

from freehold.access.tries import Tries
from freehold.clock import HandClock
from freehold.console.door import Door
from freehold.errors import Misconfigured
from freehold.launch import ServerProcess
from tests.console.conftest import add_document, log_in, post, token_of

SCRIPT = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def key_for(client: Any, role: str) -> str:
    return str(client.post("/freehold/v1/keys", body={"name": role, "role": role}, cast_to=object)["secret"])


@pytest.fixture
def inside(web: httpx2.Client, server: ServerProcess) -> httpx2.Client:
    assert log_in(web, server.key).status_code == 303
    return web


def test_without_a_login_there_is_only_the_login(web: httpx2.Client, session_id: str) -> None:
    for path in ("", "/sessions", f"/sessions/{session_id}", "/keys", f"/sessions/{session_id}/live", "/audit"):
        answered = web.get(f"/console{path}")
        assert (answered.status_code, answered.headers["location"].split("?")[0]) == (303, "/console/login")
    assert web.post(f"/console/sessions/{session_id}/say", data={"text": "hi"}).status_code == 303


def test_the_cookie_is_out_of_reach_and_every_page_is_fenced(web: httpx2.Client, server: ServerProcess) -> None:
    cookie = log_in(web, server.key).headers["set-cookie"]
    for flag in ("HttpOnly", "SameSite=strict", "Path=/console"):
        assert flag in cookie
    assert server.key not in cookie
    page = web.get("/console")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert "http://" not in page.text.replace(server.address, "") and "https://" not in page.text


def test_a_form_of_another_site_changes_nothing(inside: httpx2.Client, server: ServerProcess) -> None:
    token = token_of(inside.get("/console/agents/new").text)
    body = {"token": token, "definition": '{"name": "stolen", "model": "claude-haiku-5-5"}'}
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert inside.post("/console/agents", data=body, headers=headers).status_code == 403
    assert post(inside, "/console/agents", {"definition": body["definition"]}, token="guessed").status_code == 403
    assert inside.post("/console/agents", data={"definition": body["definition"]}).status_code == 403
    assert "stolen" not in inside.get("/console/agents").text


def test_a_token_of_another_login_opens_nothing(inside: httpx2.Client, server: ServerProcess) -> None:
    first = token_of(inside.get("/console/agents/new").text)
    before = inside.cookies["freehold_console"]
    log_in(inside, server.key)
    assert inside.cookies["freehold_console"] != before
    assert post(inside, "/console/agents", {"definition": "{}"}, token=first).status_code == 403


def test_a_cookie_that_was_there_before_the_login_is_worth_nothing_after_it(
    web: httpx2.Client, server: ServerProcess, client: Any
) -> None:
    """Fixation: somebody else's login is planted in the browser; whoever then logs in is not in that one."""
    log_in(web, key_for(client, "viewer"))
    planted = web.cookies["freehold_console"]
    log_in(web, server.key)
    assert web.cookies["freehold_console"] != planted
    web.cookies.clear()
    web.cookies.set("freehold_console", planted, path="/console")
    assert web.get("/console/audit").status_code == 403, "the planted login is still the viewer's"


def test_a_cookie_that_was_not_made_here_is_nobody_s(web: httpx2.Client, server: ServerProcess) -> None:
    for value in ("", "x", "AAAA", server.key, "A" * 5000):
        web.cookies.clear()
        web.cookies.set("freehold_console", value, path="/console")
        assert web.get("/console").status_code == 303


def test_what_people_write_is_shown_as_text_everywhere(inside: httpx2.Client, client: Any) -> None:
    agent = client.beta.agents.create(
        name=SCRIPT, model="claude-haiku-5-5", description=SCRIPT, system=SCRIPT, metadata={"x": SCRIPT}
    )
    environment = client.beta.environments.create(name=SCRIPT)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title=SCRIPT)
    said: Any = {"type": "user.message", "content": [{"type": "text", "text": SCRIPT}]}
    client.beta.sessions.events.send(session.id, events=[said])
    client.messages.create(
        model="claude-haiku-5-5",
        max_tokens=9,
        messages=[{"role": "user", "content": SCRIPT}],
        metadata={"user_id": SCRIPT},
        extra_headers={"x-freehold-task-type": "x", "x-request-source": "<b>"},
    )
    client.post("/freehold/v1/keys", body={"name": SCRIPT}, cast_to=object)
    client.post("/freehold/v1/workspaces", body={"name": SCRIPT}, cast_to=object)
    budget = {"scope": "user", "scope_id": SCRIPT, "limit": 1, "enforcement": "soft"}
    client.post("/freehold/v1/budgets", body=budget, cast_to=object)
    with contextlib.suppress(anthropic.APIStatusError):
        client.messages.create(model=SCRIPT, max_tokens=9, messages=[{"role": "user", "content": "x"}])
    client.messages.create(
        model="claude-haiku-5-5",
        max_tokens=9,
        messages=[{"role": "user", "content": "x"}],
        metadata={"user_id": SCRIPT},
    )
    known = "/freehold/v1/knowledge/collections"
    collection = client.post(known, body={"name": "scripted", "description": SCRIPT}, cast_to=object)["id"]
    add_document(client, "scripted", f"# {SCRIPT}\n\nalert {SCRIPT}")
    call = client.get("/freehold/v1/calls?limit=1", cast_to=object)["data"][0]["id"]
    paths = ["", "/sessions", f"/sessions/{session.id}", "/agents", f"/agents/{agent.id}", "/environments"]
    paths += [f"/environments/{environment.id}", "/requests", f"/requests/{call}", "/usage?by=user", "/keys", "/audit"]
    paths += [
        f"/requests?user_id={SCRIPT}",
        f"/requests?model={SCRIPT}&within={SCRIPT}&since={SCRIPT}",
        f"/knowledge?sought={SCRIPT}",
        f"/knowledge/{collection}?sought=alert",
        "/usage?by=model",
        "/batches",
        "/doctor",
        f"/sessions?page={SCRIPT}",
        f"/usage?by={SCRIPT}",
        "/login?to=javascript:x",
    ]
    for path in paths:
        text = inside.get(f"/console{path}").text
        assert "<script>alert" not in text and "<img src=x" not in text, path
        assert "javascript:" not in text


def test_a_viewer_looks_and_changes_nothing(web: httpx2.Client, client: Any, session_id: str) -> None:
    assert log_in(web, key_for(client, "viewer")).status_code == 303
    page = web.get(f"/console/sessions/{session_id}")
    assert page.status_code == 200
    assert "form.say" not in page.text and 'class="say"' not in page.text
    assert web.get("/console/audit").status_code == 403
    token = token_of(page.text)
    for path, values in (
        ("/console/agents", {"definition": '{"name": "v", "model": "claude-haiku-5-5"}'}),
        (f"/console/sessions/{session_id}/say", {"text": "hello"}),
        (f"/console/sessions/{session_id}/fork", {"title": "mine"}),
        ("/console/keys", {"name": "mine", "role": "admin"}),
        ("/console/budgets", {"scope": "workspace", "limit": "1"}),
    ):
        assert post(web, path, values, token).status_code in (400, 403), path


def test_a_member_makes_no_keys_and_sees_no_other_workspace(web: httpx2.Client, client: Any) -> None:
    log_in(web, key_for(client, "member"))
    page = web.get("/console/keys")
    assert page.status_code == 200 and "apikey_" in page.text
    assert post(web, "/console/keys", {"name": "mine", "role": "admin"}).status_code == 403
    assert web.get("/console/audit").status_code == 403
    assert web.get("/console/charts/calls.svg").status_code == 200


def test_a_revoked_key_is_out_at_its_next_step(web: httpx2.Client, client: Any) -> None:
    made = client.post("/freehold/v1/keys", body={"name": "short"}, cast_to=object)
    log_in(web, made["secret"])
    assert web.get("/console").status_code == 200
    client.post(f"/freehold/v1/keys/{made['id']}/revoke", body={}, cast_to=object)
    assert web.get("/console").status_code == 303


@pytest.mark.parametrize(
    "path", ["..%2f..%2fetc%2fpasswd", "file_none", "%00", "x%2f..%2f..%2flogin", "file_1%22%0d%0aset-cookie:x"]
)
def test_tricks_with_paths_reach_nothing(inside: httpx2.Client, path: str) -> None:
    assert inside.get(f"/console/files/{path}").status_code in (303, 400, 404)


def test_a_download_is_never_a_page(inside: httpx2.Client, client: Any, session_id: str) -> None:
    answered = inside.get(f"/console/files/{client.beta.files.upload(file=('x.html', b'<h1>x</h1>')).id}")
    assert answered.status_code in (200, 400, 403)
    assert "text/html" not in answered.headers["content-type"] or "<h1>x</h1>" not in answered.text


def test_the_way_back_after_a_login_stays_inside(web: httpx2.Client, server: ServerProcess) -> None:
    for to in (
        "https://evil.example",
        "//evil.example",
        "/console/../v1/keys",
        "/consolex",
        "\\\\evil",
        "/console\\@evil",
    ):
        sent = {"key": server.key, "to": to}
        where = web.post("/console/login", data=sent, headers={"origin": server.address}).headers["location"]
        assert where.startswith("/console"), to


def test_changes_are_in_the_audit_log(inside: httpx2.Client, client: Any) -> None:
    made = client.beta.agents.create(name="audited", model="claude-haiku-5-5")
    client.beta.agents.archive(made.id)
    text = inside.get("/console/audit").text
    assert f"/v1/agents/{made.id}/archive" in text
    assert "/events" not in text


async def test_guessing_gets_slower_and_a_right_key_ends_it() -> None:
    clock = HandClock()
    tries = Tries(clock)
    waits = []
    for _ in range(9):
        tries.wrong("1.2.3.4")
        waits.append(tries.wait_s("1.2.3.4"))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16]
    assert tries.wait_s("5.6.7.8") == 0
    await clock.advance(16)
    assert tries.wait_s("1.2.3.4") == 0
    tries.right("1.2.3.4")
    tries.wrong("1.2.3.4")
    assert tries.wait_s("1.2.3.4") == 0


class Plain:
    """Seals nothing, but tells what was not sealed by it."""

    def seal(self, workspace_id: str, name: str, secret: bytes) -> bytes:
        return b"sealed" + secret

    def open(self, workspace_id: str, name: str, sealed: bytes) -> bytes:
        if not sealed.startswith(b"sealed"):
            raise Misconfigured("not sealed here")
        return sealed[6:]


async def test_a_login_ends_after_its_hours() -> None:
    clock = HandClock()
    door = Door(Plain(), clock, hours=2)
    cookie = door.open("key")
    await clock.advance(2 * 3600 - 1)
    login = door.read(cookie)
    assert login is not None and login.key == "key"
    await clock.advance(2)
    assert door.read(cookie) is None
    assert door.read(None) is None


def test_a_count_is_made_again_as_a_count(inside: httpx2.Client, client: Any) -> None:
    question: Any = {"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": "How long is this?"}]}
    counted = client.messages.count_tokens(**question)
    call = client.get("/freehold/v1/calls?limit=1", cast_to=object)["data"][0]
    assert call["route"] == "count_tokens"
    again = post(inside, f"/console/requests/{call['id']}/replay", {"model": ""})
    assert again.status_code == 200 and f"&#34;input_tokens&#34;: {counted.input_tokens}" in again.text


def test_wrong_keys_are_refused_with_a_wait(web: httpx2.Client, server: ServerProcess) -> None:
    """The last one here: nobody can log in for a while."""
    answers = [log_in(web, "sk-fh-wrong") for _ in range(5)]
    assert [one.status_code for one in answers] == [401] * 5
    while (refused := log_in(web, "sk-fh-wrong")).status_code == 401:  # where this takes longer than the wait, it grows
        pass
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
