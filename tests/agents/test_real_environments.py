"""Sessions in environments with packages and a network, in real boxes, against a package index on this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from freehold import testing
from tests.agents.house import Script, calls, text
from tests.agents.stage import another
from tests.environments.conftest import require_bubblewrap
from tests.package_index import Index, package_index

USE = "python3 -c 'import greeting; greeting.main()'"
FETCH = "curl -s -o /dev/null -w '%{http_code}' http://index.test:PORT/simple/greeting/ || true"


@asynccontextmanager
async def server(script: Script, index: Index) -> AsyncIterator[testing.Running]:
    settings = {
        "egress_private_hosts": ["index.test"],
        "layer_pip_index": f"http://index.test:{index.port}/simple/",
        "layer_npm_registry": f"http://index.test:{index.port}/",
    }
    async with testing.server(upstream=script, settings=settings) as running:
        yield running


@pytest.fixture
async def index(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    require_bubblewrap()
    async with package_index(monkeypatch) as found:
        yield found


def pip(*packages: str, hosts: tuple[str, ...] = ()) -> Any:
    networking = {"type": "limited", "allow_package_managers": True, "allowed_hosts": list(hosts)}
    return {"networking": networking, "packages": {"pip": list(packages)}}


async def test_a_package_is_imported_under_limited_networking_and_installed_once(index: Index) -> None:
    script = Script([calls(("bash", {"command": USE})), text("one"), calls(("bash", {"command": USE})), text("two")])
    async with server(script, index) as running:
        first = await another(running, pip("greeting==1.0"))
        assert (await first.turn(1))[0].strip() == "hello from the package"
        asked = len(index.asked)
        assert asked > 0
        second = await another(running, pip("greeting==1.0"))
        assert (await second.turn(1))[0].strip() == "hello from the package"
        assert len(index.asked) == asked


async def test_a_host_that_is_not_allowed_is_refused_and_one_that_is_answers(index: Index) -> None:
    command = {"command": FETCH.replace("PORT", str(index.port))}
    script = Script([calls(("bash", command)), text("one"), calls(("bash", command)), text("two")])
    async with server(script, index) as running:
        closed = await another(running, {"networking": {"type": "limited", "allowed_hosts": ["other.test"]}})
        assert (await closed.turn(1))[0].strip() == "403"
        assert index.asked == []
        allowed = [f"index.test:{index.port}"]
        open_ = await another(running, {"networking": {"type": "limited", "allowed_hosts": allowed}})
        assert (await open_.turn(1))[0].strip() == "200"
        assert index.asked == ["/simple/greeting/"]


async def test_packages_are_built_ahead_with_their_progress_told_and_no_session_waits(index: Index) -> None:
    script = Script([calls(("bash", {"command": USE})), text("one")])
    async with server(script, index) as running:
        session = await another(running, pip("greeting==1.0"))
        (environment,) = [one.id async for one in running.client.beta.environments.list()]
        build = f"/freehold/v1/environments/{environment}/build"
        told = await running.client.post(build, cast_to=httpx2.Response)
        lines = [json.loads(line) for line in told.text.splitlines()]
        states = [(line["manager"], line["state"], line["detail"]) for line in lines[:-1]]
        assert states == [("pip", "installing", ["greeting==1.0"]), ("pip", "installed", ["greeting==1.0"])]
        asked = len(index.asked)
        assert (await session.turn(1))[0].strip() == "hello from the package"
        assert len(index.asked) == asked
        (layer,) = (await running.client.get("/freehold/v1/layers", cast_to=dict[str, Any]))["data"]
        assert [layer["id"]] == lines[-1]["layers"] and layer["resolved"] == ["greeting==1.0"]
        kept = await running.client.post("/freehold/v1/layers/collect", body={"unused_days": 1}, cast_to=dict[str, Any])
        assert kept == {"type": "layers_collected", "ids": []}


async def test_a_failed_install_is_an_error_result_with_the_managers_own_words(index: Index) -> None:
    script = Script([calls(("bash", {"command": "true"})), text("sorry")])
    async with server(script, index) as running:
        stage = await another(running, pip("no-such-thing==7.7"))
        (words,) = await stage.turn(1)
        assert "pip could not install no-such-thing==7.7" in words
        assert "No matching distribution found" in words
        (result,) = [event for event in await stage.events() if event.type == "agent.tool_result"]
        assert result.is_error
