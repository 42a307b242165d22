"""The page on which the holder of a key lets an MCP client in: who asks, for what, and where the answer goes.

The key is typed for each consent; there is no login that another site could use, and no frame or script in which it
could be caught.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from freehold.api.base import Request

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:10vh auto;padding:0 1rem;color:#222}"
    "input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}"
    "button{font:inherit;padding:.5rem 1rem;margin:1rem .5rem 0 0}"
    ".wrong{color:#b00020}code{background:#eee;padding:0 .2rem;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1b}code{background:#333}}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
}
_HANDED_ON = (
    *("response_type", "client_id", "redirect_uri", "code_challenge", "code_challenge_method", "state", "scope"),
    "resource",
)


def page(
    client: str, redirect_uri: str, toolbox: str, fields: Mapping[str, str], wrong: str, status: int
) -> HTMLResponse:
    """The question. `fields`: what the client has sent, which the form sends along."""
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(fields[name])}">' for name in _HANDED_ON if name in fields
    )
    place = urlsplit(redirect_uri)
    shown = place.netloc or f"a program on your machine ({place.scheme}:)"
    complaint = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    body = (
        f"<h1>Let “{escape(client)}” in?</h1>"
        f"<p>It asks to use the toolbox <code>{escape(toolbox)}</code> of this server with the rights of your key. "
        f"The answer goes to <code>{escape(shown)}</code>. The name is what the client calls itself; "
        "only go on if you have just connected it yourself.</p>"
        f'{complaint}<form method="post">{hidden}'
        '<label>Your key <input type="password" name="key" autocomplete="off" autofocus></label>'
        '<button name="decision" value="allow">Let it in</button>'
        '<button name="decision" value="deny">No</button></form>'
    )
    return _html(body, status, _origin(redirect_uri))


def refused(status: int, words: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Something is wrong, and the client cannot be told."""
    response = _html(f"<h1>This does not work</h1><p>{escape(words)}</p>", status, "")
    response.headers.update(headers or {})
    return response


def is_same_origin(request: Request) -> bool:
    """Browsers say where a form comes from."""
    site, origin = request.header("sec-fetch-site"), request.header("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin in (None, "null") or urlsplit(str(origin)).netloc == (request.header("host") or "")


def _html(body: str, status: int, form_goes_on_to: str) -> HTMLResponse:
    policy = (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self' {form_goes_on_to}; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    whole = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Freehold</title><style>{_STYLE}</style><main>{body}</main></html>"
    )
    return HTMLResponse(whole, status, {**SAFE, "content-security-policy": policy})


def _origin(uri: str) -> str:
    """For `form-action`, which browsers apply to where a form is sent on to."""
    place = urlsplit(uri)
    if place.scheme in ("http", "https"):
        host = f"[{place.hostname}]" if ":" in (place.hostname or "") else place.hostname
        return f"{place.scheme}://{host}{f':{place.port}' if place.port else ''}"
    return f"{place.scheme}:"
