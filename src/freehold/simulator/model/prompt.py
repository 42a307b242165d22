"""A request laid out as the one long prefix that the model reads: tools, system, messages, block by block.

Every block is a position with its tokens and a digest of everything up to it; the cache compares digests, nothing else.
What a setting invalidates is mixed into the digest where its level begins (Claude API docs, page "Prompt caching",
table "What invalidates the cache", read 2026-11-23).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from freehold.simulator.model import media, signatures, tokens
from freehold.simulator.model.request import Placed, Request, Turn, text_of
from freehold.simulator.model.rules.media import placed_of

TOOLS_OVERHEAD = 340
"""Pieces of the system prompt that comes with the first tool."""
_TURN_OVERHEAD = 4
_TOOL_OVERHEAD = 12
_CALL_OVERHEAD = 8
_NOT_PROMPT = ("cache_control",)
_sorted = msgspec.json.Encoder(order="sorted")

FileBytes = Callable[[str], bytes | None]
"""From a file id to its bytes, or `None` when it is not known here."""


class Position(msgspec.Struct, frozen=True):
    """One block of the prefix. `total` counts the tokens up to and with it; `own` is the digest of the block alone."""

    level: int
    path: str
    digest: bytes
    own: bytes
    total: int
    eligible: bool
    marker: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The whole prefix of a request."""

    positions: tuple[Position, ...]
    settings: bytes
    """Digest of what changes the messages' part beside the messages: tool_choice, images, thinking, effort."""

    @property
    def tokens(self) -> int:
        """All input tokens."""
        return self.positions[-1].total if self.positions else 0


class _Layout:
    """Positions as they are laid down."""

    def __init__(self, percent: int) -> None:
        self.positions: list[Position] = []
        self.digest = b""
        self._total = 0
        self._percent = percent

    def salt(self, value: object) -> None:
        self.digest = _hash(self.digest, _sorted.encode(value))

    def add(
        self, level: int, path: str, content: object, cost: int, *, eligible: bool = True, marker: Any = None
    ) -> None:
        """Lay down one block; `cost` in tokens."""
        encoded = _sorted.encode(content)
        self.digest = _hash(self.digest, encoded)
        self._total += cost
        own = hashlib.blake2b(encoded, digest_size=8).digest()
        self.positions.append(Position(level, path, self.digest, own, self._total, eligible, marker))


