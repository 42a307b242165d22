"""The web for agents: pages as text, PDFs as documents, searches; and nothing that is private, too long or too slow."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from anthropic import BadRequestError

from freehold import testing
from freehold.agents.tools.pages import text_of
from freehold.agents.tools.web import MOST_BYTES, Web, WebSettings
from tests.agents.house import Script, calls, text
from tests.agents.stage import Play
from tests.contract.manifest import shows_difference

HTML = (
    "<html><head><title>A &amp; B</title><style>x{}</style></head><body><h1>Head</h1><p>One  two\n three.</p>"
    "<script>evil()</script><ul><li><a href='/next'>Next</a></li></ul></body></html>"
)
FOUND = [
    {"title": "Freehold", "url": "https://docs.example.com/a", "content": "about it"},
    {"title": "Other", "url": "https://ads.example.net/b", "content": "buy"},
    {"title": "Odd", "url": "javascript:alert(1)", "content": ""},
]


class Site:
    """A small web server; keeps the targets that were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, path: str) -> tuple[int, list[str], bytes]:
        html, plain = "content-type: text/html; charset=utf-8", "content-type: text/plain"
        squeezed = "content-encoding: gzip"
        return {
            "/page": (200, [html], HTML.encode()),
            "/latin": (200, ["content-type: text/plain; charset=latin-1"], "grün".encode("latin-1")),
            "/packed": (200, [plain, squeezed], gzip.compress(b"unpacked")),
            "/bomb": (200, [plain, squeezed], gzip.compress(b"0" * (MOST_BYTES * 3))),
            "/long": (200, [plain], b"word " * 2000),
            "/pdf": (200, ["content-type: application/pdf"], b"%PDF-1.4 x"),
            "/no-pdf": (200, ["content-type: application/pdf"], b"<html>"),
            "/zip": (200, ["content-type: application/zip"], b"PK"),
            "/there": (302, ["location: /page"], b""),
            "/round": (302, ["location: /round"], b""),
            "/inward": (302, [f"location: http://localhost:{self.port}/page"], b""),
            "/file": (302, ["location: file:///etc/passwd"], b""),
            "/search": (200, ["content-type: application/json"], json.dumps({"results": FOUND}).encode()),
        }.get(path.partition("?")[0], (404, [plain], b"no"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split(" ")[1]
        self.asked.append(target)
        status, headers, body = self.answer(target)
        lines = [f"HTTP/1.1 {status} X", *headers, f"content-length: {len(body)}", "connection: close", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened() as site:
        yield site


def web(site: Site, **settings: Any) -> Web:
    private = settings.pop("private", ("127.0.0.1",))
    return Web(WebSettings(web_fetch=True, web_search_url=site.at(""), web_private_hosts=private))


async def fetched(tools: Web, url: str, **config: Any) -> str:
    result = await tools.call("web_fetch", {"url": url}, config)
    words = str(result.content[0].get("text"))
    return f"error: {words}" if result.is_error else words


def test_a_page_becomes_its_words_and_where_its_links_lead() -> None:
    shown = text_of(HTML, "https://example.com/a/")
    assert shown == "A & B\n\nHead\n\nOne two\nthree.\n\n- Next (https://example.com/next)"
    assert "evil" not in text_of("<svg><svg></svg><script>evil", "https://example.com")


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("a < b &lt; c <1>", "a < b < c <1>"),
        ("a<!-- <p>no</p> -->b<!doctype x><?php no ?>c", "abc"),
        ("<script>'</p>'</SCRIPT >yes<style>no</style>", "yes"),
        ("<title>A <b>title</title>B", "A <b>title\n\nB"),
        ("<svg/>yes<template>no<template>no</template>no</template>", "yes"),
        ("<A HREF = \"x?a=1&amp;b='2'>\" title=>w</a>", "w (https://e.com/x?a=1&b='2'>)"),
        (
            "<a href='1' href='2'>one</a><a/href=3>two</a><a href=#x>three</a>",
            "one (https://e.com/1)two (https://e.com/3)three",
        ),
        ("a</ >b</>c</p x='>'>d", "abc\nd"),
        ("yes<a href='no", "yes"),
        ("yes<!-- no", "yes"),
        ("yes<", "yes<"),
    ],
)
def test_markup_is_read_as_browsers_read_it(html: str, shown: str) -> None:
    assert text_of(html, "https://e.com/") == shown


@pytest.mark.parametrize(
    "piece", ["<a ", "<!--", "</", "</a ", "<a b='", "<a b=\"'", "<?x", "<title>", "<script>", "&#", "< "]
)
def test_no_page_takes_long(piece: str) -> None:
    """Half a megabyte each; by the standard library's parser some of these take hours."""
    assert len(text_of(piece * (500_000 // len(piece)), "https://e.com/")) <= 500_000


async def test_pages_texts_and_documents_are_read(site: Site) -> None:
    tools = web(site)
    assert "One two" in await fetched(tools, site.at("/page")) and "A & B" in await fetched(tools, site.at("/there"))
    assert (await fetched(tools, site.at("/latin"))).endswith("grün")
    assert (await fetched(tools, site.at("/packed"))).endswith("unpacked")
    pdf = (await tools.call("web_fetch", {"url": site.at("/pdf")}, {})).content[0]
    assert pdf["type"] == "document" and pdf["source"]["media_type"] == "application/pdf"
    assert "says that it is a PDF, and is none" in await fetched(tools, site.at("/no-pdf"))
    cut = await fetched(tools, site.at("/long"), max_content_tokens=100)
    assert "[cut: the text has 10,000 characters]" in cut and len(cut) < 500


async def test_what_is_private_is_not_reached_not_even_by_a_redirect(site: Site) -> None:
    closed = web(site, private=())
    for url in (
        site.at("/page"),
        f"http://localhost:{site.port}/page",
        f"http://0x7f.1:{site.port}/page",
        f"http://[::ffff:127.0.0.1]:{site.port}/page",
        "http://169.254.169.254/latest/meta-data/",
    ):
        assert (await fetched(closed, url)).startswith("error:"), url
    assert site.asked == []
    assert (await fetched(web(site), site.at("/inward"))).startswith("error:")
    assert site.asked == ["/inward"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/bomb", "more than 10 MB"),
        ("/zip", "cannot be read as text"),
        ("/round", "redirects"),
        ("/file", "cannot be read"),
        ("/missing", "answered 404"),
    ],
)
async def test_what_cannot_be_read_is_said(site: Site, path: str, words: str) -> None:
    told = await fetched(web(site), site.at(path))
    assert told.startswith("error: web_fetch:") and words in told


async def test_an_address_cannot_carry_headers(site: Site) -> None:
    told = await fetched(web(site), site.at("/page?a=1\r\nx-evil: 1"))
    assert told.startswith("error:") or all("\r" not in target and " " not in target for target in site.asked)
    for odd in ("", "ftp://example.com", "http://user:pw@example.com/", "http://", "http://exämple.com"):
        assert (await fetched(web(site), odd)).startswith("error:")


async def test_the_agents_domains_bound_what_is_read_and_found(site: Site) -> None:
    tools = web(site)
    assert "not among the domains" in await fetched(tools, site.at("/page"), allowed_domains=["example.com"])
    assert "not among the domains" in await fetched(tools, site.at("/page"), blocked_domains=["127.0.0.1"])
    found = await tools.call("web_search", {"query": "freehold"}, {"allowed_domains": ["example.com"]})
    assert "docs.example.com/a" in found.content[0]["text"] and "ads" not in found.content[0]["text"]
    assert site.asked[-1] == "/search?q=freehold&format=json"
    both = await tools.call("web_search", {"query": "freehold"}, {})
    assert "ads.example.net" in both.content[0]["text"] and "javascript" not in both.content[0]["text"]
    assert (await tools.call("web_search", {"query": " "}, {})).is_error


async def test_an_agent_searches_and_reads_without_a_box(site: Site) -> None:
    uses = calls(("web_search", {"query": "freehold"}), ("web_fetch", {"url": site.at("/page")}))
    script = Script([uses, text("done")])
    settings = {"web_fetch": True, "web_search_url": site.at(""), "web_private_hosts": ["127.0.0.1"]}
    off = [{"name": name, "enabled": False} for name in ("bash", "edit", "read", "write", "glob", "grep")]
    tools: Any = [{"type": "agent_toolset_20260401", "configs": off}]
    async with testing.server(upstream=script, strict=True, settings=settings) as running:
        client = running.client
        agent = await client.beta.agents.create(name="reader", model="claude-haiku-4-5", tools=tools)
        environment = await client.beta.environments.create(name="here")
        made = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        play = Play(running, made.id)
        await play.say()
        events = await play.idle(1)
        first, second = [event for event in events if event.type == "agent.tool_result"]
        assert "docs.example.com" in first.content[0].text and "One two" in second.content[0].text
        assert [tool["name"] for tool in script.asked[0]["tools"]] == ["web_fetch", "web_search"]
        assert "system" not in script.asked[0]  # there is no box to speak of
        used = (await client.beta.sessions.retrieve(made.id)).usage.server_tool_use
        assert used is not None and used.web_search_requests == 1 and used.web_fetch_requests == 1


@shows_difference("options-of-web-tools")
async def test_options_of_web_tools_are_checked(site: Site) -> None:
    async with testing.server(strict=True, settings={"web_fetch": True}) as running:
        for config, named in (
            ({"allowed_domains": ["a.com"], "blocked_domains": ["b.com"]}, "do not go together"),
            ({"allowed_domains": []}, "allowed_domains"),
            ({"blocked_domains": ["https://b.com/x"]}, "blocked_domains"),
            ({"max_content_tokens": 0}, "max_content_tokens"),
            ({"url_sources": {"user_input": "none"}}, "url_sources"),
        ):
            tools: Any = [{"type": "agent_toolset_20260401", "configs": [{"name": "web_fetch", **config}]}]
            with pytest.raises(BadRequestError, match=named):
                await running.client.beta.agents.create(name="reader", model="claude-haiku-4-5", tools=tools)
        tools = [{"type": "agent_toolset_20260401", "configs": [{"name": "web_fetch", "allowed_domains": ["a.com"]}]}]
        agent = await running.client.beta.agents.create(name="reader", model="claude-haiku-4-5", tools=tools)
        shown: Any = next(config for config in agent.tools[0].configs if config.name == "web_fetch")  # type: ignore[union-attr]
        assert shown.enabled and shown.allowed_domains == ["a.com"]
