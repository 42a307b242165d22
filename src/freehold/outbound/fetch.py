"""What stands at an address that somebody else named: read by GET, through the guard, redirects and sizes bounded.

Every address on the way is judged, that of each redirect too, so that nobody reaches what is private here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from freehold.outbound.client import Answer
from freehold.outbound.dial import Origin, parse_url
from freehold.outbound.strangers import Strangers

MOST_REDIRECTS = 5
_MOST_URL = 4_096
_REDIRECTS = (301, 302, 303, 307, 308)


class NotFetched(Exception):
    """It cannot be had; the message is for whoever asked."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was found. `url` is where redirects led in the end; `charset` is as declared, else UTF-8."""

    url: str
    media_type: str
    charset: str
    body: bytes


def _anywhere(_host: str) -> None:
    pass


class Fetch:
    """Fetches under one name of a program, up to `most_bytes` a time."""

    def __init__(self, strangers: Strangers, agent: str, most_bytes: int) -> None:
        self._strangers = strangers
        self._agent = agent
        self._most_bytes = most_bytes

    async def get(self, url: str, check: Callable[[str], None] = _anywhere) -> Fetched:
        """What is there. `check` is asked of every host on the way and may raise.

        Raises:
            NotFetched: the address is none, or what is there is too large, an error, or behind too many redirects.
            WayOutFailed: it cannot be reached (`AddressRefused`: it is not public).
        """
        for _ in range(MOST_REDIRECTS + 1):
            origin, target = _parsed(url)
            check(origin.host)
            client = self._strangers.client(origin)
            try:
                async with client.exchange(request_head(origin, target, self._agent)) as answer:
                    where = (answer.header(b"location") or b"").decode("utf-8", "replace")
                    if answer.status not in _REDIRECTS or not where:
                        return _fetched(url, answer, await body_of(answer, self._most_bytes))
            finally:
                await client.close()
            url = urljoin(url, where)
        raise NotFetched(f"more than {MOST_REDIRECTS} redirects.")


def request_head(origin: Origin, target: str, agent: str) -> bytes:
    """The head of a GET. Raises `NotFetched` if the host's name is not ASCII."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"host: {origin.authority}",
        f"user-agent: {agent}",
        "accept: text/html, text/plain, application/json, application/pdf;q=0.9, */*;q=0.1",
        "accept-encoding: gzip, identity",
        "connection: close",
    ]
    try:
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    except UnicodeEncodeError as error:
        raise NotFetched("url: the host's name must be in ASCII (punycode).") from error


async def body_of(answer: Answer, most_bytes: int) -> bytes:
    """The body, unpacked, up to `most_bytes`. Raises `NotFetched`."""
    packed = (answer.header(b"content-encoding") or b"identity").strip().lower()
    if packed not in (b"identity", b"gzip", b"x-gzip", b""):
        raise NotFetched(f"the answer is packed in a way that is not known ({packed.decode('latin-1')[:40]}).")
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if b"gzip" in packed else None
    pieces, size = [], 0
    while data := await answer.read():
        try:
            data = data if unpack is None else unpack.decompress(data, most_bytes - size + 1)
        except zlib.error as error:
            raise NotFetched("the answer is not what it says (gzip).") from error
        size += len(data)
        if size > most_bytes:
            raise NotFetched(f"the answer has more than {most_bytes / (1 << 20):.3g} MB.")
        pieces.append(data)
    return b"".join(pieces)


def _parsed(url: str) -> tuple[Origin, str]:
    """Where to go, and the request's target. Raises `NotFetched`."""
    try:
        parts = urlsplit(url)
        origin, _ = parse_url(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise NotFetched(f"url: {url[:200]!r} cannot be read: {error}.") from error
    if len(url) > _MOST_URL:
        raise NotFetched(f"url: has {len(url):,} characters, at most {_MOST_URL:,} are taken.")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return origin, target + (f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else "")


def _fetched(url: str, answer: Answer, body: bytes) -> Fetched:
    if answer.status >= 400:
        raise NotFetched(f"{url} answered {answer.status}.")
    kind, _, parameters = (answer.header(b"content-type") or b"text/html").decode("latin-1").partition(";")
    return Fetched(url, kind.strip().lower(), _charset(parameters), body)


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(" \"'")[:40]
    return "utf-8"
