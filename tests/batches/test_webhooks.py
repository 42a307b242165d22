"""`batch.ended` as a signed request, from the end of a batch to a receiver on a real socket; guarded, tried again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib
import time
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from freehold.clock import HandClock
from freehold.jobs.webhooks import WAITS_S
from freehold.testing import Running, server
from tests.batches.house import ended, requests, until
from tests.contract.manifest import shows_difference
from tests.scripted_upstream import Line, Request, ScriptedUpstream, scripted


class Receiver:
    """Answers with the statuses that it is told, 200 at the end of them."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[Request] = []

    async def script(self, request: Request, line: Line) -> None:
        self.got.append(request)
        await line.answer(self.statuses.pop(0) if self.statuses else 200, b"{}")


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def there(receiver: Receiver) -> AsyncIterator[ScriptedUpstream]:
    async with scripted(receiver.script) as upstream:
        yield upstream


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[Running]:
    settings = {"database": database_url, "webhook_private_hosts": ["127.0.0.1"]}
    async with server(settings=settings) as running:
        yield running


async def add(running: Running, url: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await running.client.post(
        "/freehold/v1/webhooks", body={"url": url, **more}, cast_to=dict[str, Any]
    )
    return made


async def deliveries(running: Running, webhook_id: str) -> list[dict[str, Any]]:
    found = await running.client.get(f"/freehold/v1/webhooks/{webhook_id}/deliveries", cast_to=dict[str, Any])
    return list(found["data"])


@shows_difference("batch-webhook")
async def test_the_end_of_a_batch_is_told_with_a_signature_that_holds(
    running: Running, there: ScriptedUpstream, receiver: Receiver
) -> None:
    made = await add(running, f"{there.url}/hook?from=freehold", events=["batch.ended"] * 1000)
    assert made["secret"].startswith("whsec_") and made["events"] == ["batch.ended"]
    batch = await running.client.messages.batches.create(requests=requests(2))
    await ended(running.client, batch.id)
    await until(lambda: receiver.got)
    [request] = receiver.got
    assert request.line == "POST /hook?from=freehold HTTP/1.1"
    body = request.json()
    assert body["type"] == "event" and body["id"] == request.header("webhook-id")
    assert (body["data"]["type"], body["data"]["id"]) == ("batch.ended", batch.id)
    stamp = request.header("webhook-timestamp") or ""
    assert abs(int(stamp) - time.time()) < 300
    signed = f"{body['id']}.{stamp}.".encode() + request.body
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.header("webhook-signature") == f"v1,{right}"


async def test_the_sdk_unwraps_what_we_send_and_refuses_it_changed(
    running: Running, there: ScriptedUpstream, receiver: Receiver
) -> None:
    standard = pytest.importorskip("standardwebhooks")
    made = await add(running, there.url)
    await running.client.post(f"/freehold/v1/webhooks/{made['id']}/test", body={}, cast_to=dict[str, Any])
    await until(lambda: receiver.got)
    [request] = receiver.got
    headers = {name.lower(): value for name, value in request.headers}
    client = anthropic.Anthropic(api_key="sk-none")
    event = client.beta.webhooks.unwrap(request.body.decode(), headers=headers, key=made["secret"])
    assert event.id == headers["webhook-id"]
    error = importlib.import_module(standard.__name__).WebhookVerificationError
    with pytest.raises(error):
        client.beta.webhooks.unwrap(request.body.decode() + " ", headers=headers, key=made["secret"])
    client.close()


async def test_receivers_that_never_answer_hold_up_nobody_elses(running: Running) -> None:
    waiting, release, told = [], asyncio.Event(), asyncio.Event()

    async def answer(request: Request, line: Line) -> None:
        if "/slow" in request.line:
            waiting.append(request)
            await release.wait()
        else:
            told.set()
        await line.answer(200, b"{}")

    body: dict[str, Any] = {"name": "other"}
    other = await running.client.post("/freehold/v1/workspaces", body=body, cast_to=dict[str, Any])
    body = {"name": "other", "workspace_id": other["id"]}
    key = await running.client.post("/freehold/v1/keys", body=body, cast_to=dict[str, Any])
    async with scripted(answer) as upstream, running.new_client(key["secret"]) as client:
        slow = await add(running, f"{upstream.url}/slow")
        body = {"url": f"{upstream.url}/quick"}
        quick = await client.post("/freehold/v1/webhooks", body=body, cast_to=dict[str, Any])
        for _ in range(20):
            await running.client.post(f"/freehold/v1/webhooks/{slow['id']}/test", body={}, cast_to=dict[str, Any])
        await until(lambda: len(waiting) == 16)
        await client.post(f"/freehold/v1/webhooks/{quick['id']}/test", body={}, cast_to=dict[str, Any])
        await told.wait()
        assert {one["attempts"] for one in await deliveries(running, slow["id"])} == {0} and len(waiting) == 16
        release.set()
        await until(lambda: len(waiting) == 20)


async def test_a_receiver_that_fails_is_tried_three_times_under_one_id(
    database_url: str, there: ScriptedUpstream, receiver: Receiver
) -> None:
    receiver.statuses = [500, 503, 500]
    clock = HandClock()
    settings = {"database": database_url, "webhook_private_hosts": ["127.0.0.1"]}
    async with server(settings=settings, clock=clock) as running:
        made = await add(running, there.url)
        await running.client.post(f"/freehold/v1/webhooks/{made['id']}/test", body={}, cast_to=dict[str, Any])
        for attempt, wait_s in enumerate((*WAITS_S, 0), 1):
            async with asyncio.timeout(60):
                while True:
                    [delivery] = await deliveries(running, made["id"])
                    if delivery["attempts"] == attempt:
                        break
                    await asyncio.sleep(0.05)  # polling from outside
            await clock.advance(wait_s)
    assert delivery["state"] == "failed"
    assert (delivery["attempts"], delivery["last_status"], delivery["last_error"]) == (3, 500, "answered 500")
    assert len({request.header("webhook-id") for request in receiver.got}) == 1
    assert len(receiver.got) == 3


async def test_what_happens_to_agents_environments_and_sessions_is_told_in_the_sdks_types(
    running: Running, there: ScriptedUpstream, receiver: Receiver
) -> None:
    made, client = await add(running, there.url), running.client
    agent = await client.beta.agents.create(name="clerk", model="claude-haiku-4-5")
    await client.beta.agents.update(agent.id, version=agent.version, name="scribe")
    environment = await client.beta.environments.create(name="desk")
    await client.beta.environments.update(environment.id, name="other desk")
    session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    said: Any = [{"type": "user.message", "content": [{"type": "text", "text": "Say hello"}]}]
    await client.beta.sessions.events.send(session.id, events=said)
    await until(lambda: any(request.json()["data"]["type"] == "session.status_idled" for request in receiver.got), 30)
    await client.beta.sessions.archive(session.id)
    await client.beta.sessions.delete(session.id)
    await client.beta.environments.archive(environment.id)
    await client.beta.agents.archive(agent.id)
    wanted = {
        "agent.created": agent.id,
        "agent.updated": agent.id,
        "agent.archived": agent.id,
        "environment.created": environment.id,
        "environment.updated": environment.id,
        "environment.archived": environment.id,
        "session.created": session.id,
        "session.status_run_started": session.id,
        "session.status_idled": session.id,
        "session.thread_idled": session.id,
        "session.status_terminated": session.id,
        "session.archived": session.id,
        "session.deleted": session.id,
    }
    await until(lambda: wanted.keys() <= {request.json()["data"]["type"] for request in receiver.got}, 30)
    seen: dict[str, Any] = {}
    for request in receiver.got:
        event = client.beta.webhooks.unwrap(request.body.decode(), headers=dict(request.headers), key=made["secret"])
        seen[event.data.type] = event
        assert type(event.data).__name__ != "dict", f"the SDK knows no {event.data.type}"
    assert {kind: seen[kind].data.id for kind in wanted} == wanted
    assert seen["session.thread_idled"].data.session_thread_id.startswith("sthr_")
    assert not {"session.running", "session.idled"} & seen.keys(), "older names are for those that ask for them"


async def test_a_session_that_waits_for_leave_is_told_to_those_who_asked_for_that(
    running: Running, there: ScriptedUpstream, receiver: Receiver
) -> None:
    await add(running, there.url, events=["session.requires_action", "session.idled"])
    client = running.client
    tool: Any = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}
    agent = await client.beta.agents.create(name="careful", model="claude-haiku-4-5", tools=[tool])
    environment = await client.beta.environments.create(name="desk")
    session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    said: Any = [{"type": "user.message", "content": [{"type": "text", "text": "Run this:\n```bash\necho hi\n```"}]}]
    await client.beta.sessions.events.send(session.id, events=said)
    await until(lambda: len(receiver.got) >= 2, 30)
    kinds = [request.json()["data"]["type"] for request in receiver.got]
    assert sorted(kinds) == ["session.idled", "session.requires_action"]


