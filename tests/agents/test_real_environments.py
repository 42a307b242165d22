"""Sessions in environments with packages and a network, in real boxes, against a package index on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import BadRequestError, NotFoundError

from freehold import testing
from freehold.environments import quota
from tests.agents.house import Script, calls, text
from tests.agents.stage import Play, another
from tests.contract.manifest import shows_difference
from tests.environments.conftest import require_bubblewrap
from tests.images import Image, entry, layer, system
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
        box = f"/freehold/v1/sessions/{stage.session}/box"
        await stage.say()
        async with asyncio.timeout(120):
            while (told := await running.client.get(box, cast_to=dict[str, Any]))["installing"] is None:  # noqa: ASYNC110 (a build is told by nothing else)
                await asyncio.sleep(0.01)
        assert told["installing"] == {
            "manager": "pip",
            "state": "installing",
            "place": 1,
            "parts": 1,
            "detail": ["no-such-thing==7.7"],
        }
        result = next(event for event in await stage.idle(1) if event.type == "agent.tool_result")
        words = result.content[0].text
        assert (await running.client.get(box, cast_to=dict[str, Any]))["installing"] is None
        assert "pip could not install no-such-thing==7.7" in words
        assert "No matching distribution found" in words
        assert result.is_error
        (error,) = [event.error for event in await stage.events() if event.type == "session.error"]
        assert error.type == "unknown_error" and "No matching distribution found" in error.message


async def test_an_uploaded_image_is_what_a_session_runs_on_even_after_the_upload_is_gone(tmp_path: Path) -> None:
    require_bubblewrap()
    image = Image([system("sh", "cat"), layer(entry("etc/answer", "42\n"))], {"Env": ["PATH=/bin"]})
    saved = image.as_saved(tmp_path / "mine.tar").read_bytes()
    use = {"command": "cat /etc/answer"}
    script = Script([calls(("bash", use)), text("one"), calls(("bash", use)), text("two")])
    async with testing.server(upstream=script, strict=True) as running:
        client = running.client
        file = await client.beta.files.upload(file=("mine.tar", saved, "application/x-tar"))
        first = await another(running, on(file.id))
        (environment,) = [one async for one in client.beta.environments.list()]
        assert environment.config.model_dump()["image"] == file.id
        box = f"/freehold/v1/sessions/{first.session}/box"
        assert (await client.get(box, cast_to=dict[str, Any]))["base"] is None
        assert (await first.turn(1))[0].strip() == "42"
        told = await client.get(box, cast_to=dict[str, Any])
        assert told == {
            "type": "session_box",
            "image": file.id,
            "base": f"image {file.id} ({image.id})",
            "disk": "quota" if quota.kept(tmp_path) else "watch",
            "open": True,
            "installing": None,
        }
        await client.beta.files.delete(file.id)
        (agent,) = [one async for one in client.beta.agents.list()]
        made = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        assert (await Play(running, made.id).turn(1))[0].strip() == "42"


def on(image: Any) -> Any:
    return {"type": "cloud", "image": image}


@shows_difference("images-of-environments")
async def test_an_environment_names_an_image_that_is_there_and_is_one(tmp_path: Path) -> None:
    Image([layer(entry("etc/x"))], {}).as_folder(tmp_path / "images" / "good")
    (tmp_path / "images" / "bad").mkdir()
    async with testing.server(strict=True, settings={"image_folder": tmp_path / "images"}) as running:
        environments = running.client.beta.environments
        other = await running.client.beta.files.upload(file=("x.txt", b"words", "text/plain"))
        refused: list[tuple[Any, str]] = [
            (7, "must be the id of an uploaded file"),
            ("../good", "must be the id of an uploaded file"),
            ("missing", "is not in this server's image_folder"),
            ("bad", "neither an index.json"),
            (other.id, "cannot be read as a tar"),
        ]
        for image, complaint in refused:
            with pytest.raises(BadRequestError, match=f"config.image: .*{complaint}"):
                await environments.create(name="e", config=on(image))
        with pytest.raises(NotFoundError):
            await environments.create(name="e", config=on("file_nowhere"))
        made = await environments.create(name="e", config=on("good"))
        with pytest.raises(BadRequestError, match=r"packages\.apt: an image brings its own system"):
            await environments.update(
                made.id, config={"type": "cloud", "packages": {"apt": ["jq"]}, "networking": {"type": "unrestricted"}}
            )
        renamed = await environments.update(made.id, name="f")
        assert renamed.config.model_dump()["image"] == "good"
        assert "image" not in (await environments.update(made.id, config=on(None))).config.model_dump()
