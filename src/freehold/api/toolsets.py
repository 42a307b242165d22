"""The tools and MCP servers of an agent: checked, and expanded so that every default is spelled out.

Knows which toolboxes this server has loaded and which web tools have a provider; runs none of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from freehold.errors import InvalidRequest, NotBuilt
from freehold.toolboxes.base import TOOLBOX_SCHEME, Shared, Toolbox, addressed

BUILT_IN = ("bash", "edit", "read", "write", "glob", "grep", "web_fetch", "web_search")
"""In the order in which the expanded toolset shows them."""
WEB = ("web_fetch", "web_search")
MOST_TOOLS = 256
MOST_SERVERS = 20
MOST_URL_CHARS = 2048
_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
MOST_DOMAINS = 64
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PLAIN = frozenset({"name", "enabled", "permission_policy"})

Entry = dict[str, Any]


class Toolsets:
    """Expands and checks tools under what this server has.

    `toolboxes`: those loaded, by name. `web`: the web tools that have a provider; the others are shown disabled.
    `private_hosts`: hosts of MCP servers that may be named by http:// too.
    """

    def __init__(
        self,
        toolboxes: Mapping[str, Toolbox],
        web: frozenset[str] = frozenset(),
        private_hosts: Collection[str] = (),
    ) -> None:
        self._toolboxes = toolboxes
        self._web = web
        self._private_hosts = frozenset(private_hosts)

    def servers(self, given: Iterable[Mapping[str, Any]]) -> list[Entry]:
        """The MCP servers as stored: toolboxes here, and others by address. Raises `InvalidRequest`, naming it."""
        servers = [self._server(f"mcp_servers.{index}", server) for index, server in enumerate(given)]
        if len(servers) > MOST_SERVERS:
            raise InvalidRequest(f"mcp_servers: {len(servers)} servers, at most {MOST_SERVERS} are taken.")
        _refuse_twice("mcp_servers", (server["name"] for server in servers))
        return servers

    def expanded(self, given: Iterable[Mapping[str, Any]]) -> list[Entry]:
        """The tools as stored and shown, with all defaults. Raises `InvalidRequest`, naming the field."""
        tools = [self._tool(f"tools.{index}", tool) for index, tool in enumerate(given)]
        if len(tools) > MOST_TOOLS:
            raise InvalidRequest(f"tools: {len(tools)} entries, at most {MOST_TOOLS} tools are taken.")
        return tools

    def check(self, tools: Sequence[Entry], servers: Sequence[Entry]) -> None:
        """Refuse what does not fit together: names given twice, servers nobody uses, tools of unknown servers."""
        kinds = Counter(tool["type"] for tool in tools)
        if kinds["agent_toolset_20260401"] > 1:
            raise InvalidRequest("tools: agent_toolset_20260401 may stand there once.")
        _refuse_twice("tools", (tool["name"] for tool in tools if tool["type"] == "custom"))
        _refuse_twice("tools", (tool["mcp_server_name"] for tool in tools if tool["type"] == "mcp_toolset"))
        self._check_servers(tools, {server["name"]: server["url"] for server in servers})
        count = sum(self._count(tool, servers) for tool in tools)
        if count > MOST_TOOLS:
            raise InvalidRequest(f"tools: {count} tools in all toolsets together, at most {MOST_TOOLS} are taken.")

    def _server(self, place: str, server: Mapping[str, Any]) -> Entry:
        name, url = str(server.get("name", "")), str(server.get("url", ""))
        if not url.startswith(TOOLBOX_SCHEME):
            return self._elsewhere(place, name, url)
        box, options = addressed(url)
        if box not in self._toolboxes:
            loaded = ", ".join(sorted(self._toolboxes)) or "none; `freehold serve --tools FILE` loads one"
            raise InvalidRequest(f"{place}.url: there is no toolbox {box[:80]!r}. Loaded: {loaded}.")
        _check_options(f"{place}.url", self._toolboxes[box], options)
        longest = max((len(tool.name) for tool in self._toolboxes[box].tools()), default=0)
        most = 128 - len("mcp____") - longest
        if not _NAME.fullmatch(name) or len(name) > most:
            raise InvalidRequest(
                f"{place}.name: must be 1 to {most} letters, digits, underscores or hyphens, so that the model can "
                f"be shown its tools as mcp__NAME__TOOL."
            )
        return {"type": "url", "name": name, "url": url}

    def _elsewhere(self, place: str, name: str, url: str) -> Entry:
        if not _SERVER_NAME.fullmatch(name):
            raise InvalidRequest(f"{place}.name: must be 1 to 64 letters, digits, underscores or hyphens.")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise InvalidRequest(f"{place}.url: cannot be read: {error}.") from error
        if not host or len(url) > MOST_URL_CHARS or parts.fragment or parts.username is not None or not url.isascii():
            raise InvalidRequest(
                f"{place}.url: must be https://HOST/PATH of an MCP server (at most {MOST_URL_CHARS} characters, no "
                "user, no fragment), or toolbox:NAME for functions of this server."
            )
        if parts.scheme != "https" and not (parts.scheme == "http" and host in self._private_hosts):
            raise InvalidRequest(
                f"{place}.url: must begin with https://. The operator can allow http:// for a host with "
                "mcp_private_hosts; functions of this server are named as toolbox:NAME."
            )
        return {"type": "url", "name": name, "url": url}

    def _tool(self, place: str, tool: Mapping[str, Any]) -> Entry:
        if tool["type"] == "agent_toolset_20260401":
            return self._built_in(place, tool)
        if tool["type"] == "mcp_toolset":
            return _mcp_toolset(place, tool)
        return _custom(place, tool)

    def _built_in(self, place: str, tool: Mapping[str, Any]) -> Entry:
        default = _default(place, tool.get("default_config"), "always_allow")
        given = _configs(place, tool, BUILT_IN)
        configs = [self._built_in_tool(name, *given.get(name, ("", {})), default) for name in BUILT_IN]
        return {"type": "agent_toolset_20260401", "default_config": default, "configs": configs}

    def _built_in_tool(self, name: str, place: str, given: Mapping[str, Any], default: Entry) -> Entry:
        config = {"type": name, "name": name, **_over(place, given, default)}
        options = {key: value for key, value in given.items() if key not in _PLAIN and key != "type"}
        if name in WEB and name not in self._web:
            if given.get("enabled") or any(value is not None for value in options.values()):
                raise NotBuilt(f"{place}: {name} has no provider on this server; leave it out, or `enabled: false`.")
            return {**config, "enabled": False}
        return {**config, **_web_options(place, {key: v for key, v in options.items() if v is not None})}

    def _check_servers(self, tools: Sequence[Entry], servers: Mapping[str, str]) -> None:
        used = set()
        for index, tool in enumerate(tools):
            if tool["type"] == "mcp_toolset":
                used.add(tool["mcp_server_name"])
                self._check_toolset(f"tools.{index}", tool, servers)
        for name in servers:
            if name not in used:
                raise InvalidRequest(
                    f"mcp_servers: no mcp_toolset in tools names {name!r}. Add one, or leave the server out."
                )

    def _check_toolset(self, place: str, toolset: Entry, servers: Mapping[str, str]) -> None:
        server = toolset["mcp_server_name"]
        if server not in servers:
            known = ", ".join(servers) or "none"
            raise InvalidRequest(f"{place}.mcp_server_name: {server[:80]!r} is not in mcp_servers ({known}).")
        offered = self._offered(servers[server])
        for index, config in enumerate(toolset["configs"]):
            if offered is not None and config["name"] not in offered:
                raise InvalidRequest(
                    f"{place}.configs.{index}.name: {server} has no tool {config['name'][:80]!r}. "
                    f"It has: {', '.join(offered)}."
                )

    def _offered(self, url: str) -> list[str] | None:
        box = self._toolboxes.get(addressed(url)[0])
        return None if box is None else [tool.name for tool in box.tools()]

    def _count(self, tool: Entry, servers: Sequence[Entry]) -> int:
        if tool["type"] == "custom":
            return 1
        if tool["type"] == "agent_toolset_20260401":
            return sum(config["enabled"] for config in tool["configs"])
        url = next((server["url"] for server in servers if server["name"] == tool["mcp_server_name"]), "")
        own = {config["name"]: config["enabled"] for config in tool["configs"]}
        return sum(own.get(name, tool["default_config"]["enabled"]) for name in self._offered(url) or own)


def _check_options(place: str, toolbox: Toolbox, options: str) -> None:
    if isinstance(toolbox, Shared):
        try:
            toolbox.within("", options)
        except InvalidRequest as error:
            raise InvalidRequest(f"{place}: {error.message}") from error
    elif options:
        raise InvalidRequest(f"{place}: {toolbox.name} takes no options; leave out what stands behind the `?`.")


def _web_options(place: str, options: Mapping[str, Any]) -> Entry:
    """Of a web tool: which domains, how much. Raises `InvalidRequest`, naming the field."""
    for name in ("url_sources", "user_location"):
        if name in options:
            raise NotBuilt(f"{place}.{name}: is not built yet. Leave it out.")
    if "allowed_domains" in options and "blocked_domains" in options:
        raise InvalidRequest(f"{place}: allowed_domains and blocked_domains do not go together.")
    for name in ("allowed_domains", "blocked_domains"):
        domains = options.get(name, ["x"])
        if not 1 <= len(domains) <= MOST_DOMAINS or not all(_DOMAIN.fullmatch(domain) for domain in domains):
            raise InvalidRequest(
                f"{place}.{name}: must be 1 to {MOST_DOMAINS} plain host names, without scheme or path."
            )
    if options.get("max_content_tokens", 1) < 1:
        raise InvalidRequest(f"{place}.max_content_tokens: must be at least 1.")
    return dict(options)


def _mcp_toolset(place: str, tool: Mapping[str, Any]) -> Entry:
    default = _default(place, tool.get("default_config"), "always_ask")
    given = _configs(place, tool, None)
    configs = [{"name": name, **_over(at, config, default)} for name, (at, config) in given.items()]
    return {
        "type": "mcp_toolset",
        "mcp_server_name": tool["mcp_server_name"],
        "default_config": default,
        "configs": configs,
    }


def _custom(place: str, tool: Mapping[str, Any]) -> Entry:
    name = tool["name"]
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{place}.name: must be 1 to 128 letters, digits, underscores or hyphens.")
    if name in BUILT_IN or name.startswith("mcp__"):
        raise InvalidRequest(f"{place}.name: {name!r} is taken: built-in tools and mcp__… keep their names.")
    if not tool["description"].strip():
        raise InvalidRequest(f"{place}.description: must say what the tool does.")
    return {"type": "custom", "name": name, "description": tool["description"], "input_schema": tool["input_schema"]}


def _configs(
    place: str, tool: Mapping[str, Any], known: Sequence[str] | None
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """From the name of a tool to where its config stands and what it says."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for index, config in enumerate(tool.get("configs") or ()):
        name, at = config["name"], f"{place}.configs.{index}"
        if known is not None and name not in known:
            raise InvalidRequest(f"{at}.name: there is no built-in tool {name[:80]!r}. There are {', '.join(known)}.")
        if name in found:
            raise InvalidRequest(f"{at}.name: {name!r} stands there twice.")
        found[name] = (at, config)
    return found


def _default(place: str, given: Mapping[str, Any] | None, policy: str) -> Entry:
    return _over(f"{place}.default_config", given or {}, {"enabled": True, "permission_policy": {"type": policy}})


def _over(place: str, given: Mapping[str, Any], default: Mapping[str, Any]) -> Entry:
    enabled = given.get("enabled")
    policy = given.get("permission_policy")
    return {
        "enabled": default["enabled"] if enabled is None else enabled,
        "permission_policy": dict(default["permission_policy"] if policy is None else policy),
    }


def _refuse_twice(place: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidRequest(f"{place}: {name!r} stands there {count} times; names must differ.")
