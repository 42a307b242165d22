"""The web for agents: `web_fetch` reads one address, `web_search` asks the search service that the operator named.

Both run in the server, never in a box, and leave it only through `outbound`: every address, that of each redirect too,
passes the guard, so an agent cannot reach what is private. Sizes, times and redirects are bounded.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from freehold.agents.session import Json, Result
from freehold.agents.tools.pages import text_of
from freehold.config import setting
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, parse_url
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.fetch import Fetch, Fetched, NotFetched, body_of, request_head
from freehold.outbound.limits import Limits
from freehold.outbound.strangers import Strangers

_AGENT = "freehold-web"
FETCH, SEARCH = "web_fetch", "web_search"
NAMES = (FETCH, SEARCH)
FETCH_S = 30.0
"""For everything: names, redirects, the page."""
MOST_BYTES = 10 << 20
MOST_RESULTS = 10
_CHARACTERS_A_TOKEN = 3.5
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "application/x-yaml")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Which web tools agents may have."""

    web_fetch: bool = setting(False, "Agents may be given web_fetch: the server reads public addresses for them.")
    web_search_url: str | None = setting(
        None, "A SearXNG-style search service, such as http://127.0.0.1:8888; with it agents may be given web_search."
    )
    web_private_hosts: tuple[str, ...] = setting(
        (), "Hosts that web_fetch may read although their addresses are private."
    )

    def enabled(self) -> frozenset[str]:
        """The tools that have what they need."""
        found = {FETCH} if self.web_fetch else set()
        return frozenset(found | ({SEARCH} if self.web_search_url else set()))


@dataclass(frozen=True, slots=True)
class WebSpec:
    """A web tool as the model sees it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


_SPECS = {
    FETCH: WebSpec(
        FETCH,
        "Read what is at a web address: pages come as plain text with their links, PDFs as documents. Addresses that "
        "are not public cannot be reached.",
        {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "An http:// or https:// address."}},
            "required": ["url"],
            "additionalProperties": False,
        },
    ),
    SEARCH: WebSpec(
        SEARCH,
        "Search the web; gives titles, addresses and excerpts.",
        {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
            "additionalProperties": False,
        },
    ),
}


class Web:
    """The web tools of a server."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._free = Dialer(public_only=False)
        self._limits = Limits(silence_s=FETCH_S, stall_s=FETCH_S, whole_bytes=MOST_BYTES)

    def specs(self) -> Sequence[WebSpec]:
        """Those that are enabled."""
        enabled = self._settings.enabled()
        return [_SPECS[name] for name in NAMES if name in enabled]

    async def call(self, name: str, arguments: Mapping[str, Any], config: Mapping[str, Any]) -> Result:
        """Run one under the agent's `config` for it. What goes wrong is an error result; nothing is raised."""
        try:
            async with asyncio.timeout(FETCH_S):
                if name == FETCH:
                    return Result(tuple(await self._fetch(str(arguments.get("url") or ""), config)), False)
                return Result(tuple(await self._search(str(arguments.get("query") or ""), config)), False)
        except TimeoutError:
            return _failed(f"{name}: no answer within {FETCH_S:g} s.")
        except (WayOutFailed, NotFetched) as error:
            return _failed(f"{name}: {error}")

    # Fetching.

    async def _fetch(self, url: str, config: Mapping[str, Any]) -> list[Json]:
        fetch = Fetch(Strangers(self._settings.web_private_hosts, limits=self._limits), _AGENT, MOST_BYTES)
        page = await fetch.get(url, lambda host: _check_domain(host, config))
        return await asyncio.to_thread(_shown, page, config)  # megabytes of a page take seconds

    # Searching.

    async def _search(self, query: str, config: Mapping[str, Any]) -> list[Json]:
        if not query.strip():
            raise NotFetched("query: must not be empty.")
        origin, prefix = parse_url(self._settings.web_search_url or "")
        target = f"{prefix}/search?{urlencode({'q': query[:1000], 'format': 'json'})}"
        client = Client(origin, self._free, limits=self._limits)  # the operator alone sets that address
        try:
            async with client.exchange(request_head(origin, target, _AGENT)) as answer:
                body = await body_of(answer, MOST_BYTES)
                if answer.status != 200:
                    raise NotFetched(f"the search service answered {answer.status}.")
        finally:
            await client.close()
        found = [one for one in _results(body) if _may(str(urlsplit(one["url"]).hostname or ""), config)]
        shown = [f"{one['title']}\n{one['url']}\n{one['content']}".strip() for one in found[:MOST_RESULTS]]
        return [_text("\n\n".join(shown) or "Nothing was found.")]


def _shown(page: Fetched, config: Mapping[str, Any]) -> list[Json]:
    kind, url = page.media_type, page.url
    if kind == "application/pdf":
        if b"%PDF-" not in page.body[:1024]:  # the model would refuse it, now and in every later request
            raise NotFetched(f"{url} says that it is a PDF, and is none.")
        source = {"type": "base64", "media_type": kind, "data": base64.b64encode(page.body).decode()}
        return [{"type": "document", "source": source, "title": url[:500]}]
    if not kind.startswith(_TEXTS) and not kind.endswith(("+json", "+xml")):
        raise NotFetched(f"{url} is {kind[:100]}, which cannot be read as text.")
    text = _decoded(page.body, page.charset)
    text = text_of(text, url) if "html" in kind else text
    most = config.get("max_content_tokens")
    if most is not None and len(text) > (limit := round(most * _CHARACTERS_A_TOKEN)):
        text = f"{text[:limit]}\n[cut: the text has {len(text):,} characters]"
    return [_text(f"{url}\n\n{text}")]


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _results(body: bytes) -> list[dict[str, str]]:
    """The results of a SearXNG-style answer. Raises `NotFetched`."""
    try:
        found = msgspec.json.decode(body)["results"]
        return [
            {name: str(one.get(name) or "") for name in ("title", "url", "content")}
            for one in found
            if str(one.get("url", "")).startswith(("http://", "https://"))
        ]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise NotFetched("the search service's answer cannot be read; it must offer the format json.") from error


def _may(host: str, config: Mapping[str, Any]) -> bool:
    """Whether the agent's lists of domains let it look there."""
    allowed, blocked = config.get("allowed_domains"), config.get("blocked_domains")
    if allowed is not None and not any(_within(host, domain) for domain in allowed):
        return False
    return not any(_within(host, domain) for domain in blocked or ())


def _check_domain(host: str, config: Mapping[str, Any]) -> None:
    if not _may(host, config):
        raise NotFetched(f"{host} is not among the domains that this agent may read.")


def _within(host: str, domain: str) -> bool:
    host, domain = host.lower().rstrip("."), domain.lower()
    return host == domain or host.endswith(f".{domain}")


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _failed(text: str) -> Result:
    return Result((_text(text),), is_error=True)
