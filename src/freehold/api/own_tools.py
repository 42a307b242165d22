"""The toolbox `freehold`, at `/mcp/freehold`: sessions and batches as tools, with the rights of the calling key.

So a conversation in Claude.ai can start an agent or a bulk job here and fetch what came of it. Agents of this server
are not given it: an agent that starts sessions could start them without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, cast

from starlette.types import ASGIApp

from freehold.api.base import CALLER
from freehold.calls import Caller
from freehold.toolboxes.base import ToolSpec
from freehold.toolboxes.current import current_call
from freehold.toolboxes.functions import Function, ToolFailed
from freehold.toolboxes.inputs import Inputs
from freehold.within import Refused, Within

NAME = "freehold"
_MOST_WAIT_S = 50
_MOST_PROMPTS = 10_000
_MOST_RESULTS = 200
_MOST_NAMED = 50
"""Of what there is, where what was asked for is not clear."""
_SHOWN_CHARS = 20_000
_LOOK_S = 0.5
"""Between two looks at a session that somebody waits for."""
_TEXT = {"type": "string", "minLength": 1}
_SESSION = {"session_id": {**_TEXT, "description": "sesn_…"}}
_BATCH = {"batch_id": {**_TEXT, "description": "msgbatch_…"}}
_WAIT = {"wait_s": {"type": "number", "minimum": 0, "maximum": _MOST_WAIT_S, "description": "Wait so long for its end"}}
_OPTIONAL = frozenset(("agent", "environment", "title", "wait_s", "system", "max_tokens", "offset", "limit", "after"))
Arguments = Mapping[str, Any]


class OwnTools:
    """What the tools do, with the rights of whoever calls them. `app` gives the application whose API they use."""

    def __init__(self, app: Callable[[], ASGIApp]) -> None:
        self._app = app

    def functions(self) -> list[Function]:
        """The tools."""
        after = {"type": "string", "description": "Id of the last event that you have seen; left out: the newest 50"}
        prompts = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": _MOST_PROMPTS}
        offset = {"type": "integer", "minimum": 0}
        return [
            _tool("list_agents", "List the agents that can be given a task.", {}, self._list_agents),
            _tool(
                "start_session",
                "Give a task to an agent, in a session of its own. It works on; read_session tells how far it is.",
                {
                    "task": _TEXT,
                    "agent": {**_TEXT, "description": "Its name or id"},
                    "environment": _TEXT,
                    "title": _TEXT,
                }
                | _WAIT,
                self._start_session,
            ),
            _tool("send_message", "Say more to a session.", _SESSION | {"text": _TEXT} | _WAIT, self._send_message),
            _tool(
                "read_session",
                "Read what a session has said and done, its status, and what it waits for.",
                _SESSION | {"after": after} | _WAIT,
                self._read_session,
            ),
            _tool(
                "submit_batch",
                "Ask a model many questions at once; each is answered by itself. batch_progress tells how far it is.",
                {"model": _TEXT, "prompts": prompts, "system": _TEXT, "max_tokens": {"type": "integer", "minimum": 1}},
                self._submit_batch,
            ),
            _tool("batch_progress", "See how many requests of a batch are done.", _BATCH, self._batch_progress),
            _tool(
                "batch_results",
                f"Read answers of a batch that has ended, at most {_MOST_RESULTS} at once, in order of its prompts.",
                _BATCH | {"offset": offset, "limit": {"type": "integer", "minimum": 1, "maximum": _MOST_RESULTS}},
                self._batch_results,
            ),
            _tool("cancel_batch", "Stop a batch; what is done stays.", _BATCH, self._cancel_batch),
        ]

    async def _list_agents(self, arguments: Arguments) -> object:
        agents = await self._all("/v1/agents")
        return [{"id": one["id"], "name": one["name"], "description": one["description"]} for one in agents]

    async def _start_session(self, arguments: Arguments) -> object:
        agent = await self._named("/v1/agents", "agent", arguments.get("agent"))
        environment = await self._named("/v1/environments", "environment", arguments.get("environment"))
        body = {"agent": agent, "environment_id": environment}
        if title := arguments.get("title"):
            body["title"] = title
        session = await self._post("/v1/sessions", body)
        return await self._said(session["id"], arguments["task"], arguments)

    async def _send_message(self, arguments: Arguments) -> object:
        return await self._said(_id(arguments["session_id"], "sesn_"), arguments["text"], arguments)

    async def _read_session(self, arguments: Arguments) -> object:
        session_id = _id(arguments["session_id"], "sesn_")
        await self._wait(session_id, arguments.get("wait_s") or 0)
        after = arguments.get("after")
        return await self._story(session_id, after, named=after is not None)

    async def _submit_batch(self, arguments: Arguments) -> object:
        params = {"model": arguments["model"], "max_tokens": arguments.get("max_tokens") or 1024}
        if system := arguments.get("system"):
            params["system"] = system
        requests = [
            {"custom_id": f"prompt-{number}", "params": {**params, "messages": [{"role": "user", "content": prompt}]}}
            for number, prompt in enumerate(arguments["prompts"])
        ]
        return _progress(await self._post("/v1/messages/batches", {"requests": requests}))

    async def _batch_progress(self, arguments: Arguments) -> object:
        return _progress(await self._get(f"/v1/messages/batches/{_id(arguments['batch_id'], 'msgbatch_')}"))

    async def _batch_results(self, arguments: Arguments) -> object:
        path = f"/v1/messages/batches/{_id(arguments['batch_id'], 'msgbatch_')}/results"
        offset, limit = arguments.get("offset") or 0, arguments.get("limit") or 50
        total, found = 0, []
        async with _told(), self._api().open("GET", path) as answer:
            if answer.status >= 400:
                await answer.whole()
            async for line in _lines(answer.parts):
                if offset <= total < offset + limit:
                    found.append(_result(json.loads(line)))
                total += 1
        return {"total": total, "results": found}

    async def _cancel_batch(self, arguments: Arguments) -> object:
        return _progress(await self._post(f"/v1/messages/batches/{_id(arguments['batch_id'], 'msgbatch_')}/cancel", {}))

    # Sessions.

    async def _said(self, session_id: str, text: str, arguments: Arguments) -> object:
        message = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        sent = await self._post(f"/v1/sessions/{session_id}/events", {"events": [message]})
        await self._wait(session_id, arguments.get("wait_s") or 0)
        return await self._story(session_id, sent["data"][0]["id"])

    async def _wait(self, session_id: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + min(seconds, _MOST_WAIT_S)
        while loop.time() < until:
            session = await self._get(f"/v1/sessions/{session_id}")
            if session["status"] not in ("running", "rescheduling"):
                return
            await asyncio.sleep(min(_LOOK_S, max(0.0, until - loop.time())))

    async def _story(self, session_id: str, after: str | None, *, named: bool = False) -> object:
        """What happened behind that event; `named`: the caller has named it, so it must be there."""
        session = await self._get(f"/v1/sessions/{session_id}")
        page = await self._get(f"/v1/sessions/{session_id}/events", {"limit": 200, "order": "desc"})
        events = list(reversed(page["data"]))
        ids = [event["id"] for event in events]
        if named and after not in ids:
            raise ToolFailed(f"after: {after!r} is not among the newest {len(ids)} events; leave it out.")
        fresh = events[ids.index(after) + 1 :] if after in ids else events[-50:]
        told = [line for event in fresh if (line := _line(event))]
        last = events[-1] if events else {}
        reason = last.get("stop_reason") or {} if last.get("type") == "session.status_idle" else {}
        return {
            "session_id": session_id,
            "status": session["status"],
            "stop_reason": reason.get("type"),
            "waits_for_leave": list(reason.get("event_ids") or ()),
            "events": told,
            "last_event": last.get("id"),
        }

    async def _named(self, path: str, kind: str, wanted: str | None) -> str:
        """The id of an agent or environment by name or id; the only one there is if none was named."""
        found = await self._all(path)
        fitting = [one for one in found if wanted is None or wanted in (one["id"], one["name"])]
        if len(fitting) != 1:
            known = ", ".join(f"{one['name']} ({one['id']})" for one in found[:_MOST_NAMED]) or "none; make one first"
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            raise ToolFailed(f"{kind}: {len(fitting)} fit; say which. There are: {known}{more}.")
        return str(fitting[0]["id"])

    async def _all(self, path: str) -> list[Any]:
        """Every entry of a list, however many pages it has."""
        found, page = list[Any](), None
        while True:
            answer = await self._get(path, {"limit": 100, "page": page})
            found += answer["data"]
            page = answer["next_page"]
            if page is None:
                return found

    async def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        async with _told():
            return await self._api().get(path, query)

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        async with _told():
            return await self._api().post(path, body)

    def _api(self) -> Within:
        """For the caller, whose key was checked already."""
        asker = current_call().asker
        if not asker.key_id:
            raise ToolFailed("This toolbox is called with a key.")
        caller = Caller(asker.workspace_id, asker.key_id, cast(Any, asker.role))
        return Within(self._app, scope={CALLER: caller})


@contextlib.asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """What the API refuses is told to the model."""
    try:
        yield
    except Refused as error:
        raise ToolFailed(error.message) from error


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _tool(name: str, description: str, properties: Mapping[str, Any], run: Any) -> Function:
    required = [key for key in properties if key not in _OPTIONAL]
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }
    return Function(ToolSpec(name, description, schema), Inputs(schema, ours=True), run, True)


def _id(given: str, prefix: str) -> str:
    """It becomes part of a path."""
    if not given.startswith(prefix) or not given.replace("_", "").isalnum() or not given.isascii():
        raise ToolFailed(f"{given[:80]!r} is no id; one begins with {prefix}.")
    return given


def _progress(batch: Mapping[str, Any]) -> object:
    names = ("id", "processing_status", "request_counts", "created_at", "ended_at")
    return {name: batch[name] for name in names}


def _result(line: Mapping[str, Any]) -> object:
    result = line["result"]
    if result["type"] != "succeeded":
        error = (result.get("error") or {}).get("error") or {}
        return {"custom_id": line["custom_id"], "type": result["type"], "error": error.get("message")}
    return {"custom_id": line["custom_id"], "text": _words(result["message"]["content"])}


def _words(content: Sequence[Mapping[str, Any]]) -> str:
    text = "\n".join(str(block["text"]) for block in content if block.get("type") == "text")
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "… [cut]"


def _line(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a reader wants to know of an event."""
    kind = event["type"]
    if kind in ("agent.message", "user.message"):
        return {"type": kind, "text": _words(event["content"])}
    if kind.endswith("tool_use"):
        shown = json.dumps(event["input"], ensure_ascii=False)
        return {"type": kind, "id": event["id"], "name": event["name"], "input": shown[:2000]}
    if kind.endswith("tool_result"):
        return {"type": kind, "is_error": event.get("is_error"), "text": _words(event.get("content") or ())[:2000]}
    if kind == "session.error":
        return {"type": kind, "message": event["error"]["message"]}
    return None
