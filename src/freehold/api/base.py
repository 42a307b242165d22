"""The frame of the HTTP surface: who asks, what they sent, how answers and errors leave. Knows no resource.

A resource is a file with `def routes(parts) -> list[BaseRoute]`, each made by `route(method, path, handler)`. A handler
takes our `Request` and returns a Starlette response, mostly `answer(value)`; whatever it raises becomes Claude's error
envelope here, in one place. `application(routes, …)` makes the ASGI app of them all.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, Literal, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.access.workers import Asked, Right
from freehold.api.bodies import JSON_LIMIT_BYTES, Body, ClientLeft
from freehold.api.queries import Query
from freehold.calls import Caller, Headers
from freehold.clock import Clock
from freehold.errors import (
    FreeholdError,
    InvalidRequest,
    MethodNotAllowed,
    NotBuilt,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from freehold.ids import NewId, new_id
from freehold.wire.contract import check
from freehold.wire.contract.routes import is_of_claude
from freehold.wire.envelopes import error_body
from freehold.wire.headers import parse_betas

log = logging.getLogger(__name__)

Handler = Callable[["Request"], Awaitable[Response]]
Door = Literal["open", "member", "admin", "worker"]
"""Who may come in: anybody, any valid key, an admin key, or nobody but workers."""
BODY_PATIENCE_S = 30.0
"""How long the next piece of a body may take; a phone on a train is faster, a stuck client is not."""
_EXCHANGE = "freehold.exchange"
CALLER = "freehold.caller"
"""In the scope of a request that this server makes of itself: for whom, whose key was checked already."""
_PIECE_BYTES = 1 << 18


class ChecksKeys(Protocol):
    """Tells who sends these headers (`access.keys.Keys`)."""

    def check(self, headers: Headers) -> Caller:
        """The caller. Raises `Unauthenticated`."""
        ...


class AdmitsWorkers(Protocol):
    """Lets workers of self-hosted environments in (`access.workers.Workers`)."""

    async def admit(self, headers: Headers, right: Right, asked: Asked) -> Caller | None:
        """The worker; `None`: it is no worker that asks. Raises what `Workers.admit` does."""
        ...


class NoWorkers:
    """Where there are none."""

    async def admit(self, headers: Headers, right: Right, asked: Asked) -> Caller | None:
        """See `AdmitsWorkers`."""
        return None


class Audit(Protocol):
    """Is told of every request that may have changed something, when its answer begins (`access.audit`)."""

    def __call__(self, caller: Caller, method: str, path: str, status: int, request_id: str) -> None:
        """Takes it in without waiting."""
        ...


def _no_audit(caller: Caller, method: str, path: str, status: int, request_id: str) -> None:
    pass


@dataclass(slots=True)
class Exchange:
    """One request and its answer, from the first byte on; lives in the ASGI scope."""

    request_id: str
    started_ns: int
    keys: ChecksKeys
    workers: AdmitsWorkers
    patience_s: float
    audit: Audit
    caller: Caller | None = None
    """Set as soon as it is known; then the answer's headers name its workspace."""


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that `application` put into the scope; for ASGI endpoints that read the request themselves."""
    exchange: Exchange = scope[_EXCHANGE]
    return exchange


class Request:
    """What a handler gets: the caller, the path's ids, headers, query and body."""

    def __init__(self, scope: Scope, receive: Receive, caller: Caller | None) -> None:
        self._scope = scope
        self._caller = caller
        self.exchange = exchange_of(scope)
        self.receive = receive
        self.body = Body(scope["headers"], receive, patience_s=self.exchange.patience_s)

    @property
    def caller(self) -> Caller:
        """Who asks. Only routes with an open door have none."""
        if self._caller is None:
            raise AssertionError("an open route has no caller")
        return self._caller

    @property
    def workspace_id(self) -> str:
        """The caller's; every row a handler reads or writes belongs to it."""
        return self.caller.workspace_id

    def workspaces(self, asked: str | None) -> list[str]:
        """Whose rows a report of the caller is about: its own workspace; for an admin the one asked for, or all of
        them, which is an empty list.

        Raises:
            PermissionDenied: a member asks for another workspace than its own.
        """
        if self.caller.role != "admin":
            if asked is not None and asked != self.workspace_id:
                raise PermissionDenied("workspace_id: only an admin key sees another workspace.")
            return [self.workspace_id]
        return [] if asked is None else [asked]

    @property
    def request_id(self) -> str:
        """`req_…`, as in the answer's `request-id`."""
        return self.exchange.request_id

    @property
    def path(self) -> Mapping[str, str]:
        """The ids in the path: `request.path["agent_id"]`."""
        params: Mapping[str, str] = self._scope["path_params"]
        return params

    @property
    def scope(self) -> Scope:
        """As the server gave it, for what depends on the connection: scheme, client."""
        return self._scope

    @property
    def headers(self) -> Headers:
        """As on the wire; names in lower case."""
        headers: Headers = self._scope["headers"]
        return headers

    def header(self, name: str) -> str | None:
        """One header by its lower-case name, or `None`."""
        wanted = name.encode("latin-1")
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), None)

    @cached_property
    def betas(self) -> frozenset[str]:
        """Every value of `anthropic-beta`; unknown ones never fail a request."""
        return parse_betas([value for key, value in self.headers if key == b"anthropic-beta"])

    @cached_property
    def query(self) -> Query:
        """The query parameters."""
        return Query(self._scope.get("query_string", b""))

    async def json(self, operation: str | None = None, *, limit_bytes: int = JSON_LIMIT_BYTES) -> dict[str, Any]:
        """The body as a JSON object (`{}` when empty), checked against the contract of `operation`.

        Raises:
            InvalidRequest: not JSON, or not what the operation takes; unknown fields are named.
            TooLarge: more than `limit_bytes`.
        """
        value = await self.body.json(limit_bytes)
        if operation is not None:
            check(operation, value)
        return value

    def chunks(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body in pieces as it comes, for what must not be held in memory."""
        return self.body.chunks(limit_bytes)


def answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. `answer(None)` is `null`, which is how this API says "nothing" (the SDK breaks on 204)."""
    return Response(msgspec.json.encode(value), status, dict(headers or {}), media_type="application/json")


async def pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    """A file's content for a streamed answer, read in a thread; it is closed at the end, or when the client leaves."""
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece
    finally:
        file.close()


def route(method: str, path: str, handler: Handler, *, door: Door = "member", worker: Right | None = None) -> BaseRoute:
    """One method on one path (`/v1/agents/{agent_id}`), with its handler behind the given door; with the right that a
    worker needs to come in too."""
    made = Route(path, _Endpoint(handler, door, worker), methods=[method], name=f"{method} {path}")
    made.methods = {method}  # Starlette adds HEAD to GET; a HEAD on an event stream would never end
    return made


class _Endpoint:
    """An ASGI app around one handler: opens the door, hands over, sends what comes back."""

    def __init__(self, handler: Handler, door: Door, worker: Right | None) -> None:
        self.handler = handler
        self.door = door
        self.worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = await self._caller(scope)
        if "\0" in scope["path"]:  # no id has one, and not every database can even look for it
            raise NotFound(f"There is no {_line(scope)}.")
        response = await self.handler(Request(scope, receive, caller))
        await response(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller | None:
        if self.door == "open":
            return None
        if self.worker is not None and "\0" not in scope["path"]:
            asked = Asked(scope["method"], scope["path_params"])
            exchange = exchange_of(scope)
            if worker := await exchange.workers.admit(scope["headers"], self.worker, asked):
                exchange.caller = worker
                _refuse_other_workspace(scope, worker)
                return worker
        return _admit(scope, self.door)


def _admit(scope: Scope, door: Door) -> Caller:
    exchange = exchange_of(scope)
    exchange.caller = caller = scope.get(CALLER) or exchange.keys.check(scope["headers"])
    _refuse_other_workspace(scope, caller)
    if door == "admin" and caller.role != "admin":
        raise PermissionDenied(f"This route needs an admin key; this key's role is {caller.role}.")
    if door == "worker":
        raise PermissionDenied("This route is for workers: send the key of the environment (`freehold keys create`).")
    if caller.role == "viewer" and scope["method"] != "GET":
        raise PermissionDenied("This key's role is viewer: it reads, and changes nothing.")
    return caller


def _refuse_other_workspace(scope: Scope, caller: Caller) -> None:
    asked = dict(scope["headers"]).get(b"anthropic-workspace-id", b"").decode("latin-1")
    if asked and asked != caller.workspace_id:
        raise PermissionDenied(f"anthropic-workspace-id: this key belongs to {caller.workspace_id}, not to {asked!r}.")


def application(
    routes: Sequence[BaseRoute],
    *,
    keys: ChecksKeys,
    clock: Clock,
    organization_id: str = "org_freehold",
    ids: NewId = new_id,
    body_patience_s: float = BODY_PATIENCE_S,
    bare: Mapping[str, ASGIApp] | None = None,
    under: Mapping[str, ASGIApp] | None = None,
    audit: Audit = _no_audit,
    workers: AdmitsWorkers | None = None,
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]] | None = None,
) -> Application:
    """The ASGI app of these routes. Of several that match a path the first one answers.

    `bare` are whole paths whose apps do everything themselves, ids and envelopes included: the hot ones. `under` are
    first parts of paths (`/console`) below which another application answers.
    """
    router = Router(list(routes), redirect_slashes=False, lifespan=lifespan)
    fixed = [(b"anthropic-organization-id", organization_id.encode("latin-1"))]

    def begin() -> Exchange:
        return Exchange(ids("req"), clock.monotonic_ns(), keys, workers or NoWorkers(), body_patience_s, audit)

    return Application(router, begin, fixed, dict(bare or {}), dict(under or {}))


