"""An upstream that records what another one answers, and plays it back later without it, bit for bit.

Each recording is one JSON file in a folder, named by a digest of its request; the same request recorded again adds a
take, and takes are played in order, the last one for good. Secrets never reach the folder: no request header is kept,
of answer headers only harmless ones, and keys and tokens inside bodies are struck out. A request without a recording
is an error that names the nearest one and where they differ.
"""

from __future__ import annotations

import asyncio
import base64
import difflib
import hashlib
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from freehold.calls import Call, Headers, Reply
from freehold.clock import Clock, rfc3339
from freehold.errors import FreeholdError, InvalidRequest, NotFound
from freehold.upstreams.base import Upstream
from freehold.wire.envelopes import error_body
from freehold.wire.frames import Frames
from freehold.wire.reads import Read

Mode = Literal["play", "record", "play_or_record"]
_KEPT_HEADERS = (b"content-type", b"request-id", b"retry-after", b"x-should-retry")
_KEPT_PREFIXES = (b"anthropic-ratelimit-",)
_SECRET_FIELDS = frozenset({"authorization_token", "fallback_credit_token", "user_id", "encrypted_content"})
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|(?i:bearer)\s+[\w.~+/-]{16,}=*"
)
_STRUCK = "[struck out]"
_LARGEST_FILE = 64 << 20
_SUMMARY_CHARACTERS = 2_000
_FORMAT = 1


class BrokenRecording(FreeholdError):
    """A file in the folder is no recording of this format."""

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"x-should-retry": "false"})


@dataclass(slots=True)
class _Known:
    """A recording as the index has it."""

    path: Path
    summary: str
    played: int = 0


class Replay:
    """See the module.

    `play` answers from the folder only; `record` asks `upstream` each time and keeps what came; `play_or_record` asks
    it for what is missing. `timed`: play with the pauses of the original, else at once.
    """

    name = "replay"
    counts_tokens = True

    def __init__(
        self, folder: Path, clock: Clock, *, mode: Mode = "play", upstream: Upstream | None = None, timed: bool = False
    ) -> None:
        if (upstream is None) != (mode == "play"):
            raise ValueError(f"mode {mode!r} {'needs an upstream' if upstream is None else 'takes no upstream'}")
        self._folder = folder
        self._clock = clock
        self._mode = mode
        self._upstream = upstream
        self._timed = timed
        self._known: dict[str, _Known] = {}
        self._scanned = False

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        """Begin the call.

        Raises:
            NotAnswered: only what the recorded upstream raises.
        """
        try:
            request = _request(call)
            name = _name(call.route, request)
            recording = await self._find(name, call.route, request)
        except FreeholdError as error:
            headers = [(key.encode(), value.encode()) for key, value in error.headers.items()]
            whole = error_body(error, call.request_id)
            yield Reply(error.status, [(b"content-type", b"application/json"), *headers], whole=whole)
            return
        if recording is None:
            async with self._record(call, name, request) as reply:
                yield reply
            return
        head = await self._play(recording, self._known[name])
        try:
            yield head
        finally:
            if isinstance(head.reads, AsyncGenerator):
                await head.reads.aclose()

    async def _find(self, name: str, route: str, request: Any) -> dict[str, Any] | None:
        """The recording to play, or `None` where the upstream is to be asked.

        Raises:
            NotFound: there is none, and no upstream.
            BrokenRecording: a file cannot be read.
        """
        if not self._scanned:
            self._known = await asyncio.to_thread(_scan, self._folder)
            self._scanned = True
        known = self._known.get(name)
        if self._upstream is not None and (known is None or self._mode == "record"):
            return None
        if known is None:
            raise NotFound(await asyncio.to_thread(_missing, self._known, route, request))
        return await asyncio.to_thread(_load, known.path)

    async def close(self) -> None:
        """Let the recorded upstream go."""
        if self._upstream is not None:
            await self._upstream.close()

    @asynccontextmanager
    async def _record(self, call: Call, name: str, request: Any) -> AsyncIterator[Reply]:
        assert self._upstream is not None
        begun_ns = self._clock.monotonic_ns()
        async with self._upstream(call) as reply:
            take: dict[str, Any] = {"status": reply.status, "headers": _kept(reply.headers)}
            if reply.whole is not None:
                take["whole"] = _strike(reply.whole)
                take["after_s"] = self._since(begun_ns)
                await self._keep(name, call, request, take)
                yield reply
                return
            assert reply.reads is not None
            chunks: list[dict[str, Any]] = []
            yield Reply(reply.status, reply.headers, reads=self._tee(reply.reads, chunks, begun_ns))
            if chunks and chunks[-1].get("end"):
                take["reads"] = chunks[:-1]
                await self._keep(name, call, request, take)

    async def _tee(
        self, reads: AsyncIterator[Read], chunks: list[dict[str, Any]], begun_ns: int
    ) -> AsyncGenerator[Read, None]:
        async for read in reads:
            chunks.append({"after_s": self._since(begun_ns), **_strike(read.data)})
            yield read
        # Only a stream that came to its end is kept: a consumer that leaves early proves nothing about the rest.
        chunks.append({"end": True})

    def _since(self, begun_ns: int) -> float:
        return round((self._clock.monotonic_ns() - begun_ns) / 1e9, 6)

    async def _keep(self, name: str, call: Call, request: Any, take: dict[str, Any]) -> None:
        known = self._known.setdefault(name, _Known(self._folder / f"{name}.json", _summary(call.route, request)))
        recording = {"format": _FORMAT, "route": call.route, "request": request, "takes": []}
        if known.played:  # by this recorder: another take; what an earlier one left is replaced
            recording = await asyncio.to_thread(_load, known.path)
        known.played += 1
        recording["takes"].append({"recorded_at": rfc3339(self._clock.now_us()), **take})
        await asyncio.to_thread(_write, known.path, recording)

    async def _play(self, recording: Mapping[str, Any], known: _Known) -> Reply:
        takes = recording["takes"]
        take = takes[min(known.played, len(takes) - 1)]
        known.played += 1
        headers: Headers = [(name.encode(), value.encode()) for name, value in take["headers"]]
        if "whole" not in take:
            return Reply(take["status"], headers, reads=self._reads(take["reads"]))
        if self._timed:
            await self._clock.sleep(take["after_s"])
        return Reply(take["status"], headers, whole=_bytes(take["whole"]))

    async def _reads(self, chunks: Sequence[Mapping[str, Any]]) -> AsyncGenerator[Read, None]:
        frames, passed_s = Frames(), 0.0
        for chunk in chunks:
            if self._timed and chunk["after_s"] > passed_s:
                await self._clock.sleep(chunk["after_s"] - passed_s)
                passed_s = chunk["after_s"]
            data, borders = frames.feed(_bytes(chunk))
            if data:
                yield Read(data, borders)
        if rest := frames.rest():
            yield Read(rest, [len(rest)])


