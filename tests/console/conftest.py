"""A real server with some life in it, and a real browser that looks at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from freehold.launch import ServerProcess
from tests.console.browser import Browser, open_browser

TEXT: Any = {"type": "text", "text": "Hello there."}
AGENT: dict[str, Any] = {
    "name": "clerk <b>bold</b>",
    "model": "claude-haiku-5-5",
    "tools": [
        {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    arguments = ["--upstream", "simulator"]
    environment = {"FREEHOLD_RECORD": "full"}
    with ServerProcess(tmp_path_factory.mktemp("data"), arguments=arguments, environment=environment) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def session_id(client: Any) -> str:
    """A session of an agent that asks before it runs anything."""
    agent = client.beta.agents.create(**AGENT)
    environment = client.beta.environments.create(name="plain")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="A day's work")
    return str(session.id)


@pytest.fixture
def web(server: ServerProcess) -> Iterator[httpx2.Client]:
    """A browser without a screen, for what a real one would not send."""
    with httpx2.Client(base_url=server.address, trust_env=False, timeout=120) as web:
        yield web


@pytest.fixture(scope="module")
def browser(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        if os.environ.get("CI"):
            pytest.fail("chromium or chromedriver is missing; `make test` installs them")
        pytest.skip("chromium is not installed")
    with open_browser(server.address, tmp_path_factory.mktemp("browser")) as browser:
        browser.log_in(server.key)
        yield browser


def add_document(client: Any, collection: str, text: str) -> None:
    """A document of a knowledge collection."""
    answered = httpx2.post(
        f"{str(client.base_url).rstrip('/')}/freehold/v1/knowledge/collections/{collection}/documents",
        files={"file": (f"{collection}.md", text.encode(), "text/markdown")},
        headers={"x-api-key": client.api_key},
        trust_env=False,
        timeout=120,
    )
    assert answered.status_code == 200, answered.text


def log_in(web: httpx2.Client, key: str) -> httpx2.Response:
    return web.post("/console/login", data={"key": key, "to": "/console"}, headers={"origin": str(web.base_url)})


def token_of(page: str) -> str:
    return page.split('name="token" value="', 1)[1].split('"', 1)[0]


def post(web: httpx2.Client, path: str, values: dict[str, str], token: str | None = None) -> httpx2.Response:
    """A form as our own page sends it."""
    known = token_of(web.get("/console/agents/new").text) if token is None else token
    return web.post(path, data={"token": known, **values}, headers={"origin": str(web.base_url).rstrip("/")})