class Application:
    """Gives each request its id, and turns everything raised beneath it into an error envelope."""

    def __init__(
        self,
        router: Router,
        begin: Callable[[], Exchange],
        fixed: Headers,
        bare: Mapping[str, ASGIApp],
        under: Mapping[str, ASGIApp],
    ) -> None:
        self._inner: ASGIApp = router
        self.bare = bare
        self._under = under
        self._begin = begin
        self._fixed = fixed
        self.routes: Sequence[BaseRoute] = router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        bare = self.bare.get(scope["path"])
        if bare is not None:
            await bare(scope, receive, send)
            return
        other = self._under.get("/" + scope["path"].split("/", 2)[1]) if self._under else None
        if other is not None:
            await other(scope, receive, send)
            return
        exchange = self._begin()
        scope[_EXCHANGE] = exchange
        scope["app"] = self  # tells Starlette's router to raise for unknown paths and methods
        outgoing = _Outgoing(send, exchange, self._fixed, scope)
        try:
            await self._inner(scope, receive, outgoing)
        except (ClientLeft, ClientDisconnect):
            return
        except Exception as error:  # the outer edge of a request
            if outgoing.begun:
                log.exception("%s broke off after its answer had begun: %s", exchange.request_id, _line(scope))
                raise
            await _envelope(_told(error, scope, exchange), exchange)(scope, receive, outgoing)