def _request(call: Call) -> Any:
    """The request as it is kept and compared: parsed, without secrets."""
    try:
        return _without_secrets(json.loads(call.body))
    except (ValueError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON, so it cannot be recorded or played.") from None


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _STRUCK if key in _SECRET_FIELDS and part is not None else _without_secrets(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    return _SECRET.sub(_STRUCK, value) if isinstance(value, str) else value


def _name(route: str, request: Any) -> str:
    written = json.dumps([route, request], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _kept(headers: Headers) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIXES)
    ]


def _strike(data: bytes) -> dict[str, str]:
    """Bytes for a JSON file: text with secrets struck out, or base64 where it is no text."""
    try:
        return {"text": _SECRET.sub(_STRUCK, data.decode("utf-8"))}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(kept: Mapping[str, str]) -> bytes:
    return kept["text"].encode() if "text" in kept else base64.b64decode(kept["base64"])


def _summary(route: str, request: Any) -> str:
    """What a person would call the request: model and the end of the conversation."""
    messages = request.get("messages") if isinstance(request, dict) else None
    last = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content") if isinstance(last, dict) else ""
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    model = request.get("model") if isinstance(request, dict) else None
    return f"{route} {model} {said}"[:_SUMMARY_CHARACTERS]


def _scan(folder: Path) -> dict[str, _Known]:
    found = {}
    for path in sorted(folder.glob("*.json")):
        recording = _load(path)
        found[path.stem] = _Known(path, _summary(recording["route"], recording["request"]))
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BrokenRecording(f"{path.name}: larger than a recording can be")
        recording = json.loads(path.read_text("utf-8"))
        if recording["format"] != _FORMAT or not recording["takes"] or "request" not in recording:
            raise BrokenRecording(f"{path.name}: not a recording of format {_FORMAT}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BrokenRecording(f"{path.name}: not a recording: {error}") from error
    whole: dict[str, Any] = recording
    return whole


def _write(path: Path, recording: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(json.dumps(recording, ensure_ascii=False, indent=1), "utf-8")
    os.replace(half, path)


def _missing(index: Mapping[str, _Known], route: str, request: Any) -> str:
    summary = _summary(route, request)
    if not index:
        return "There is no recording at all in this folder; record one first."
    near = max(
        index, key=lambda name: difflib.SequenceMatcher(None, summary, index[name].summary, autojunk=False).ratio()
    )
    recording = _load(index[near].path)
    place = "route" if recording["route"] != route else _difference(recording["request"], request, "")
    return (
        f"No recording fits this request. The nearest is {near}.json; the first difference is at {place or 'the top'}."
    )


def _difference(recorded: Any, asked: Any, path: str) -> str:
    """The path of the first difference between two JSON values, with both values in short."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for key in [*recorded, *(key for key in asked if key not in recorded)]:
            if recorded.get(key) != asked.get(key):
                return _difference(recorded.get(key), asked.get(key), f"{path}.{key}" if path else key)
    if isinstance(recorded, list) and isinstance(asked, list):
        for at in range(max(len(recorded), len(asked))):
            left, right = (values[at] if at < len(values) else None for values in (recorded, asked))
            if left != right:
                return _difference(left, right, f"{path}.{at}")
    return f"{path} (recorded {_short(recorded)}, asked {_short(asked)})"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
