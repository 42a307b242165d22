"""OAuth for `/mcp/{toolbox}`, over HTTP: metadata, registration, consent, tokens, revocation, and what was granted.

RFC 9728, 8414, 7591, 7636 (S256 alone), 8707, 9207, 7009, as MCP's authorization of 2025-11-25 and later wants them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope

from freehold.access.oauth import ACCESS_S, TOKEN, Asked, OAuth, OAuthRefused
from freehold.access.tries import Tries
from freehold.api import consent
from freehold.api.base import ChecksKeys, Request, answer, route
from freehold.calls import Caller, Headers
from freehold.clock import Clock, rfc3339
from freehold.config import setting
from freehold.errors import InvalidRequest, NotFound, Unauthenticated
from freehold.store.oauth import GrantRow
from freehold.wire.pages import cursor_page

OAUTH = "/freehold/oauth"
GRANTS = "/freehold/v1/mcp_grants"
_RESOURCE = "/.well-known/oauth-protected-resource"
_SERVER = "/.well-known/oauth-authorization-server"
_MOST_BYTES = 16_384
_SCOPE = "mcp"
_HERE = ("localhost", "127.0.0.1", "::1", "in-process")
_PUBLIC = {"cache-control": "no-store", "access-control-allow-origin": "*"}
"""Metadata and tokens may be asked for by pages of other origins: nothing of it depends on who asks."""


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """How MCP clients sign in."""

    mcp_oauth: bool = setting(True, "MCP clients may register themselves and be let in by whoever holds a key.")
    mcp_clients: int = setting(
        1000, "MCP clients that may be registered at once; those that nobody has let in make room.", least=1
    )
    public_url: str | None = setting(
        None, "The https:// address under which others reach this server, such as https://freehold.example.com."
    )


class Connections:
    """Tokens at the door of `/mcp`, and where they come from."""

    def __init__(self, oauth: OAuth, settings: OAuthSettings, toolboxes: Collection[str]) -> None:
        self.oauth = oauth
        self.toolboxes = toolboxes
        self._settings = settings

    @property
    def enabled(self) -> bool:
        """Whether there is any of it."""
        return self._settings.mcp_oauth

    def sent(self, headers: Headers) -> str | None:
        """The access token in these headers, if it is one."""
        found = next((value for name, value in headers if name == b"authorization"), b"").decode("latin-1")
        kind, _, token = found.partition(" ")
        return token.strip() if kind.lower() == "bearer" and token.strip().startswith(TOKEN) else None

    async def check(self, token: str, toolbox: str) -> Caller:
        """On whose behalf it is shown. Raises `Unauthenticated`."""
        return await self.oauth.check(token, toolbox)

    def metadata_url(self, scope: Scope, toolbox: str) -> str | None:
        """Where a client reads how to get a token."""
        base = self.base(scope)
        return f"{base}{_RESOURCE}/mcp/{toolbox}" if self.enabled and base else None

    def base(self, scope: Scope) -> str | None:
        """This server's address from outside, without a final slash; `None` where it is not safe to give keys there."""
        if self._settings.public_url:
            return self._settings.public_url.rstrip("/")
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        try:
            parts = urlsplit(f"{scope['scheme']}://{host}")
            safe = parts.scheme == "https" or parts.hostname in _HERE
            plain = parts.netloc == host and host.isprintable() and not set(host) & set("/?#@\\\"' <>")
            return f"{parts.scheme}://{host}" if safe and plain and parts.hostname else None
        except ValueError:
            return None


def routes(connections: Connections, keys: ChecksKeys, clock: Clock) -> list[BaseRoute]:
    """Every route of it; none where it is switched off."""
    if not connections.enabled:
        return []
    made = _Routes(connections, keys, Tries(clock))
    return [
        route("GET", _RESOURCE + "/mcp/{toolbox}", made.resource, door="open"),
        route("GET", _SERVER, made.server, door="open"),
        route("POST", f"{OAUTH}/register", _spoken(made.register), door="open"),
        route("GET", f"{OAUTH}/authorize", made.ask, door="open"),
        route("POST", f"{OAUTH}/authorize", made.decide, door="open"),
        route("POST", f"{OAUTH}/token", _spoken(made.token), door="open"),
        route("POST", f"{OAUTH}/revoke", _spoken(made.revoke), door="open"),
        route("GET", GRANTS, made.listed),
        route("DELETE", GRANTS + "/{grant_id}", made.ended),
    ]


