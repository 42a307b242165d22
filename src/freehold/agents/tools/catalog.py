"""The tools of one agent as the model sees them, and who answers each. Pure: made from the agent and what is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from freehold.agents.session import Json, Kind

Repeat = Literal["once", "retry"]
SAFE_TO_REPEAT = frozenset({"read", "glob", "grep", "web_fetch", "web_search"})
"""Built-in tools that change nothing, so that a lost call is simply made again."""


_OF_THE_WEB = ("web_fetch", "web_search")


def is_in_box(kind: Kind, name: str) -> bool:
    """Whether calls of that tool run in a box; the web is read by the server."""
    return kind == "built_in" and name not in _OF_THE_WEB


class Spec(Protocol):
    """A tool's name, what it is for, and its input's JSON schema."""

    @property
    def name(self) -> str:
        """Without any prefix."""
        ...

    @property
    def description(self) -> str:
        """For the model."""
        ...

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """A JSON schema of type object."""
        ...


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that an agent may call."""

    definition: Mapping[str, Any]
    """As the Messages API takes it; its `name` is what the model says."""
    kind: Kind
    name: str
    """As events show it: without the `mcp__server__` prefix."""
    server: str | None
    policy: Mapping[str, Any]
    repeat: Repeat


class Catalog:
    """Everything that one agent may call, by the name that the model says."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.definition["name"]: tool for tool in tools}

    @property
    def definitions(self) -> list[Json]:
        """For the `tools` of a model request, in the agent's own order."""
        return [dict(tool.definition) for tool in self._tools.values()]

    @property
    def names(self) -> list[str]:
        """What the model may say."""
        return list(self._tools)

    def find(self, name: str) -> Tool | None:
        """The tool of that name."""
        return self._tools.get(name)

    @property
    def has_box(self) -> bool:
        """Some tool runs in a box."""
        return any(is_in_box(tool.kind, tool.name) for tool in self._tools.values())

    @property
    def has_worker(self) -> bool:
        """Some tool is run by a worker of a self-hosted environment."""
        return any(tool.kind == "worker" for tool in self._tools.values())


def catalog(
    agent: Mapping[str, Any],
    built_in: Sequence[Spec],
    servers: Mapping[str, Sequence[Spec]],
    repeats: Mapping[str, Repeat],
    *,
    self_hosted: bool = False,
) -> Catalog:
    """The tools of an agent's snapshot (its toolsets expanded, as the API shows them).

    `servers` gives for each `mcp_server_name` what that server offers; one that is not there offers nothing. `repeats`
    says by the model's name for a tool whether it may be made again after a crash; where it is silent, it may not.
    `self_hosted`: workers of the session's environment run what would else run in a box.
    """
    tools: list[Tool] = []
    for entry in agent["tools"]:
        if entry["type"] == "custom":
            tools.append(_custom(entry))
        elif entry["type"] == "mcp_toolset":
            server = entry["mcp_server_name"]
            tools.extend(_of_server(server, entry, servers.get(server, ()), repeats))
        else:
            tools.extend(_built_in(entry, built_in, self_hosted))
    return Catalog(tools)


def configured(agent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What an agent's snapshot says of one built-in tool."""
    toolsets = [entry for entry in agent["tools"] if entry["type"].startswith("agent_toolset")]
    configs = [config for entry in toolsets for config in entry["configs"] if config["name"] == name]
    return configs[0] if configs else {}


def _custom(entry: Mapping[str, Any]) -> Tool:
    definition = {key: entry[key] for key in ("name", "description", "input_schema")}
    return Tool(definition, "custom", entry["name"], None, {"type": "always_allow"}, "once")


def _built_in(entry: Mapping[str, Any], specs: Sequence[Spec], self_hosted: bool) -> list[Tool]:
    made = []
    for spec in specs:
        enabled, policy = _configured(entry, spec.name)
        if enabled:
            repeat: Repeat = "retry" if spec.name in SAFE_TO_REPEAT else "once"
            kind: Kind = "worker" if self_hosted and is_in_box("built_in", spec.name) else "built_in"
            made.append(Tool(_definition(spec.name, spec), kind, spec.name, None, policy, repeat))
    return made


def _of_server(
    server: str, entry: Mapping[str, Any], specs: Sequence[Spec], repeats: Mapping[str, Repeat]
) -> list[Tool]:
    made = []
    for spec in specs:
        enabled, policy = _configured(entry, spec.name)
        if enabled:
            said = f"mcp__{server}__{spec.name}"
            definition = _definition(said, spec)
            made.append(Tool(definition, "toolbox", spec.name, server, policy, repeats.get(said, "once")))
    return made


def _definition(name: str, spec: Spec) -> Json:
    return {"name": name, "description": spec.description, "input_schema": dict(spec.input_schema)}


def _configured(entry: Mapping[str, Any], name: str) -> tuple[bool, Mapping[str, Any]]:
    default = entry["default_config"]
    own = next((config for config in entry["configs"] if config["name"] == name), default)
    return bool(own.get("enabled", default["enabled"])), own.get("permission_policy", default["permission_policy"])
