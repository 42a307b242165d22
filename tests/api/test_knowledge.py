"""Knowledge as its clients see it: over HTTP, by an agent's tool, by any MCP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from freehold.inprocess import AsgiTransport
from freehold.testing import Running, server

PATH = "/freehold/v1/knowledge/collections"
HANDBOOK = b"# Leave\n\nEverybody has 28 days of annual leave.\n"
PRICES = b"# Prices\n\nThe enterprise plan costs 900 euros a month.\n"


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with server(settings={"knowledge_private_hosts": ["127.0.0.1"]}) as running:
        yield running


def http(running: Running, key: str | None = None) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {key or running.key}"}
    transport = AsgiTransport(running.application.asgi)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=30)


async def filled(client: httpx2.AsyncClient) -> None:
    for name, text in [("handbook", HANDBOOK), ("sales", PRICES)]:
        assert (await client.post(PATH, json={"name": name, "description": "ours"})).status_code == 200
        reply = await client.post(f"{PATH}/{name}/documents", files={"file": (f"{name}.md", text, "text/markdown")})
        assert reply.json()["outcome"] == "added", reply.text


async def test_documents_are_uploaded_searched_listed_and_deleted(running: Running) -> None:
    async with http(running) as client:
        await filled(client)
        found = (await client.post("/freehold/v1/knowledge/search", json={"query": "annual leave", "limit": 3})).json()
        [passage] = found["data"]
        assert passage["search_result"] == {
            "type": "search_result",
            "source": "handbook/handbook.md#lines=1-3",
            "title": "Leave · Leave",
            "content": [{"type": "text", "text": HANDBOOK.decode().rstrip()}],
            "citations": {"enabled": True},
        }
        shown = (await client.get(f"{PATH}/handbook")).json()
        assert (shown["documents"], shown["chunks"], shown["size_bytes"]) == (1, 1, len(HANDBOOK))
        [document] = (await client.get(f"{PATH}/handbook/documents")).json()["data"]
        whole = (await client.get(f"{PATH}/handbook/documents/{document['id']}")).json()
        assert [one["text"] for one in whole["passages"]] == [HANDBOOK.decode().rstrip()]
        assert (await client.delete(f"{PATH}/handbook/documents/{document['id']}")).status_code == 200
        assert (await client.delete(f"{PATH}/sales")).json()["type"] == "knowledge_collection_deleted"
        assert [one["name"] for one in (await client.get(PATH)).json()["data"]] == ["handbook"]
        changes = {row["path"] for row in (await client.get("/freehold/v1/audit")).json()["data"]}
        assert PATH in changes and "/freehold/v1/knowledge/search" not in changes
        for wrong in ({"query": ""}, {"query": "a", "limit": 0}, {"query": "a", "mode": "x"}, {"query": "a", "top": 1}):
            assert (await client.post("/freehold/v1/knowledge/search", json=wrong)).status_code == 400, wrong


async def test_a_long_document_is_read_a_page_at_a_time(running: Running) -> None:
    text = "".join(f"# Part {number}\n\n{f'This is part {number}. ' * 100}\n\n" for number in range(12)).encode()
    async with http(running) as client:
        await client.post(PATH, json={"name": "long"})
        added = (await client.post(f"{PATH}/long/documents", files={"file": ("a.md", text, "text/markdown")})).json()
        where, page, seen = f"{PATH}/long/documents/{added['id']}", None, list[Any]()
        whole = (await client.get(where, params={"limit": 1000})).json()
        assert len(whole["passages"]) == added["chunks"] > 10 and whole["next_page"] is None
        while page is not None or not seen:
            found = (await client.get(where, params={"limit": 5, **({"page": page} if page else {})})).json()
            assert found["name"] == "a.md" and 1 <= len(found["passages"]) <= 5
            seen += found["passages"]
            page = found["next_page"]
        assert seen == whole["passages"]
        assert (await client.get(where, params={"limit": 0})).status_code == 400
        assert (await client.get(where, params={"page": "x"})).status_code == 400


async def test_files_and_addresses_are_taken_in_with_progress_and_private_addresses_are_refused(
    running: Running,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1]
        await reader.readuntil(b"\r\n\r\n")
        headers = {
            b"/a.txt": b"200 OK\r\ncontent-type: text/plain",
            b"/away": b"302 Found\r\nlocation: http://169.254.169.254/latest/meta-data",
        }.get(path, b"404 No")
        body = b"Whales sing.\n" * 500 if path == b"/a.txt" else b""
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (headers, len(body), body))
        await writer.drain()
        writer.close()

    site = await asyncio.start_server(answer, "127.0.0.1", 0)
    at = f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}"
    async with site, http(running) as client:
        await client.post(PATH, json={"name": "web"})
        upload = await running.client.files.upload(file=("notes.txt", b"Crickets chirp."))
        refused = ["http://[::1]/", "http://10.0.0.1/x", "http://localhost/", "file:///etc/passwd", "gopher://a/"]
        urls = [f"{at}/a.txt", f"{at}/away", f"{at}/none", *refused]
        reply = await client.post(
            f"{PATH}/web/documents/fetch", json={"file_ids": [upload.id, "file_no"], "urls": urls}
        )
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert [line["source"] for line in lines if line["type"] == "document"] == [upload.id, f"{at}/a.txt"]
        assert {"type": "progress", "source": f"{at}/a.txt", "done": 6, "chunks": 6} in lines
        failed = {line["source"]: line["error"]["message"] for line in lines if line["type"] == "document_failed"}
        assert set(failed) == {"file_no", *urls[1:]}
        assert "not allowed" in failed[f"{at}/away"] and "not allowed" in failed["http://10.0.0.1/x"]
        assert lines[-1] == {"type": "ended", "added": 2, "replaced": 0, "unchanged": 0, "failed": 8}
        again = await client.post(f"{PATH}/web/documents/fetch", json={"urls": [f"{at}/a.txt"]})
        assert json.loads(again.text.splitlines()[-1])["unchanged"] == 1
        found = (await client.post("/freehold/v1/knowledge/search", json={"query": "whales"})).json()["data"]
        assert found[0]["search_result"]["source"].startswith(f"{at}/a.txt#lines=")
        refused_bodies: list[dict[str, Any]] = [{}, {"urls": []}, {"urls": ["x"] * 101}, {"urls": [1]}, {"path": "/"}]
        for wrong in refused_bodies:
            assert (await client.post(f"{PATH}/web/documents/fetch", json=wrong)).status_code == 400, wrong


async def test_an_agent_searches_only_the_collections_it_is_given(running: Running) -> None:
    async with http(running) as client:
        await filled(client)
    only = await asked(running.client, "toolbox:knowledge?collections=sales", "Search the knowledge: annual leave")
    assert only == [[{"type": "text", "text": "Nothing was found."}]]
    [[block]] = await asked(running.client, "toolbox:knowledge?collections=sales", "Search the knowledge: enterprise")
    assert block["source"] == "sales/sales.md#lines=1-3" and block["citations"] == {"enabled": True}
    for url in ("toolbox:knowledge?collections=", "toolbox:knowledge?x=1", "toolbox:knowledge?collections=../a"):
        with pytest.raises(Exception, match=r"toolbox:knowledge\?collections=NAME"):
            await asked(running.client, url, "never")


async def asked(client: AsyncAnthropic, url: str, text: str) -> list[list[dict[str, Any]]]:
    """The results of the tools that an agent with that toolbox calls when it is told so."""
    allowed: Any = {"permission_policy": {"type": "always_allow"}}
    agent = await client.beta.agents.create(
        name="reader",
        model="claude-sonnet-5-5",
        mcp_servers=[{"type": "url", "name": "knowledge", "url": url}],
        tools=[{"type": "mcp_toolset", "mcp_server_name": "knowledge", "default_config": allowed}],
    )
    environment = await client.beta.environments.create(name="plain")
    session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    results: list[list[dict[str, Any]]] = []
    async with asyncio.timeout(120), await client.beta.sessions.events.stream(session.id) as stream:
        said: Any = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        await client.beta.sessions.events.send(session.id, events=[said])
        async for event in stream:
            if event.type == "agent.mcp_tool_result":
                results.append([block.to_dict() for block in event.content or ()])
            if event.type == "session.status_idle":
                return results
    return results


async def test_an_mcp_client_searches_its_own_workspace(running: Running) -> None:
    async with http(running) as client:
        await filled(client)
    async with mcp(running, running.key) as client:
        [tool] = (await client.list_tools()).tools
        assert tool.name == "search_knowledge"
        result = await client.call_tool("search_knowledge", {"query": "enterprise plan", "limit": None})
        assert "900 euros" in str(result.content[0])
        assert result.structured_content is not None
        assert result.structured_content["results"][0]["type"] == "search_result"
        for wrong in (
            {},
            {"query": 1},
            {"query": "a", "collections": "sales"},
            {"query": "a", "limit": 99},
            {"q": "a"},
        ):
            assert (await client.call_tool("search_knowledge", wrong)).is_error, wrong
    async with mcp(running, await running.new_key(workspace="other")) as stranger:
        result = await stranger.call_tool("search_knowledge", {"query": "enterprise plan"})
        assert "Nothing was found" in str(result.content)
        assert (await stranger.call_tool("search_knowledge", {"query": "a", "collections": ["sales"]})).is_error


@asynccontextmanager
async def mcp(running: Running, key: str) -> AsyncIterator[Client]:
    async with (
        http(running, key) as client,
        Client(streamable_http_client("http://test/mcp/knowledge", http_client=client)) as connected,
    ):
        yield connected