class _Routes:
    def __init__(self, connections: Connections, keys: ChecksKeys, tries: Tries) -> None:
        self._connections = connections
        self._oauth = connections.oauth
        self._keys = keys
        self._tries = tries

    # Metadata.

    async def resource(self, request: Request) -> Response:
        toolbox, base = request.path["toolbox"], self._base(request)
        if toolbox not in self._connections.toolboxes:
            raise NotFound(f"There is no toolbox {toolbox[:80]!r} here.")
        told = {
            "resource": f"{base}/mcp/{toolbox}",
            "resource_name": f"Freehold: {toolbox}",
            "authorization_servers": [base],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [_SCOPE],
        }
        return answer(told, headers=_PUBLIC)

    async def server(self, request: Request) -> Response:
        base = self._base(request)
        told = {
            "issuer": base,
            "authorization_endpoint": f"{base}{OAUTH}/authorize",
            "token_endpoint": f"{base}{OAUTH}/token",
            "registration_endpoint": f"{base}{OAUTH}/register",
            "revocation_endpoint": f"{base}{OAUTH}/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": [_SCOPE],
            "authorization_response_iss_parameter_supported": True,
        }
        return answer(told, headers=_PUBLIC)

    # Clients.

    async def register(self, request: Request) -> Response:
        self._base(request)
        body = await request.json(limit_bytes=_MOST_BYTES)
        uris, name = body.get("redirect_uris"), body.get("client_name") or "An MCP client"
        if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
            raise OAuthRefused("invalid_redirect_uri", "redirect_uris: is required, as a list of addresses.")
        if not isinstance(name, str):
            raise OAuthRefused("invalid_client_metadata", "client_name: must be text.")
        row = await self._oauth.register("".join(filter(str.isprintable, name))[:100] or "An MCP client", uris)
        told = {
            "client_id": row.id,
            "client_id_issued_at": row.created_us // 1_000_000,
            "client_name": row.name,
            "redirect_uris": uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "scope": _SCOPE,
        }
        return answer(told, status=201, headers=_PUBLIC)

    # Consent.

    async def ask(self, request: Request) -> Response:
        fields = dict(parse_qsl(request.scope.get("query_string", b"").decode("latin-1")))
        return await self._consent(request, fields, lambda asked, base: self._page(asked, base, fields))

    async def decide(self, request: Request) -> Response:
        fields = await _form(request)
        if not consent.is_same_origin(request):
            return consent.refused(403, "This form did not come from this page.")

        async def decided(asked: Asked, base: str) -> Response:
            if fields.get("decision") != "allow":
                return _sent_back(asked.redirect_uri, fields, base, error="access_denied")
            address = str((request.scope.get("client") or ("",))[0])
            if wait_s := self._tries.wait_s(address):
                return consent.refused(429, "Too many wrong keys. Wait a little.", {"retry-after": str(wait_s)})
            caller = self._holder(fields.get("key", ""))
            if caller is None:
                self._tries.wrong(address)
                return await self._page(asked, base, fields, "This key opens nothing here, or may only read.", 401)
            self._tries.right(address)
            request.exchange.caller = caller  # so that the log of changes has it
            code = await self._oauth.grant(asked, caller)
            return _sent_back(asked.redirect_uri, fields, base, code=code)

        return await self._consent(request, fields, decided)

    async def _consent(
        self, request: Request, fields: Mapping[str, str], go_on: Callable[[Asked, str], Awaitable[Response]]
    ) -> Response:
        """Check what a client asks for: what is wrong with itself is told to the person, the rest to the client."""
        base = self._connections.base(request.scope)
        if base is None:
            return consent.refused(400, "This server may be asked for keys by https:// only. Set public_url.")
        uri = fields.get("redirect_uri", "")
        try:
            client = await self._oauth.client(fields.get("client_id", ""), uri)
        except OAuthRefused as error:
            return consent.refused(400, str(error))
        try:
            asked = Asked(client, uri, _challenged(fields), self._toolbox(fields.get("resource"), base))
            return await go_on(asked, base)
        except OAuthRefused as error:
            return _sent_back(uri, fields, base, error=error.code, error_description=str(error))

    async def _page(
        self, asked: Asked, base: str, fields: Mapping[str, str], wrong: str = "", status: int = 200
    ) -> Response:
        return consent.page(asked.client.name, asked.redirect_uri, asked.toolbox, fields, wrong, status)

    def _holder(self, key: str) -> Caller | None:
        try:
            caller = self._keys.check([(b"x-api-key", key.strip()[:512].encode("latin-1", "replace"))])
        except Unauthenticated:
            return None
        return None if caller.role == "viewer" else caller

    # Tokens.

    async def token(self, request: Request) -> Response:
        fields, base = await _form(request), self._base(request)
        kind, client_id = fields.get("grant_type"), fields.get("client_id", "")
        toolbox = self._toolbox(fields["resource"], base) if "resource" in fields else None
        if kind == "authorization_code":
            code, verifier = fields.get("code", ""), fields.get("code_verifier", "")
            tokens = await self._oauth.redeem(code, verifier, client_id, fields.get("redirect_uri", ""), toolbox)
        elif kind == "refresh_token":
            tokens = await self._oauth.refresh(fields.get("refresh_token", ""), client_id, toolbox)
        else:
            raise OAuthRefused("unsupported_grant_type", "grant_type: must be authorization_code or refresh_token.")
        told = {
            "access_token": tokens.access,
            "token_type": "Bearer",
            "expires_in": ACCESS_S,
            "refresh_token": tokens.refresh,
            "scope": _SCOPE,
        }
        return answer(told, headers=_PUBLIC)

    async def revoke(self, request: Request) -> Response:
        await self._oauth.revoke((await _form(request)).get("token", ""))
        return answer({}, headers=_PUBLIC)

    # Grants.

    async def listed(self, request: Request) -> Response:
        request.query.refuse_others()
        return answer(cursor_page([_shown(one) for one in await self._oauth.grants(request.workspace_id)], None))

    async def ended(self, request: Request) -> Response:
        grant_id = request.path["grant_id"]
        await self._oauth.end(request.workspace_id, grant_id)
        return answer({"id": grant_id, "type": "mcp_grant_deleted"})

    def _toolbox(self, resource: str | None, base: str) -> str:
        """Which toolbox a resource indicator means; there is no token for all of them."""
        name = (resource or "").rstrip("/").removeprefix(f"{base}/mcp/")
        if not resource or name not in self._connections.toolboxes:
            raise OAuthRefused("invalid_target", f"resource: must be {base}/mcp/ and the name of a toolbox.")
        return name

    def _base(self, request: Request) -> str:
        base = self._connections.base(request.scope)
        if base is None:
            raise InvalidRequest("OAuth is spoken by https:// only; the operator sets public_url.")
        return base


