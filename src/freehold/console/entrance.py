"""Language, theme, and the way out."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

from freehold.console.door import COOKIE
from freehold.console.visit import LANGUAGES, PREFERENCES, THEMES, Visit, inside

_YEAR_S = 365 * 86_400


async def prefer(visit: Visit) -> Response:
    """Keep how pages shall look, and go back to where the person was."""
    form = await visit.form()
    language = str(form.get("language", visit.preferences.language))
    theme = str(form.get("theme", visit.preferences.theme))
    referer = urlsplit(visit.request.headers.get("referer", ""))
    back = referer.path + (f"?{referer.query}" if referer.query else "")
    response = visit.go(inside(back))
    if language in LANGUAGES and theme in THEMES:
        response.set_cookie(
            PREFERENCES, f"{language}-{theme}", _YEAR_S, path="/console", httponly=True, samesite="strict"
        )
    return response


async def leave(visit: Visit) -> Response:
    """Log out."""
    response = visit.go("/console/login")
    response.delete_cookie(COOKIE, path="/console")
    return response
