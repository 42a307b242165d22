"""Calls recorded whole, on a whole server: what is kept, for whom, what a member sees, and what is forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import BadRequestError

from freehold.inprocess import AsgiTransport
from freehold.testing import Running, server

BODY: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 40}
SECRET = "sk-ant-api03-" + "q" * 30
CALLS = "/freehold/v1/calls"


def saying(text: str, **more: Any) -> dict[str, Any]:
    return {**BODY, "messages": [{"role": "user", "content": text}], **more}


def http(running: Running, key: str | None = None) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {key or running.key}"}
    transport = AsgiTransport(running.application.asgi)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def get(running: Running, path: str = CALLS, key: str | None = None, **query: str) -> Any:
    async with http(running, key) as client:
        reply = await client.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()


async def listed(running: Running, **query: str) -> Any:
    """The one call that fits; its row may come a moment after its answer."""
    async with asyncio.timeout(120):
        while not (found := (await get(running, **query))["data"]):  # noqa: ASYNC110
            await asyncio.sleep(0)
    (call,) = found
    return call


async def test_by_default_only_figures_are_kept() -> None:
    async with server(strict=True) as running:
        await running.client.messages.create(**saying("Hello"))
        call = await listed(running)
        assert (call["status"], call["recorded"], call["model_asked"]) == (200, False, "claude-haiku-4-5")
        whole = await get(running, f"{CALLS}/{call['id']}")
        assert whole["recording"] is None
        assert "Hello" not in json.dumps(whole)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_call_is_kept_as_it_came_and_as_it_was_answered(stream: bool) -> None:
    async with server(settings={"record": "full"}) as running, http(running) as client:
        body = json.dumps(saying(f"Remember {SECRET}.", stream=stream, metadata={"user_id": "ann"}))
        headers = {"anthropic-beta": "one-2030-01-01", "x-request-source": "tests", "cookie": "secret=1"}
        reply = await client.post("/v1/messages", content=body, headers=headers)
        call = await listed(running, recorded="true", user_id="ann", source="tests")
        recording = (await get(running, f"{CALLS}/{call['id']}"))["recording"]
        assert recording["request"]["body"] == body.replace(SECRET, "[removed]")
        assert recording["removed"] >= 1
        assert ["anthropic-beta", "one-2030-01-01"] in recording["request"]["headers"]
        assert "secret=1" not in json.dumps(recording)
        assert running.key not in json.dumps(recording)
        answered = recording["response"]
        assert (answered["status"], answered["complete"], answered["error"]) == (200, True, None)
        assert answered["body"] == reply.text.replace(SECRET, "[removed]")
        (attempt,) = recording["attempts"]
        assert (attempt["upstream"], attempt["status"], attempt["model"]) == ("simulator", 200, "claude-haiku-4-5")


async def test_a_refused_call_is_kept_with_its_reason() -> None:
    async with server(settings={"record": "full", "key_requests_per_minute": 1, "limit_wait_s": 0}) as running:
        client = running.new_client(running.key, max_retries=0)
        await client.messages.create(**saying("Hello"))
        with pytest.raises(Exception, match="limit"):
            await client.messages.create(**saying("Again"))
        with pytest.raises(BadRequestError):
            await client.messages.create(**saying("x", stream="maybe"))
        call = await listed(running, failed="true", status="429")
        recording = (await get(running, f"{CALLS}/{call['id']}"))["recording"]
        assert recording["response"]["error"]["type"] == "rate_limit_error"
        assert (recording["attempts"], "Again" in recording["request"]["body"]) == ([], True)


@pytest.mark.parametrize(
    ("settings", "recorded"),
    [
        ({"record_for": {"claude-haiku-*": "full"}}, True),
        ({"record_for": {"claude-opus-*": "full"}}, False),
        ({"record": "full", "record_for": {"claude-haiku-*": "metadata"}}, False),
        ({"record": "full", "record_for": {"KEY": "metadata"}}, False),
        ({"record_for": {"KEY": "full", "*": "metadata"}}, True),
    ],
)
async def test_it_is_said_by_key_and_by_model(settings: Mapping[str, Any], recorded: bool, tmp_path: Path) -> None:
    async with server(data=tmp_path) as running, http(running) as admin:
        made = (await admin.post("/freehold/v1/keys", json={"name": "one"})).json()
    named = {name.replace("KEY", made["id"]): value for name, value in settings.get("record_for", {}).items()}
    async with server(data=tmp_path, settings={**settings, "record_for": named}) as running:
        await running.new_client(made["secret"]).messages.create(**saying("Hello"))
        assert (await listed(running))["recorded"] is recorded


async def test_large_bodies_are_cut_and_said_to_be() -> None:
    async with server(settings={"record": "full", "record_call_bytes": 100}) as running:
        await running.client.messages.create(**saying("x" * 500))
        call = await listed(running)
        recording = (await get(running, f"{CALLS}/{call['id']}"))["recording"]
        assert (recording["request"]["complete"], len(recording["request"]["body"])) == (False, 100)
        assert (recording["response"]["complete"], len(recording["response"]["body"])) == (False, 100)


async def test_a_member_sees_its_own_key_only_and_a_user_is_forgotten_by_an_admin() -> None:
    async with server(settings={"record": "full"}) as running, http(running) as admin:
        made = (await admin.post("/freehold/v1/keys", json={"name": "one"})).json()
        member = running.new_client(made["secret"])
        await running.client.messages.create(**saying("mine", metadata={"user_id": "ann"}))
        await member.messages.create(**saying("theirs", metadata={"user_id": "ann"}))
        assert len((await get(running))["data"]) == 2
        (own,) = (await get(running, key=made["secret"]))["data"]
        async with http(running, made["secret"]) as client:
            other = next(call for call in (await get(running))["data"] if call["id"] != own["id"])
            assert (await client.get(f"{CALLS}/{other['id']}")).status_code == 404
            assert (await client.get(CALLS, params={"key_id": other["key_id"]})).status_code == 400
            assert (await client.delete(CALLS, params={"user_id": "ann"})).status_code == 403
        assert (await admin.delete(CALLS)).status_code == 400
        done = (await admin.delete(CALLS, params={"user_id": "ann"})).json()
        assert (done["recordings_deleted"], done["calls_unnamed"]) == (2, 2)
        assert [(call["user_id"], call["recorded"]) for call in (await get(running))["data"]] == [(None, False)] * 2
        assert "ann" not in json.dumps(await get(running, f"{CALLS}/{own['id']}"))