def _spoken(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """With refusals in OAuth's own form."""

    async def run(request: Request) -> Response:
        try:
            return await handler(request)
        except OAuthRefused as error:
            status = 503 if error.code == "temporarily_unavailable" else 400
            return answer({"error": error.code, "error_description": str(error)}, status=status, headers=_PUBLIC)

    return run


async def _form(request: Request) -> dict[str, str]:
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidRequest("The body must be application/x-www-form-urlencoded.")
    body = b"".join([part async for part in request.chunks(_MOST_BYTES)])
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    if len(dict(pairs)) != len(pairs):
        raise InvalidRequest("A field stands there twice.")
    return dict(pairs)


def _challenged(fields: Mapping[str, str]) -> str:
    if fields.get("response_type") != "code":
        raise OAuthRefused("unsupported_response_type", "response_type: must be code.")
    if fields.get("code_challenge_method") != "S256" or len(fields.get("code_challenge", "")) != 43:
        raise OAuthRefused("invalid_request", "code_challenge: is required, with the method S256.")
    return fields["code_challenge"]


def _sent_back(uri: str, fields: Mapping[str, str], base: str, **told: str) -> Response:
    state = {"state": fields["state"]} if "state" in fields else {}
    query = urlencode({**told, **state, "iss": base})
    joint = "&" if urlsplit(uri).query else "?"
    return Response(None, 302, {"location": f"{uri}{joint}{query}", **consent.SAFE})


def _shown(row: GrantRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": "mcp_grant",
        "toolbox": row.toolbox,
        "key_id": row.key_id,
        "client_id": row.client_id,
        "redirect_uri": row.redirect_uri,
        "created_at": rfc3339(row.created_us),
        "expires_at": rfc3339(row.until_us),
    }
