"""Rules of `tools` and `tool_choice`: names, kinds played here, forced choice by model, fitting examples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jsonschema

from freehold.errors import InvalidRequest, NotBuilt
from freehold.simulator.model.request import Request

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_CLIENT_KINDS = ("bash_", "text_editor_", "memory_", "computer_20")
_LONGEST_NAME_SHOWN = 80


def is_custom(tool: Mapping[str, Any]) -> bool:
    """A tool that the client defines by a schema of its own."""
    return tool.get("type") in (None, "custom")


def check(request: Request) -> None:
    """See the module."""
    for index, tool in enumerate(request.tools):
        if is_custom(tool):
            _custom(index, tool)
        elif not tool["type"].startswith(_CLIENT_KINDS):
            raise NotBuilt(
                f"tools.{index}.type: the simulator does not play {tool['type'][:_LONGEST_NAME_SHOWN]!r} "
                "(it runs no server tools and no toolsets). Leave it out, or give it as a custom tool."
            )
        if tool.get("allowed_callers") and "direct" not in tool["allowed_callers"]:
            raise NotBuilt(f"tools.{index}.allowed_callers: the simulator has no code execution; allow 'direct'.")
    names = [tool["name"] for tool in request.tools]
    if len(set(names)) != len(names):
        raise InvalidRequest("tools: Tool names must be unique.", details={"error_code": "tool_name_conflict"})
    if request.tools and all(tool.get("defer_loading") for tool in request.tools):
        raise InvalidRequest("tools: At least one tool must not have defer_loading set.")
    _choice(request, names)


def _custom(index: int, tool: Mapping[str, Any]) -> None:
    name = tool["name"]
    if not _NAME.match(name):
        raise InvalidRequest(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    schema = tool["input_schema"]
    if schema.get("type") != "object":
        raise InvalidRequest(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
    for word in ("oneOf", "allOf", "anyOf"):
        if word in schema:
            raise InvalidRequest(
                f"tools.{index}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top "
                "level"
            )
    if tool.get("input_examples") or tool.get("strict"):
        _schema(index, tool)


def _schema(index: int, tool: Mapping[str, Any]) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(dict(tool["input_schema"]))
    except jsonschema.SchemaError as error:
        raise InvalidRequest(
            f"tools.{index}.custom.input_schema: JSON schema is invalid: {error.message[:300]}"
        ) from None
    validator = jsonschema.Draft202012Validator(dict(tool["input_schema"]))
    for at, example in enumerate(tool.get("input_examples") or ()):
        try:
            validator.validate(example)
        except jsonschema.ValidationError as error:
            raise InvalidRequest(f"tools.{index}.custom.input_examples.{at}: {error.message[:300]}") from None
        except Exception as error:  # noqa: BLE001  (a reference that leads nowhere raises types of its own)
            raise InvalidRequest(f"tools.{index}.custom.input_schema: {str(error)[:300]}") from None


def _choice(request: Request, names: list[str]) -> None:
    choice = request.choice
    if request.body.get("tool_choice") is not None and not names:
        raise InvalidRequest("tool_choice may only be specified while providing tools.")
    if choice.type not in ("any", "tool"):
        return
    if not request.model.forced_choice:
        raise InvalidRequest('tool_choice: type "tool" and "any" are not supported for this model.')
    if request.thinking.type == "enabled":
        raise InvalidRequest("Thinking may not be enabled when tool_choice forces tool use.")
    if choice.type == "tool" and choice.name not in names:
        raise InvalidRequest(f"tool_choice: Tool '{choice.name[:_LONGEST_NAME_SHOWN]}' not found in provided tools")
