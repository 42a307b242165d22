"""Runs one tool call on this server: in the session's box or in a toolbox. Whatever happens, there is a result.

It knows neither the log nor permissions: whoever calls it has written down that the call starts.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from freehold.agents.events import UNKNOWN_OUTCOME
from freehold.agents.session import Result, ToolCall
from freehold.agents.tools.catalog import Repeat, Spec, configured, is_in_box
from freehold.agents.tools.remote.failures import ServerFailed
from freehold.context import spilling
from freehold.environments.base import BoxDied, BoxFailed, Fenced, ToolOutcome
from freehold.errors import FreeholdError
from freehold.toolboxes.base import TOOLBOX_SCHEME, Shared, Toolbox, ToolResult, addressed
from freehold.toolboxes.current import Asker

log = logging.getLogger(__name__)
DIED = "The session's box ended by itself"
_UNKNOWN_THERE = "Whether the call took effect is not known; verify before repeating it."

_SHOWN = frozenset({"text", "image", "document", "search_result"})
"""Blocks that a result event may hold (SDK `beta_managed_agents_agent_tool_result_event.py`)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tools of a session run, and under which lease."""

    session_id: str
    workspace_id: str
    epoch: int
    environment: Mapping[str, Any]
    """The environment's `config`."""
    skills: Sequence[Mapping[str, Any]] = ()
    """The agent's skills, each pinned to a version."""
    key_id: str = ""
    """The key that made the session."""


class BoxTools(Protocol):
    """The built-in tools, run in the box of a session."""

    def specs(self) -> Sequence[Spec]:
        """What there is, as the model sees it."""
        ...

    async def call(self, place: Place, name: str, arguments: Mapping[str, Any], *, key: str) -> ToolOutcome:
        """Run one. Raises `BoxDied`, `BoxFailed` and `Fenced`."""
        ...

    async def expect(self, place: Place) -> None:
        """Get ready for a call that is likely to come soon."""
        ...

    async def outcome(self, place: Place, key: str) -> ToolOutcome | None:
        """What an earlier call of that key is known to have brought."""
        ...


class WebTools(Protocol):
    """The tools that read the web."""

    def specs(self) -> Sequence[Spec]:
        """What there is, as the model sees it."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], config: Mapping[str, Any]) -> Result:
        """Run one under the agent's configuration for it."""
        ...