async def test_a_private_address_is_not_dialled_unless_the_operator_names_it(
    database_url: str, there: ScriptedUpstream, receiver: Receiver
) -> None:
    async with server(settings={"database": database_url}) as running:
        made = await add(running, there.url)
        await running.client.post(f"/freehold/v1/webhooks/{made['id']}/test", body={}, cast_to=dict[str, Any])
        async with asyncio.timeout(60):
            while True:
                [delivery] = await deliveries(running, made["id"])
                if delivery["attempts"]:
                    break
                await asyncio.sleep(0.05)  # polling from outside
        assert "not allowed here (loopback)" in delivery["last_error"]
        assert receiver.got == [] and there.connections == 0


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "url: is required"),
        ({"url": "ftp://example.com"}, "url: "),
        ({"url": "https://user:pw@example.com"}, "url: .*password"),
        ({"url": "https://example.com/\r\nx: y"}, "url: must be plain"),
        ({"url": "https://example.com", "events": ["session.pending"]}, r"events\.0: must be one of batch\.ended"),
        ({"url": "https://example.com", "color": 1}, "color: there is no such field"),
    ],
)
async def test_a_webhook_that_cannot_be_is_refused_with_the_reason(
    running: Running, body: dict[str, Any], told: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=told):
        await running.client.post("/freehold/v1/webhooks", body=body, cast_to=dict[str, Any])


async def test_a_secret_is_shown_once_and_never_again(running: Running) -> None:
    made = await add(running, "https://example.com/hook")
    listed = await running.client.get("/freehold/v1/webhooks", cast_to=dict[str, Any])
    assert [one["id"] for one in listed["data"]] == [made["id"]]
    assert made["secret"] not in str(listed) and "secret" not in listed["data"][0]
