"""API toolboxes: each operation a tool, asked as the document says; nothing leads to another address or method."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.toolboxes.base import Toolbox
from freehold.toolboxes.ready.declared import ready_toolboxes
from freehold.toolboxes.settings import ToolboxSettings

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "servers": [{"url": "https://api.example.com/v1"}],
    "paths": {
        "/users/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "getUser",
                "summary": "Get one user.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"$ref": "#/components/parameters/trace"},
                ],
            },
            "delete": {"operationId": "deleteUser"},
        },
        "/users": {
            "post": {
                "operationId": "makeUser",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/User"}}},
                },
            },
            "get": {"parameters": [{"name": "where", "in": "query", "schema": {"type": "object"}}]},
        },
        "/away": {"get": {"operationId": "away"}},
        "/big": {"get": {"operationId": "big"}},
        "/picture": {"get": {"operationId": "picture"}},
        "/cookie": {"get": {"operationId": "no", "parameters": [{"name": "c", "in": "cookie", "required": True}]}},
    },
    "components": {
        "parameters": {"trace": {"name": "x-trace", "in": "header", "schema": {"type": "string"}}},
        "schemas": {
            "User": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "friend": {"$ref": "#/components/schemas/User"}},
            }
        },
    },
}


class Site:
    """Notes what it is asked, and answers with it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        line = head.splitlines()[0]
        self.asked.append(f"{head}{body}")
        status, kind, said = "200", "application/json", json.dumps({"asked": line, "body": body}).encode()
        if "/away" in line:
            status, said = "302 X\r\nlocation: http://127.0.0.1/elsewhere", b""
        elif "/big" in line:
            said = b"x" * 5000
        elif "/picture" in line:
            kind, said = "image/png", b"\x89PNG"
        elif "missing" in line:
            status, said = "404", b"no such user"
        answer = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(said)}\r\n\r\n".encode()
        writer.write(answer.replace(b"\r\n", b" X\r\n", 1) + said)
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[tuple[Site, str]]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    yield site, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    server.close()


def toolbox(folder: Path, document: Any = DOCUMENT, **fields: Any) -> Toolbox:
    path = folder / "api.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    settings = ToolboxSettings(toolboxes={"crm": {"kind": "openapi", "document": str(path), **fields}})
    return ready_toolboxes(settings, SystemClock())["crm"]


async def told(box: Toolbox, tool: str, **arguments: Any) -> str:
    result = await box.call(tool, arguments, key="k")
    block = result.content[0]
    text = str(block.get("text") or block["source"]["media_type"])
    return f"error: {text}" if result.is_error else text


async def test_operations_become_tools_and_only_get_is_there_by_default(
    tmp_path: Path, site: tuple[Site, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_TOKEN", "Bearer crm-secret")
    seen, url = site
    box = toolbox(tmp_path, url=url, headers_env={"Authorization": "CRM_TOKEN"}, answer_bytes=2000)
    tools = {tool.name: tool for tool in box.tools()}
    assert list(tools) == ["getUser", "get_users", "away", "big", "picture"]
    assert tools["getUser"].description == "Get one user." and tools["getUser"].input_schema["required"] == ["id"]
    answer = await told(box, "getUser", id="a/../b?x#y", fields=["name", "a&b"], **{"x-trace": "t"})
    assert json.loads(answer)["asked"] == "GET /v1/users/a%2F..%2Fb%3Fx%23y?fields=name&fields=a%26b HTTP/1.1"
    assert "authorization: Bearer crm-secret\r\n" in seen.asked[0] and "x-trace: t\r\n" in seen.asked[0]
    assert "where%5Bname%5D=li" in await told(box, "get_users", where={"name": "li"})
    for wrong in ("..", ".", ""):
        assert "cannot be part of an address" in await told(box, "getUser", id=wrong)
    assert "one line of ASCII" in await told(box, "getUser", id="x", **{"x-trace": "a\r\nhost: evil"})
    assert "HTTP 404: no such user" in await told(box, "getUser", id="missing")
    assert (await told(box, "away")).startswith("error: The API answered HTTP 302")
    assert (await told(box, "big")).startswith("error: The API answered with more than 2000 bytes")
    assert await told(box, "picture") == "image/png"
    assert "missing argument id" in await told(box, "getUser")
    assert len(seen.asked) == 6


async def test_methods_and_operations_that_the_operator_names_are_there(tmp_path: Path, site: tuple[Site, str]) -> None:
    box = toolbox(tmp_path, url=site[1], methods=["GET", "POST"], operations=["makeUser", "getUser"])
    assert [tool.name for tool in box.tools()] == ["getUser", "makeUser"]
    assert json.loads(await told(box, "makeUser", body={"name": "Li"}))["body"] == '{"name": "Li"}'
    assert "name" in await told(box, "makeUser", body={})


@pytest.mark.parametrize(
    ("document", "fields", "words"),
    [
        ("[1]", {}, "is no OpenAPI document"),
        ("{", {}, "cannot be read"),
        ({**DOCUMENT, "servers": []}, {}, r"crm\.url"),
        (DOCUMENT, {"methods": ["TRACE"]}, "'trace' is none of"),
        (DOCUMENT, {"operations": ["deleteUser"]}, "there is no deleteUser"),
        (DOCUMENT, {"headers": {"a": "b\nc"}}, "is no header"),
        (
            DOCUMENT,
            {"headers": {"X-A": "b"}, "headers_env": {"x-a": "PATH"}},
            r"headers\.x-a: stands in headers_env too",
        ),
        (DOCUMENT, {"url": "http://a/", "url_env": "PATH"}, r"crm\.url: stands beside url_env"),
        ({"openapi": "3.0.0", "paths": {}}, {}, "0 operations fit"),
    ],
)
def test_what_is_declared_wrongly_stops_the_start(
    tmp_path: Path, document: Any, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(Misconfigured, match=words):
        toolbox(tmp_path, document, **fields)
