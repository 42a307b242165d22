"""The console's table of contents: which page stands where, and the frame in which each of them runs.

The frame opens the door, checks that a form came from our own page, and turns what the API refuses into a page.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.access.tries import Tries
from freehold.clock import Clock
from freehold.console import (
    agents,
    batches,
    charts,
    doctor,
    entrance,
    environments,
    keys,
    knowledge,
    overview,
    requests,
    sessions,
)
from freehold.console.door import COOKIE, Door, Login, Seals, same
from freehold.console.rendering import Rendering
from freehold.console.settings import PATH, ConsoleSettings
from freehold.console.visit import SAFE, TOLD, Visit, inside, preferences_of
from freehold.within import Refused, Within

log = logging.getLogger(__name__)


Page = Callable[[Visit], Awaitable[Response]]
_STATIC = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_LONGEST_FORM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Static:
    """A file that pages link, under a name that changes with its content."""

    address: str
    content: bytes
    kind: str


PAGES: list[tuple[str, str, Page]] = [
    ("GET", "", overview.show),
    ("GET", "/charts/{name}.svg", charts.show),
    ("GET", "/sessions", sessions.listed),
    ("POST", "/sessions", sessions.create),
    ("GET", "/sessions/{session_id}", sessions.show),
    ("GET", "/sessions/{session_id}/live", sessions.live),
    ("POST", "/sessions/{session_id}/say", sessions.say),
    ("POST", "/sessions/{session_id}/answer", sessions.answer),
    ("POST", "/sessions/{session_id}/interrupt", sessions.interrupt),
    ("POST", "/sessions/{session_id}/fork", sessions.fork),
    ("GET", "/knowledge", knowledge.listed),
    ("GET", "/knowledge/{collection_id}", knowledge.show),
    ("POST", "/sessions/{session_id}/archive", sessions.archive),
    ("GET", "/files/{file_id}", sessions.download),
    ("GET", "/agents", agents.listed),
    ("GET", "/agents/new", agents.new),
    ("POST", "/agents", agents.create),
    ("GET", "/agents/{agent_id}", agents.show),
    ("POST", "/agents/{agent_id}", agents.change),
    ("GET", "/environments", environments.listed),
    ("POST", "/environments", environments.create),
    ("GET", "/environments/{environment_id}", environments.show),
    ("POST", "/environments/{environment_id}", environments.change),
    ("GET", "/batches", batches.listed),
    ("GET", "/batches/{batch_id}", batches.show),
    ("POST", "/batches/{batch_id}/cancel", batches.cancel),
    ("GET", "/batches/{batch_id}/results", batches.results),
    ("GET", "/requests", requests.listed),
    ("GET", "/requests/{call_id}", requests.show),
    ("POST", "/requests/{call_id}/replay", requests.replay),
    ("GET", "/usage", requests.summed),
    ("GET", "/keys", keys.listed),
    ("POST", "/keys", keys.create),
    ("POST", "/keys/{key_id}/revoke", keys.revoke),
    ("POST", "/budgets", keys.set_budget),
    ("GET", "/audit", keys.audit),
    ("GET", "/doctor", doctor.show),
    ("POST", "/preferences", entrance.prefer),
    ("POST", "/logout", entrance.leave),
]
"""Everything behind the door."""


class Site:
    """ASGI application of everything below `/console`. `api` gives the application whose public API it shows."""

    def __init__(self, api: Callable[[], ASGIApp], seals: Seals, settings: ConsoleSettings, clock: Clock) -> None:
        self._api = api
        self._door = Door(seals, clock, settings.console_login_hours)
        self._tries = Tries(clock)
        self._secure = settings.console_secure_cookie
        routes: list[BaseRoute] = [
            Route(f"{PATH}/login", self._login, methods=["GET", "POST"]),
            *(Route(PATH + path, self._behind_the_door(page), methods=[method]) for method, path, page in PAGES),
        ]
        self._router = Router(routes, redirect_slashes=True)

    @cached_property
    def _static(self) -> dict[str, Static]:
        return {one.address: one for one in (_static(name, kind) for name, kind in _STATIC.items())}

    @cached_property
    def _rendering(self) -> Rendering:
        """Made at the first visit: a server that nobody looks at does not pay for it."""
        return Rendering(*self._static)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        static = self._static.get(scope["path"])
        if static is not None:
            kept = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
            await Response(static.content, 200, kept, media_type=static.kind)(scope, receive, send)
            return
        scope["app"] = self
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            await HTMLResponse(f"<h1>{error.status_code}</h1>", error.status_code, SAFE)(scope, receive, send)

    def _behind_the_door(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            login = self._door.read(request.cookies.get(COOKIE))
            if login is None:
                return _to_login(request)
            api = self._api_of(login.key)
            try:
                visit = self._visit(request, login, api, await api.get("/freehold/v1/me"))
            except Refused as error:
                if error.status != 401:
                    raise HTTPException(error.status) from error
                return _out(_to_login(request))  # the key was revoked
            if request.method == "POST" and not await self._is_ours(request, login):
                return visit.refused(Refused(403, "This form did not come from a page of this login. Open it again."))
            try:
                response = await page(visit)
            except Refused as error:
                response = visit.refused(error)
            except Exception:  # the outer edge of a request
                log.exception("the console's page %s failed", request.url.path)
                response = visit.refused(Refused(500, "Something went wrong in the server; its log says what."))
            if TOLD in request.cookies and response.media_type == "text/html":
                response.delete_cookie(TOLD, path=PATH)
            return response

        return run

    async def _login(self, request: Request) -> Response:
        visit = self._visit(request, None, self._api_of(""), {})
        if request.method == "GET":
            return visit.show("login.html", wrong="", to=inside(visit.asked("to")))
        address = request.client.host if request.client else ""
        if not _same_origin(request) or not _small(request):
            return visit.show("login.html", 403, wrong="This form did not come from this page.", to="")
        if wait_s := self._tries.wait_s(address):
            shown = visit.show("login.html", 429, wrong="Too many wrong keys. Wait a little.", to="")
            shown.headers["retry-after"] = str(wait_s)
            return shown
        form = await visit.form()
        key, to = str(form.get("key", "")).strip()[:512], inside(str(form.get("to", "")))
        try:
            await self._api_of(key).get("/freehold/v1/me")
        except Refused as error:
            if error.status not in (401, 403):
                return visit.show("login.html", error.status, wrong=error.message, to=to)
            self._tries.wrong(address)
            return visit.show("login.html", 401, wrong="This key opens nothing here.", to=to)
        self._tries.right(address)
        response = RedirectResponse(to, 303, SAFE)
        response.set_cookie(
            COOKIE, self._door.open(key), self._door.lasts_s, path=PATH, secure=self._secure, httponly=True,
            samesite="strict",
        )  # fmt: skip
        return response

    def _api_of(self, key: str) -> Within:
        return Within(self._api, [(b"x-api-key", key.encode("latin-1", "replace"))])

    def _visit(self, request: Request, login: Login | None, api: Within, me: dict[str, object]) -> Visit:
        return Visit(request, self._rendering, preferences_of(request), login, api, me)

    async def _is_ours(self, request: Request, login: Login) -> bool:
        if not _same_origin(request) or not _small(request):
            return False
        form = await request.form(max_files=0, max_fields=100)
        return same(str(form.get("token", "")), login.token)


def _to_login(request: Request) -> Response:
    to = request.url.path if request.method == "GET" else PATH
    return RedirectResponse(f"{PATH}/login?to={to}", 303, SAFE)


def _out(response: Response) -> Response:
    response.delete_cookie(COOKIE, path=PATH)
    return response


def _same_origin(request: Request) -> bool:
    """Browsers say where a form comes from; one that does not is old, and its cookie is strict anyway."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _small(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return length.isdigit() and int(length) <= _LONGEST_FORM_BYTES


def _static(name: str, kind: str) -> Static:
    content = files("freehold.console").joinpath("static", name).read_bytes()
    stem, _, ending = name.partition(".")
    return Static(f"{PATH}/{stem}-{hashlib.sha256(content).hexdigest()[:12]}.{ending}", content, kind)