class _Outgoing:
    """`send`, with the headers that every answer carries."""

    def __init__(self, send: Send, exchange: Exchange, fixed: Headers, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self._exchange = exchange
        self._fixed = fixed
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._complete(message)
            exchange, scope = self._exchange, self._scope
            if scope["method"] != "GET" and exchange.caller is not None:
                exchange.audit(exchange.caller, scope["method"], scope["path"], message["status"], exchange.request_id)
        await self._send(message)

    def _complete(self, message: MutableMapping[str, Any]) -> None:
        headers = list(message.get("headers", ()))
        headers.append((b"request-id", self._exchange.request_id.encode("latin-1")))
        headers.extend(self._fixed)
        if self._exchange.caller is not None:
            headers.append((b"anthropic-workspace-id", self._exchange.caller.workspace_id.encode("latin-1")))
        message["headers"] = headers


def _told(error: Exception, scope: Scope, exchange: Exchange) -> FreeholdError:
    """What the client is told; our own failures are logged with their traceback and told without it."""
    if isinstance(error, FreeholdError) and error.status != 500:
        return error
    if isinstance(error, HTTPException):
        return _of_router(error, scope)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        log.error("%s: %s: the disk is full", exchange.request_id, _line(scope))
        return Unavailable("The server's disk is full. Nothing was stored; free some space and try again.")
    log.error("%s failed: %s", exchange.request_id, _line(scope), exc_info=error)
    if isinstance(error, FreeholdError):
        return error
    return FreeholdError(f"Something went wrong in the server; its log has it under {exchange.request_id}.")


def _of_router(error: HTTPException, scope: Scope) -> FreeholdError:
    if error.status_code in (404, 405) and is_of_claude(scope["method"], scope["path"]):
        where = "what is missing stands in docs/reference/differences.toml"
        return NotBuilt(f"{_line(scope)}: this part of the API is not built here yet; {where}.")
    if error.status_code == 404:
        return NotFound(f"There is no route {_line(scope)}.")
    if error.status_code == 405:
        return MethodNotAllowed(
            f"{scope['method']} is not a method of {scope['path']}.", headers=dict(error.headers or {})
        )
    return InvalidRequest(error.detail)


def _line(scope: Scope) -> str:
    path = str(scope["path"])[:200]
    return f"{scope['method']} {path!r}" if not path.isprintable() else f"{scope['method']} {path}"


def _envelope(error: FreeholdError, exchange: Exchange) -> Response:
    body = error_body(error, exchange.request_id)
    return Response(body, error.status, error.headers, media_type="application/json")
