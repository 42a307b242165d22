"""One file of Python functions, called by a session here, by any MCP client, and by a plain tool runner."""

from __future__ import annotations

import os
import select
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from freehold.cli.chatting.functions import functions
from freehold.environments.launcher import find_program
from freehold.launch import ServerProcess

TOOLS = '''
from anthropic import beta_tool, beta_async_tool

STOCK = {"ink": 12, "tea": 3}

@beta_tool
def count_stock(product: str) -> str:
    """Count what is in stock of a product, such as "ink"."""
    return f"{product}: {STOCK[product]} pieces"

@beta_async_tool
async def get_picture(product: str) -> list:
    """Get a picture of a product, such as "tea"."""
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    return [{"type": "text", "text": product}, {"type": "image", "source": image}]
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "shop.py"
    path.write_text(TOOLS, "utf-8")
    return path


@pytest.fixture(scope="module", params=[{}, {"FREEHOLD_ISOLATE": "shop"}], ids=["in the server", "isolated"])
def server(
    request: pytest.FixtureRequest, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    if request.param and find_program("bwrap") is None and not os.environ.get("CI"):
        pytest.skip("bubblewrap is not installed")
    arguments = ["--upstream", "simulator"]
    folder = tmp_path_factory.mktemp("data")
    with ServerProcess(folder, tools=[file], arguments=arguments, environment=request.param) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0) as client:
        yield client


@asynccontextmanager
async def connected(server: ServerProcess) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {server.key}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        transport = streamable_http_client(f"{server.address}/mcp/shop", http_client=http)
        async with Client(transport) as client:
            yield client


def test_a_session_here_calls_it(client: Any) -> None:
    agent = client.beta.agents.create(
        name="clerk",
        model="claude-sonnet-5-5",
        mcp_servers=[{"type": "url", "name": "shop", "url": "toolbox:shop"}],
        tools=[
            {
                "type": "mcp_toolset",
                "mcp_server_name": "shop",
                "default_config": {"permission_policy": {"type": "always_allow"}},
            }
        ],
    )
    environment = client.beta.environments.create(name="plain")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    said = {"type": "text", "text": 'Please count the stock of the product "ink".'}
    results = []
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": [said]}])
        for event in stream:
            if event.type == "agent.mcp_tool_result":
                results.append(event.content[0].text)
            if event.type == "session.status_idle":
                break
    assert results == ["ink: 12 pieces"]


async def test_an_mcp_client_lists_and_calls_it(server: ServerProcess) -> None:
    async with connected(server) as mcp:
        await lists_and_calls(mcp)


async def lists_and_calls(mcp: Client) -> None:
    tools = {tool.name: tool for tool in (await mcp.list_tools()).tools}
    assert set(tools) == {"count_stock", "get_picture"}
    assert tools["count_stock"].input_schema["required"] == ["product"]
    counted = await mcp.call_tool("count_stock", {"product": "tea"})
    assert not counted.is_error
    assert [block.text for block in counted.content if block.type == "text"] == ["tea: 3 pieces"]
    picture = await mcp.call_tool("get_picture", {"product": "tea"})
    assert [block.type for block in picture.content] == ["text", "image"]


async def test_what_goes_wrong_is_told_to_the_mcp_client(server: ServerProcess) -> None:
    async with connected(server) as mcp:
        await is_told(mcp)


async def is_told(mcp: Client) -> None:
    unknown = await mcp.call_tool("count_stock", {"product": "milk"})
    assert unknown.is_error
    wrong = await mcp.call_tool("count_stock", {"products": 1})
    assert wrong.is_error
    assert "product" in str(wrong.content[0])
    missing = await mcp.call_tool("sell", {})
    assert missing.is_error and "count_stock" in str(missing.content[0])


def test_a_plain_tool_runner_calls_it(client: Any, file: Path) -> None:
    message = client.beta.messages.tool_runner(
        model="claude-sonnet-5-5",
        max_tokens=500,
        tools=[tool for tool in functions(file) if tool.name == "count_stock"],
        messages=[{"role": "user", "content": 'Please count the stock of the product "ink".'}],
        thread=False,
    ).until_done()
    assert "ink: 12 pieces" in message.content[-1].text


@pytest.mark.parametrize(
    ("path", "key", "status", "told"),
    [
        ("/mcp/shop", None, 401, "No API key"),
        ("/mcp/shop", "sk-fh-wrong", 401, "not valid"),
        ("/mcp/none", "", 404, "Loaded: freehold, knowledge, shop"),
        ("/mcp", "", 404, "Loaded: freehold, knowledge, shop"),
        ("/mcp/shop/../../v1/agents", None, 401, "No API key"),
    ],
)
def test_without_a_key_or_a_toolbox_there_is_an_envelope(
    server: ServerProcess, path: str, key: str | None, status: int, told: str
) -> None:
    headers = {} if key is None else {"x-api-key": key or server.key}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with httpx2.Client(base_url=server.address, trust_env=False) as http:
        answered = http.post(path, json=request, headers=headers)
    assert answered.status_code == status
    assert told in answered.json()["error"]["message"]
    asks = status == 401 and ".." not in path
    assert ("www-authenticate" in answered.headers) == asks


def test_a_server_with_an_open_mcp_stream_stops(file: Path, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, tools=[file], arguments=["--upstream", "simulator"]) as server:
        headers = {"x-api-key": server.key, "accept": "text/event-stream, application/json"}
        with (
            httpx2.Client(base_url=server.address, trust_env=False, headers=headers) as http,
            http.stream("GET", "/mcp/shop"),
        ):
            assert server.stop() == 0


@pytest.mark.skipif(find_program("bwrap") is None and not os.environ.get("CI"), reason="bubblewrap is not installed")
@pytest.mark.parametrize("end", [ServerProcess.kill, ServerProcess.stop], ids=["killed", "stopped"])
def test_no_process_of_an_isolated_toolbox_outlives_its_server(
    end: Callable[[ServerProcess], object], file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "alone.py"
    mine.write_text(file.read_text("utf-8"), "utf-8")
    arguments, isolated = ["--upstream", "simulator"], {"FREEHOLD_ISOLATE": "alone"}
    with ServerProcess(tmp_path / "data", tools=[mine], arguments=arguments, environment=isolated) as server:
        pids = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and runs(entry, mine)]
        ends = [os.pidfd_open(int(entry.name)) for entry in pids]
        assert ends
        end(server)
        for process in ends:
            assert select.select([process], [], [], 60)[0]
            os.close(process)


def runs(process: Path, file: Path) -> bool:
    try:
        return str(file).encode() in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
