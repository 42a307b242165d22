"""The guides of own tools, MCP servers, the connector and Claude Code: what they show is done, on a real server."""

from __future__ import annotations

import json
import re
import sqlite3
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from typer.testing import CliRunner

from freehold import testing
from freehold.cli.commands import commands
from freehold.inprocess import AsgiTransport
from freehold.launch import ServerProcess
from tests.cli.commands import freehold
from tests.scripted_upstream import Line, Request, scripted

_GUIDES = Path(__file__).parents[2] / "docs" / "guides"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
CLAUDE_CODE = {
    "user-agent": "claude-cli/2.0.14 (external, cli)",
    "x-app": "cli",
    "anthropic-version": "2023-06-01",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14",
    "x-stainless-lang": "js",
    "x-stainless-helper-method": "stream",
    "accept": "application/json",
}
"""As Claude Code sends them, key aside."""


def blocks(guide: str, language: str) -> list[str]:
    """The code blocks of a guide in one language."""
    return [text for kind, text in _BLOCK.findall((_GUIDES / guide).read_text("utf-8")) if kind == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide of own tools has in its folder: functions, a database, a document, a handbook, a configuration."""
    folder = tmp_path_factory.mktemp("guide")
    python = blocks("own-tools.md", "python")
    (folder / "shop.py").write_text("\n".join(python))
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.executescript(
            "CREATE TABLE products (name TEXT, pieces INTEGER); INSERT INTO products VALUES ('ink', 12);"
            "CREATE TABLE orders (id INTEGER); CREATE TABLE salaries (who TEXT);"
        )
    connection.close()
    (folder / "handbook").mkdir()
    (folder / "handbook" / "printer.md").write_text("Press the green button.\n")
    paths = {"/users": {"get": {"operationId": "getUser"}}, "/orders": {"get": {"operationId": "listOrders"}}}
    (folder / "crm.yaml").write_text(yaml.safe_dump({"openapi": "3.1.0", "paths": paths}))
    ready = next(text for text in blocks("own-tools.md", "toml") if "[toolboxes.crm]" in text)
    assert set(tomllib.loads(ready)["toolboxes"]) == {"shopdb", "crm", "handbook"}
    for name in ("shop.db", "crm.yaml", "handbook"):  # the guide's server runs in the folder, this one does not
        ready = ready.replace(f'"{name}"', f'"{folder / name}"').replace(f"///{name}", f"///{folder / name}")
    (folder / "freehold.toml").write_text(ready)
    (folder / "cases.yaml").write_text(next(text for text in blocks("own-tools.md", "yaml") if "contains" in text))
    return folder


VARIABLES = {"CRM_AUTHORIZATION": "Bearer x"}


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    arguments = ["--upstream", "simulator", "--config", str(folder / "freehold.toml")]
    tools = [folder / "shop.py"]
    with ServerProcess(folder / "data", tools=tools, arguments=arguments, environment=VARIABLES) as process:
        yield process


@asynccontextmanager
async def connected(server: ServerProcess, toolbox: str) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {server.key}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(f"{server.address}/mcp/{toolbox}", http_client=http)) as client,
    ):
        yield client


async def called(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    return "".join(block.text for block in result.content if block.type == "text")


def test_tools_are_tried_as_the_guide_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CRM_AUTHORIZATION", "Bearer x")

    def ran(*arguments: str) -> str:
        return CliRunner().invoke(commands(), ["tools", *arguments]).output

    listed = ran("list", "--tools", "shop.py")
    assert "shop.count_stock(product)" in listed and "shop.count_all()" in listed
    assert ran("call", "count_stock", '{"product": "ink"}', "--tools", "shop.py") == "ink: 12 pieces\n"
    assert "2 of 2 cases hold" in ran("test", "cases.yaml", "--tools", "shop.py")
    asked = ["tools", "call", "query", '{"statement": "SELECT name FROM products"}', "--config", "freehold.toml"]
    ready = freehold(*asked, cwd=folder, environment=VARIABLES)
    assert json.loads(ready.stdout) == {"name": "ink"}, ready.stderr


async def test_ready_toolboxes_are_served_as_the_guide_says(server: ServerProcess) -> None:
    async with connected(server, "shopdb") as client:
        assert "salaries" not in await called(client, "list_tables")
        question = {"statement": "SELECT pieces FROM products WHERE name = :name", "parameters": {"name": "ink"}}
        assert json.loads(await called(client, "query", **question)) == {"pieces": 12}
    async with connected(server, "handbook") as client:
        assert "green button" in await called(client, "search_files", text="button")
    async with connected(server, "crm") as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"getUser", "listOrders"}
    async with connected(server, "freehold") as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
    guide = (_GUIDES / "claude-ai-connector.md").read_text("utf-8")
    assert names and all(f"`{name}`" in guide for name in names)


def test_credentials_of_mcp_servers_are_kept_listed_and_forgotten(server: ServerProcess) -> None:
    data = ["--data", str(server.data)]
    address = "https://mcp.tracker.example/mcp"
    made = freehold("mcp", "login", address, *data, stdin="tracker-secret\n")
    assert made.returncode == 0 and address in made.stdout and "tracker-secret" not in made.stdout
    listed = json.loads(freehold("mcp", "list", "--json", *data).stdout)
    assert [one["url"] for one in listed] == [address] and "tracker-secret" not in str(listed)
    assert freehold("mcp", "logout", listed[0]["id"], *data).returncode == 0
    assert "There is no credential" in freehold("mcp", "list", *data).stdout
    agent = yaml.safe_load(blocks("mcp-servers.md", "yaml")[0])
    with httpx2.Client(base_url=server.address, headers={"x-api-key": server.key}, trust_env=False) as http:
        assert http.post("/v1/agents", json=agent).status_code == 200


def test_every_call_that_claude_code_makes_is_answered(server: ServerProcess) -> None:
    call = {
        "model": "claude-haiku-4-5",
        "max_tokens": 500,
        "stream": True,
        "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "metadata": {"user_id": "user_1_account__session_2"},
        "tools": [{"name": "Bash", "description": "Runs.", "input_schema": {"type": "object", "properties": {}}}],
    }
    with httpx2.Client(base_url=server.address, headers=CLAUDE_CODE, trust_env=False) as http:
        assert http.head("/").status_code == 200 and http.get("/").json()["type"] == "freehold"
        assert http.post("/v1/messages?beta=true", json=call).status_code == 401
        http.headers["authorization"] = f"Bearer {server.key}"
        streamed = http.post("/v1/messages?beta=true", json=call)
        assert streamed.status_code == 200 and "event: message_stop" in streamed.text
        count = {name: call[name] for name in ("model", "system", "messages", "tools")}
        counted = http.post("/v1/messages/count_tokens?beta=true", json=count)
        assert counted.json()["input_tokens"] > 0
        assert http.get("/v1/models?limit=1000").json()["data"]
        probe = {**call, "max_tokens": 1, "stream": False, "messages": [{"role": "user", "content": "quota"}]}
        assert http.post("/v1/messages?beta=true", json=probe).status_code == 200
        log = http.post("/api/event_logging/batch", json={"events": []})
        assert (log.status_code, log.json()["type"]) == (404, "error")


async def test_its_betas_and_its_body_reach_the_upstream_as_they_are() -> None:
    body = b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"hi"}],"new_member":[1]}'
    answered = b'{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","usage":{"input_tokens":1}}'
    seen: list[Request] = []

    async def script(request: Request, line: Line) -> None:
        seen.append(request)
        await line.answer(200, answered)

    async with scripted(script) as upstream:
        settings = {"upstream": upstream.url, "upstream_key": "up"}
        async with (
            testing.server(settings=settings) as running,
            httpx2.AsyncClient(transport=AsgiTransport(running.application.asgi), base_url="http://in-process") as http,
        ):
            headers = {**CLAUDE_CODE, "x-api-key": running.key, "content-type": "application/json"}
            given = await http.post("/v1/messages?beta=true", content=body, headers=headers)
            assert given.content == answered
    [request] = seen
    assert request.line.startswith("POST /v1/messages?beta=true ") and request.body == body
    for name in ("anthropic-beta", "anthropic-version"):
        assert request.header(name) == CLAUDE_CODE[name]
    assert request.header("x-api-key") == "up" and running.key not in str(request.headers)
