"""An HTTP API as tools: one for each operation of its OpenAPI document, asked through `outbound`.

Only `GET` unless the operator names further methods. It goes where the operator said and nowhere else: redirects are
not followed, and nothing that a model gives becomes part of the address but as an encoded value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from freehold.outbound.client import Answer, Client
from freehold.outbound.dial import Dialer, Origin, parse_url
from freehold.outbound.failures import WayOutFailed
from freehold.outbound.limits import Limits
from freehold.toolboxes.functions import Function, ToolFailed
from freehold.toolboxes.ready.entry import Entry, tool
from freehold.toolboxes.ready.operations import METHODS, Operation, operations

_MOST_DOCUMENT_BYTES = 20 << 20
_MOST_TOOLS = 200
_MEDIA = {"image/png": "image", "image/jpeg": "image", "image/gif": "image", "image/webp": "image"}


@dataclass(frozen=True, slots=True)
class _Api:
    origin: Origin
    prefix: str
    headers: Mapping[str, str] = field(repr=False)
    limits: Limits

    async def ask(self, operation: Operation, arguments: Mapping[str, Any]) -> object:
        target, headers, body = operation.request(arguments)
        lines = [f"{operation.method.upper()} {self.prefix}{target} HTTP/1.1", f"host: {self.origin.authority}"]
        given = {"accept": "application/json, */*;q=0.5", "accept-encoding": "identity", **headers, **self.headers}
        if body is not None:
            given["content-type"] = "application/json"
        lines += [f"{name}: {value}" for name, value in given.items()]
        head = "\r\n".join([*lines, f"content-length: {len(body or b'')}", "", ""])
        client = Client(self.origin, Dialer(public_only=False), limits=self.limits)  # the operator alone sets it
        try:
            async with client.exchange(head.encode("latin-1"), body or b"") as answer:
                kind = (answer.header(b"content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()
                return _told(answer.status, kind, await _whole(answer, self.limits.whole_bytes))
        except WayOutFailed as error:
            raise ToolFailed(f"The API was not reached: {error}") from error
        finally:
            await client.close()


def functions(entry: Entry) -> list[Function]:
    """The tools of a declared API. Raises `Misconfigured`."""
    known = ("document", "document_env", "url", "url_env", "methods", "operations", "headers", "headers_env")
    entry.known(*known, "answer_bytes", "answer_s")
    document = _document(entry)
    methods = [method.lower() for method in entry.texts("methods") or ("get",)]
    for method in methods:
        if method not in METHODS:
            raise entry.wrong("methods", f"{method!r} is none of {', '.join(METHODS)}")
    chosen = entry.texts("operations")
    found = [one for one in operations(document) if one.method in methods and (chosen is None or one.name in chosen)]
    if missing := set(chosen or ()) - {one.name for one in found}:
        raise entry.wrong("operations", f"there is no {', '.join(sorted(missing))} among these methods")
    if not 0 < len(found) <= _MOST_TOOLS:
        raise entry.wrong("operations", f"{len(found)} operations fit; there must be 1 to {_MOST_TOOLS}: name some")
    api = _api(entry, document)
    try:
        return [_function(api, operation) for operation in found]
    except ValueError as error:
        raise entry.wrong("document", str(error)) from error


def _function(api: _Api, operation: Operation) -> Function:
    async def run(arguments: Mapping[str, Any]) -> object:
        return await api.ask(operation, arguments)

    made = tool(operation.name, operation.description, {}, run, is_async=True)
    return operation.with_schema(made)


def _api(entry: Entry, document: Mapping[str, Any]) -> _Api:
    servers = document.get("servers") or [{}]
    url = entry.text("url") if "url" in entry.fields or "url_env" in entry.fields else str(servers[0].get("url", ""))
    try:
        origin, prefix = parse_url(url)
    except ValueError as error:
        raise entry.wrong("url", f"{error}; say where the API is") from error
    headers = dict(entry.table("headers"))
    for name, variable in entry.table("headers_env").items():
        if name.lower() in {known.lower() for known in headers}:
            raise entry.wrong(f"headers.{name}", "stands in headers_env too; only one of the two can hold")
        headers[name] = Entry(entry.name, {f"{name}_env": variable}).text(name)
    for name, value in headers.items():
        if not name.replace("-", "").isalnum() or not value.isascii() or not value.isprintable():
            raise entry.wrong("headers", f"{name[:80]!r} is no header, or its value is none")
    seconds, most = entry.number("answer_s", 30, 3600), int(entry.number("answer_bytes", 1 << 20, 64 << 20))
    return _Api(
        origin,
        prefix,
        {n.lower(): v for n, v in headers.items()},
        Limits(silence_s=seconds, stall_s=seconds, whole_bytes=most),
    )


def _document(entry: Entry) -> Mapping[str, Any]:
    path = entry.path("document")
    if path.stat().st_size > _MOST_DOCUMENT_BYTES:
        raise entry.wrong("document", f"{path} is larger than {_MOST_DOCUMENT_BYTES} bytes")
    try:
        text = path.read_text("utf-8")
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise entry.wrong("document", f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3."):
        raise entry.wrong("document", f"{path} is no OpenAPI document of version 3")
    return document


async def _whole(answer: Answer, most: int) -> bytes:
    parts, left = list[bytes](), most
    while data := await answer.read():
        parts.append(data)
        left -= len(data)
        if left < 0:
            raise ToolFailed(f"The API answered with more than {most} bytes; ask for less.")
    return b"".join(parts)


def _told(status: int, kind: str, body: bytes) -> object:
    if status >= 300:
        raise ToolFailed(f"The API answered HTTP {status}: {body[:2000].decode('utf-8', 'replace')}")
    if kind in _MEDIA or kind == "application/pdf":
        source = {"type": "base64", "media_type": kind, "data": base64.b64encode(body).decode()}
        return [{"type": _MEDIA.get(kind, "document"), "source": source}]
    if b"\0" in body[:1024]:
        raise ToolFailed(f"The API answered with {len(body)} bytes of {kind or 'no type'}, which are no text.")
    return body.decode("utf-8", "replace") or f"(HTTP {status}, empty)"
