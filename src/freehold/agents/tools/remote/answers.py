"""What an MCP server says, in the words of this API: its tools as specs, its results as content blocks. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import mcp_types as types

from freehold.toolboxes.base import ToolSpec

MOST_TOOLS = 256
MOST_SCHEMA_BYTES = 65_536
MOST_DESCRIPTION_CHARS = 8_192
MOST_NAME_CHARS = 128
"""Of the name that the model says, `mcp__SERVER__TOOL` (Claude API docs, Messages, tools, read 2026-11-23)."""
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
Block = Mapping[str, Any]


def usable(server: str, tools: Iterable[types.Tool]) -> tuple[list[ToolSpec], list[str]]:
    """The tools that a model can be given, and the names of those that it cannot."""
    taken: dict[str, ToolSpec] = {}
    left_out = []
    for tool in tools:
        if len(taken) < MOST_TOOLS and tool.name not in taken and _fits(server, tool):
            words = (tool.description or tool.title or tool.name)[:MOST_DESCRIPTION_CHARS]
            taken[tool.name] = ToolSpec(tool.name, words, tool.input_schema)
        else:
            left_out.append(tool.name[:MOST_NAME_CHARS])
    return list(taken.values()), left_out


def _fits(server: str, tool: types.Tool) -> bool:
    said = f"mcp__{server}__{tool.name}"
    schema = tool.input_schema
    small = len(json.dumps(schema)) <= MOST_SCHEMA_BYTES
    return bool(_NAME.fullmatch(tool.name)) and len(said) <= MOST_NAME_CHARS and small and schema["type"] == "object"


def content(result: types.CallToolResult) -> list[Block]:
    """The blocks of a result; its structured form where it has no other."""
    blocks = [_block(block) for block in result.content]
    if not blocks and result.structured_content is not None:
        return [_text(json.dumps(result.structured_content, ensure_ascii=False))]
    return blocks or [_text("(done; no result)")]


def _block(block: types.ContentBlock) -> Block:
    if isinstance(block, types.TextContent):
        return _text(block.text)
    if isinstance(block, types.ImageContent) and block.mime_type in _IMAGES:
        return {"type": "image", "source": _base64(block.mime_type, block.data)}
    if isinstance(block, types.EmbeddedResource):
        return _resource(block.resource)
    if isinstance(block, types.ResourceLink):
        return _text(f"[a link to {block.title or block.name}: {block.uri}]")
    return _text(f"[{block.type} of type {block.mime_type}, which a model cannot be shown]")


def _resource(resource: types.TextResourceContents | types.BlobResourceContents) -> Block:
    if isinstance(resource, types.TextResourceContents):
        source = {"type": "text", "media_type": "text/plain", "data": resource.text}
        return (
            {"type": "document", "title": resource.uri[:500], "source": source} if resource.text else _text("(empty)")
        )
    if resource.mime_type == "application/pdf":
        source = _base64(resource.mime_type, resource.blob)
        return {"type": "document", "title": resource.uri[:500], "source": source}
    if resource.mime_type in _IMAGES:
        return {"type": "image", "source": _base64(resource.mime_type, resource.blob)}
    return _text(f"[{resource.uri}, of type {resource.mime_type}, which a model cannot be shown]")


def _base64(media_type: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": data}


def _text(text: str) -> Block:
    return {"type": "text", "text": text or "(empty)"}