class RemoteTools(Protocol):
    """The tools of MCP servers elsewhere, as they are reached for a session."""

    async def tools(self, place: Place, server: Mapping[str, Any]) -> Sequence[Spec]:
        """What a server offers. Raises `ServerFailed`."""
        ...

    async def call(self, place: Place, url: str, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call one. Raises `ServerFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """An MCP server that failed its session: the type of its `session.error`, and what that says."""

    kind: str
    server: str
    message: str


@dataclass(frozen=True, slots=True)
class Met:
    """The MCP servers of an agent: what each offers, and those that could not be asked."""

    offered: Mapping[str, Sequence[Spec]]
    troubles: Sequence[Trouble] = ()


Spill = Callable[[Place, str, str], Awaitable[str]]
"""Keeps a text for the tools of a session, under the id of the call that it came from; gives the path in its box."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What running a call brought. `known` is false if nobody can say whether it took effect."""

    result: Result
    known: bool = True
    trouble: Trouble | None = None
    """The server behind the tool failed."""
    news: str = ""
    """What happened to the session's box, for its log."""


class Execution:
    """Runs calls of built-in and toolbox tools."""

    def __init__(
        self,
        boxes: BoxTools,
        toolboxes: Mapping[str, Toolbox],
        spill: Spill | None = None,
        web: WebTools | None = None,
        remote: RemoteTools | None = None,
        retried: Collection[str] = (),
    ) -> None:
        """`spill` keeps what is too long to be read whole. `retried`: functions of toolboxes that may be run again."""
        self._retried = frozenset(retried)
        self._web = web
        self._remote = remote
        self._boxes = boxes
        self._toolboxes = dict(toolboxes)
        self._spill = spill

    def built_in(self) -> Sequence[Spec]:
        """The tools of a box, and those of the web."""
        return [*self._boxes.specs(), *(self._web.specs() if self._web is not None else ())]

    def offered(self, agent: Mapping[str, Any]) -> dict[str, Sequence[Spec]]:
        """What each toolbox among an agent's MCP servers offers, by the server's name. The others: `meet`."""
        found: dict[str, Sequence[Spec]] = {}
        for server in agent["mcp_servers"]:
            toolbox = self._toolbox(agent, server["name"])
            if isinstance(toolbox, Shared):
                toolbox = toolbox.within("", addressed(server["url"])[1])
            if toolbox is not None:
                found[server["name"]] = toolbox.tools()
        return found

    def repeats(self, agent: Mapping[str, Any], servers: Mapping[str, Sequence[Spec]]) -> dict[str, Repeat]:
        """Which of the tools that the servers offer may be made again after a crash, by the model's name for them."""
        if not self._retried:
            return {}
        named = [(one["name"], addressed(one["url"])[0]) for one in agent["mcp_servers"] if not is_remote(one["url"])]
        offered = ((name, toolbox, spec.name) for name, toolbox in named for spec in servers.get(name, ()))
        return {
            f"mcp__{name}__{tool}": "retry" for name, toolbox, tool in offered if f"{toolbox}.{tool}" in self._retried
        }

    def has_remote(self, agent: Mapping[str, Any]) -> bool:
        """Some MCP server of the agent stands elsewhere."""
        return any(is_remote(server["url"]) for server in agent["mcp_servers"])

    async def meet(self, place: Place, agent: Mapping[str, Any]) -> Met:
        """Ask every MCP server of an agent what it offers, side by side. It raises nothing."""
        servers = [server for server in agent["mcp_servers"] if is_remote(server["url"])]
        answers = await asyncio.gather(*(self._ask(place, server) for server in servers))
        offered = self.offered(agent)
        troubles = []
        for server, answer in zip(servers, answers, strict=True):
            if isinstance(answer, Trouble):
                troubles.append(answer)
            else:
                offered[server["name"]] = answer
        return Met(offered, troubles)

    async def _ask(self, place: Place, server: Mapping[str, Any]) -> Sequence[Spec] | Trouble:
        try:
            if self._remote is None:
                raise ServerFailed("this server calls no MCP servers elsewhere", sent=False)
            return await self._remote.tools(place, server)
        except ServerFailed as error:
            return _trouble(server["name"], error)
        except Exception as error:  # the outer edge of what a stranger's server may do
            log.exception("the MCP server %s of %s failed inside this server", server["name"], place.session_id)
            return _trouble(server["name"], ServerFailed(f"it failed here ({type(error).__name__})", sent=False))

    async def expect(self, place: Place) -> None:
        """A call of a tool in the session's box may come: open it now. What goes wrong, the call itself will tell."""
        try:
            await self._boxes.expect(place)
        except Exception:  # nobody waits for this
            log.debug("the box of %s was not opened ahead", place.session_id, exc_info=True)

    async def run(self, place: Place, agent: Mapping[str, Any], call: ToolCall) -> Ran:
        """Run it. Raises `Fenced` and nothing else."""
        ran = await self._run(place, agent, call)
        text = spilling.spilled_text(ran.result.content)
        return ran if text is None else replace(ran, result=await self._shortened(place, agent, call, ran.result, text))

    async def _run(self, place: Place, agent: Mapping[str, Any], call: ToolCall) -> Ran:
        try:
            if call.kind == "toolbox":
                url = _url(agent, call.server or "")
                return await (
                    self._elsewhere(place, url, call) if is_remote(url) else self._in_toolbox(place, agent, call)
                )
            if not is_in_box(call.kind, call.name):
                return Ran(await self._on_the_web(agent, call))
            outcome = await self._boxes.call(place, call.name, call.input, key=call.id)
            return Ran(_result(outcome.content, outcome.is_error), news=outcome.news)
        except Fenced:
            raise
        except BoxDied as error:
            news = f"{DIED} while {call.name} ran ({error.news}). The next call opens a fresh one on the same files."
            return replace(await self._after_death(place, call), news=news if error.news else "")
        except BoxFailed as error:
            told = f"The box did not come up, so {call.name} was not run: {error}"
            return Ran(_failed(told), news=told)
        except Exception as error:  # the outer edge of a tool
            log.exception("the tool %s of %s failed inside the server", call.name, place.session_id)
            return Ran(
                _failed(f"{call.name} failed inside the server ({type(error).__name__}). {UNKNOWN_OUTCOME}"), False
            )

    async def _shortened(
        self, place: Place, agent: Mapping[str, Any], call: ToolCall, result: Result, text: str
    ) -> Result:
        path = None
        if self._spill is not None and any(entry["type"].startswith("agent_toolset") for entry in agent["tools"]):
            try:
                path = await self._spill(place, call.id, text)
            except (FreeholdError, OSError) as error:
                log.warning("a long result of %s in %s could not be kept: %s", call.name, place.session_id, error)
        return Result(tuple(spilling.shortened(result.content, text, path)), result.is_error)

    async def recall(self, place: Place, call: ToolCall) -> Result | None:
        """What a call that another owner started is known to have brought; `None` if nobody knows."""
        if not is_in_box(call.kind, call.name):
            return None
        outcome = await self._boxes.outcome(place, call.id)
        return None if outcome is None else _result(outcome.content, outcome.is_error)

    async def _on_the_web(self, agent: Mapping[str, Any], call: ToolCall) -> Result:
        if self._web is None:
            return _failed(f"{call.name} has no provider on this server.")
        return await self._web.call(call.name, call.input, configured(agent, call.name))

    async def _in_toolbox(self, place: Place, agent: Mapping[str, Any], call: ToolCall) -> Ran:
        toolbox = self._toolbox(agent, call.server or "")
        if toolbox is None:
            loaded = ", ".join(sorted(self._toolboxes)) or "none"
            return Ran(_failed(f"The toolbox behind {call.server!r} is not loaded on this server. Loaded: {loaded}."))
        own = self._own(toolbox, place, _url(agent, call.server or ""))
        asker = Asker(workspace_id=place.workspace_id, key_id=place.key_id, role="member")
        given = await own.call(call.name, call.input, key=call.id, session_id=place.session_id, asker=asker)
        return Ran(_result(given.content, given.is_error))

    async def _elsewhere(self, place: Place, url: str, call: ToolCall) -> Ran:
        try:
            if self._remote is None:
                raise ServerFailed("this server calls no MCP servers elsewhere", sent=False)
            given = await self._remote.call(place, url, call.name, call.input)
        except ServerFailed as error:
            end = f" {_UNKNOWN_THERE}" if error.sent else " The call was not made."
            told = f"The MCP server {call.server} failed: {error}.{end}"
            return Ran(_failed(told), not error.sent, _trouble(call.server or "", error))
        return Ran(_result(given.content, given.is_error))

    async def _after_death(self, place: Place, call: ToolCall) -> Ran:
        known = await self.recall(place, call)
        return Ran(known) if known is not None else Ran(_failed(UNKNOWN_OUTCOME), known=False)

    def _toolbox(self, agent: Mapping[str, Any], server: str) -> Toolbox | None:
        url = _url(agent, server)
        return None if is_remote(url) else self._toolboxes.get(addressed(url)[0])

    def _own(self, toolbox: Toolbox, place: Place, url: str) -> Toolbox:
        """The toolbox as the session's workspace has it."""
        return toolbox.within(place.workspace_id, addressed(url)[1]) if isinstance(toolbox, Shared) else toolbox


def is_remote(url: str) -> bool:
    """Whether that address of an MCP server is not one of this server's toolboxes."""
    return bool(url) and not url.startswith(TOOLBOX_SCHEME)


def _url(agent: Mapping[str, Any], server: str) -> str:
    return next((str(entry["url"]) for entry in agent["mcp_servers"] if entry["name"] == server), "")


def _trouble(server: str, error: ServerFailed) -> Trouble:
    return Trouble(error.kind, server, f"The MCP server {server} failed: {error}.")


def _result(content: Sequence[Mapping[str, Any]], is_error: bool) -> Result:
    return Result(tuple(_presentable(block) for block in content), is_error)


def _presentable(block: Mapping[str, Any]) -> Mapping[str, Any]:
    if block.get("type") in _SHOWN:
        return block
    return {"type": "text", "text": json.dumps(block, ensure_ascii=False, default=str)}


def _failed(text: str) -> Result:
    return Result(({"type": "text", "text": text},), is_error=True)
