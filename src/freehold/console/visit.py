"""One request of a person to one page: who it is, in which language, and how the page answers.

It knows no page. Pages get a `Visit` and return a response, mostly `visit.show("template.html", …)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from freehold.console.door import Login
from freehold.console.rendering import Rendering
from freehold.console.settings import PATH
from freehold.within import Refused, Within

THEMES = ("auto", "light", "dark")
LANGUAGES = ("en", "zh")
PREFERENCES = "freehold_preferences"
TOLD = "freehold_told"
"""What the next page says first."""
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFE = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}
"""Headers of every page."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """How a person likes pages."""

    language: str
    theme: str


@dataclass(slots=True)
class Visit:
    """A request of somebody who is logged in (or, on the login page only, not yet)."""

    request: Request
    rendering: Rendering
    preferences: Preferences
    login: Login | None
    api: Within
    """The public API, with the visitor's own key."""
    me: Mapping[str, Any]
    """The key, as `/freehold/v1/me` shows it."""

    @property
    def may_change(self) -> bool:
        """Viewers only look."""
        return self.me.get("role") in ("admin", "member")

    @property
    def admin(self) -> bool:
        """Runs the whole server."""
        return self.me.get("role") == "admin"

    @property
    def told(self) -> str:
        """What the page before has left to be said."""
        return unquote(self.request.cookies.get(TOLD, ""))

    def asked(self, name: str, otherwise: str = "") -> str:
        """A query parameter."""
        return self.request.query_params.get(name, otherwise)[:500]

    def id(self, name: str) -> str:
        """An id in the path."""
        return str(self.request.path_params[name])

    async def form(self) -> FormData:
        """What was posted; the door has checked its token."""
        return await self.request.form(max_files=0, max_fields=100)

    def show(self, template: str, /, status: int = 200, **values: Any) -> Response:
        """A page."""
        return HTMLResponse(self.rendering.page(template, self, values), status, SAFE)

    def go(self, path: str, told: str = "") -> Response:
        """On to another page of ours, which first says `told`."""
        response = RedirectResponse(path, 303, SAFE)
        if told:
            response.set_cookie(TOLD, quote(told[:300]), 30, path="/console", httponly=True, samesite="strict")
        return response

    def refused(self, error: Refused) -> Response:
        """What the API would not do, in its own words."""
        return self.show("refused.html", error.status, error=error)


def preferences_of(request: Request) -> Preferences:
    """From the cookie, else from what the browser says."""
    language, _, theme = request.cookies.get(PREFERENCES, "").partition("-")
    if language not in LANGUAGES:
        language = "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
    return Preferences(language, theme if theme in THEMES else "auto")


def inside(to: str) -> str:
    """An address of ours, or the first page."""
    known = to == PATH or to.startswith((f"{PATH}/", f"{PATH}?"))
    return to if known and to.isprintable() and "\\" not in to else PATH