def _hash(before: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(before + data, digest_size=16).digest()


def lay_out(request: Request, *, seed: int = 0, file_bytes: FileBytes | None = None) -> Prompt:
    """The prefix of a request that has passed the rules."""
    layout = _Layout(request.model.token_percent)
    counter = Counter(request, seed, file_bytes)
    layout.salt(request.model.id)
    for index, tool in enumerate(request.tools):
        if not tool.get("defer_loading"):
            layout.add(
                0, f"tools.{index}", _bare(tool), counter.tool(tool, first=not layout.positions), marker=_mark(tool)
            )
    layout.salt([request.speed, _citations(request)])
    for placed in request.system:
        empty = not placed.block["text"]
        layout.add(
            1, placed.path, _bare(placed.block), counter.block(placed), eligible=not empty, marker=_mark(placed.block)
        )
    settings = [
        [request.choice.type, request.choice.name, request.choice.parallel],
        any(placed_of(request, "image")),
        [request.thinking.type, request.thinking.budget_tokens, request.effort],
    ]
    layout.salt(settings)
    for turn, placed, first in seen_blocks(request):
        cost = counter.block(placed) + (tokens.scale(_TURN_OVERHEAD, request.model.token_percent) if first else 0)
        layout.add(
            2,
            placed.path,
            [turn.role, _bare(placed.block)],
            cost,
            eligible=placed.type not in ("thinking", "redacted_thinking") and placed.block.get("text") != "",
            marker=_mark(placed.block),
        )
    return Prompt(tuple(layout.positions), _hash(b"", _sorted.encode(settings)))


def seen_blocks(request: Request) -> Iterator[tuple[Turn, Placed, bool]]:
    """Every block of the turns that the model sees, and whether it is the first of its turn.

    Thinking is not seen when the model cannot read it, when thinking is off, or, on models that do not keep it, once
    the user has spoken again.
    """
    kept_from = 0
    if not request.model.keeps_thinking:
        kept_from = max((at for at, turn in enumerate(request.turns) if _speaks(turn)), default=0)
    for at, turn in enumerate(request.turns):
        first = True
        for placed in turn.placed:
            if placed.type in ("thinking", "redacted_thinking") and (
                at < kept_from or placed.path in request.dropped or not request.thinking.on
            ):
                continue
            yield turn, placed, first
            first = False


def _speaks(turn: Turn) -> bool:
    return turn.role == "user" and any(placed.type != "tool_result" for placed in turn.placed)


def _citations(request: Request) -> bool:
    return any((one.block.get("citations") or {}).get("enabled") for one in placed_of(request, "document"))


def _bare(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """The block without its own marker and those inside it: a marker may move without changing the prompt."""
    content = block.get("content")
    if "cache_control" not in block and not isinstance(content, list):
        return block
    bare = {key: value for key, value in block.items() if key not in _NOT_PROMPT}
    if isinstance(content, list):
        bare["content"] = [_bare(inner) if isinstance(inner, Mapping) else inner for inner in content]
    return bare


def _mark(block: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The block's marker, or the last one inside its content."""
    own: Mapping[str, Any] | None = block.get("cache_control")
    content = block.get("content")
    if own or not isinstance(content, list):
        return own
    inner = [part.get("cache_control") for part in content if isinstance(part, Mapping)]
    return next((marker for marker in reversed(inner) if marker), None)


class Counter:
    """Counts the tokens of one request's blocks by its model's measure."""

    def __init__(self, request: Request, seed: int, file_bytes: FileBytes | None) -> None:
        self._model = request.model
        self._percent = request.model.token_percent
        self._seed = seed
        self._file_bytes = file_bytes or (lambda _: None)

    def tool(self, tool: Mapping[str, Any], *, first: bool) -> int:
        """A tool definition; the first one brings the system prompt for tools with it."""
        text = _sorted.encode(_bare(tool)).decode()
        extra = _TOOL_OVERHEAD + (TOOLS_OVERHEAD if first else 0)
        return tokens.scale(extra, self._percent) + tokens.count(text, self._percent)

    def block(self, placed: Placed) -> int:
        """One content block."""
        block = placed.block
        match placed.type:
            case "text":
                return tokens.count(block["text"], self._percent)
            case "image":
                return self._image(block["source"])
            case "document":
                return self._document(block)
            case "thinking":
                return self._thinking(block)
            case "tool_result":
                return self._result(placed)
            case "redacted_thinking":
                return tokens.count(block["data"], self._percent) // 4 + 1
            case "tool_use":
                text = block["name"] + _sorted.encode(block["input"]).decode()
                return tokens.scale(_CALL_OVERHEAD, self._percent) + tokens.count(text, self._percent)
            case "search_result":
                return tokens.count(f"{block['source']} {block['title']} {text_of(block['content'])}", self._percent)
            case _:
                return tokens.count(_sorted.encode(_bare(block)).decode(), self._percent)

    def _image(self, source: Mapping[str, Any]) -> int:
        raw = None
        if source["type"] == "base64":
            raw = media.decode(source["data"], head_only=True)
        elif source["type"] == "file":
            raw = self._file_bytes(source["file_id"])
        seen = media.picture(raw) if raw else None
        width, height = (seen.width, seen.height) if seen else media.NOMINAL_IMAGE
        return media.image_tokens(width, height, self._model)

    def _document(self, block: Mapping[str, Any]) -> int:
        source = block["source"]
        head = tokens.count(f"{block.get('title') or ''} {block.get('context') or ''}", self._percent)
        match source["type"]:
            case "text":
                return head + tokens.count(source["data"], self._percent)
            case "content":
                content = source["content"]
                if isinstance(content, str):
                    return head + tokens.count(content, self._percent)
                return head + sum(self.block(Placed("", inner)) for inner in content)
            case "base64":
                raw = media.decode(source["data"])
            case "file":
                raw = self._file_bytes(source["file_id"])
            case _:
                raw = None
        if raw and not raw.startswith(b"%PDF-"):
            return head + tokens.count(raw.decode("utf-8", "replace"), self._percent)
        return head + media.pdf_tokens(media.pdf_pages(raw) if raw else media.NOMINAL_PAGES, self._model)

    def _thinking(self, block: Mapping[str, Any]) -> int:
        signed = signatures.verify(self._seed, block["signature"], block["thinking"])
        return signed.tokens if signed else tokens.count(block["thinking"], self._percent)

    def _result(self, placed: Placed) -> int:
        content = placed.block.get("content")
        cost = tokens.scale(_CALL_OVERHEAD, self._percent)
        if isinstance(content, list):
            return cost + sum(self.block(Placed("", inner)) for inner in content)
        return cost + tokens.count(content or "", self._percent)
