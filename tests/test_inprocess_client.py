"""`freehold.inprocess.client()`: an official client with a whole Freehold behind it, in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import anthropic
import pytest

from freehold import inprocess
from freehold.errors import Misconfigured
from freehold.inprocess.embedded import LISTENING
from freehold.server import ListenSettings

HELLO: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {"data": folder / "data", "upstream": "simulator", **more}


def test_the_sync_client_is_the_official_one_and_its_calls_are_recorded(tmp_path: Path) -> None:
    with inprocess.client(settings(tmp_path, record="full"), strict=True) as client:
        assert type(client) is anthropic.Anthropic
        assert client.messages.create(**HELLO).stop_reason == "end_turn"
        with client.messages.stream(**HELLO) as stream:
            assert stream.get_final_message().usage.output_tokens > 0
        assert client.messages.count_tokens(model=HELLO["model"], messages=HELLO["messages"]).input_tokens > 0
        calls: Any = client.get("/freehold/v1/calls?limit=3", cast_to=object)
        assert [call["status"] for call in calls["data"]] == [200, 200, 200]
        assert calls["data"][1]["upstream"] == "simulator"


async def test_the_async_client_starts_with_its_first_request_and_stops_when_it_is_closed(tmp_path: Path) -> None:
    async with inprocess.client(settings(tmp_path), asynchronous=True, strict=True) as client:
        assert type(client) is anthropic.AsyncAnthropic
        assert not (tmp_path / "data").exists()
        assert (await client.messages.create(**HELLO)).stop_reason == "end_turn"
        agent = await client.beta.agents.create(name="one", model="claude-haiku-4-5")
    async with inprocess.client(settings(tmp_path), asynchronous=True) as again:
        assert (await again.beta.agents.retrieve(agent.id)).name == "one"


def test_two_clients_share_a_data_folder_and_keys_hold(tmp_path: Path) -> None:
    with inprocess.client(settings(tmp_path)) as one:
        made: Any = one.post("/freehold/v1/keys", body={"name": "member"}, cast_to=object)
        with inprocess.client(settings(tmp_path), key=made["secret"]) as two:
            assert two.messages.create(**HELLO).stop_reason == "end_turn"
            with pytest.raises(anthropic.PermissionDeniedError):
                two.get("/freehold/v1/keys", cast_to=object)


def test_limits_and_errors_are_those_of_a_server(tmp_path: Path) -> None:
    with inprocess.client(settings(tmp_path, key_requests_per_minute=1, limit_wait_s=0)).with_options(
        max_retries=0
    ) as client:
        client.messages.create(**HELLO)
        with pytest.raises(anthropic.RateLimitError):
            client.messages.create(**HELLO)


def test_the_file_of_a_server_will_do(tmp_path: Path) -> None:
    file = tmp_path / "freehold.toml"
    file.write_text(f'port = 9\nupstream = "simulator"\ndata = "{tmp_path / "data"}"\n')
    with inprocess.client(config=file) as client:
        assert client.messages.create(**HELLO).stop_reason == "end_turn"
    file.write_text("no_such_setting = 1\n")
    with pytest.raises(Misconfigured, match="no_such_setting"):
        inprocess.client(config=file)
    assert {field.name for field in dataclasses.fields(ListenSettings)} == set(LISTENING)
