"""Everything that can go wrong for a caller, each with its wire `type` and HTTP status.

One root class. Whoever raises picks the class by blame (the caller's, the upstream's, ours); only `api/` turns it into
bytes. The table of types and statuses follows the Claude API errors page (read 2026-11-23).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class FreeholdError(Exception):
    """The root. `message` is for a person: what is wrong, where, and what to do.

    `details` goes into `error.details` of the envelope (for example `{"error_code": "environment_archived"}`),
    `headers` onto the HTTP answer.
    """

    type: ClassVar[str] = "api_error"
    status: ClassVar[int] = 500
    members: Mapping[str, Any] = {}
    """What a few types have in `error` besides `type`, `message` and `details`."""

    def __init__(
        self,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        self.details: dict[str, Any] = dict(details or {})
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(self.message)


# The caller's.


class InvalidRequest(FreeholdError):
    """The request is not one that this API takes."""

    type = "invalid_request_error"
    status = 400


class NotBuilt(InvalidRequest):
    """The request asks for a part of the API that this server does not have."""


class Unauthenticated(FreeholdError):
    """No valid API key was sent. Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`."""

    type = "authentication_error"
    status = 401


class BillingRefused(FreeholdError):
    """A budget does not allow this call."""

    type = "billing_error"
    status = 402


class PermissionDenied(FreeholdError):
    """This key may not do that."""

    type = "permission_error"
    status = 403


class NotFound(FreeholdError):
    """There is no such thing in this workspace."""

    type = "not_found_error"
    status = 404


class MethodNotAllowed(FreeholdError):
    """This path does not take that method."""

    type = "invalid_request_error"
    status = 405


class Conflict(FreeholdError):
    """The thing was changed meanwhile, or is in a state that does not allow this."""

    type = "conflict_error"
    status = 409

    def __init__(self, message: str = "", *, details: Mapping[str, Any] | None = None) -> None:
        # The SDK retries a 409 twice; a deterministic one would only fail three times.
        super().__init__(message, details=details, headers={"x-should-retry": "false"})


class PreconditionFailed(FreeholdError):
    """The precondition that was sent does not hold."""

    type = "invalid_request_error"
    status = 412


class TooLarge(FreeholdError):
    """The request is larger than this route takes."""

    type = "request_too_large"
    status = 413


class RequestTimedOut(FreeholdError):
    """The request did not come in time."""

    type = "timeout_error"
    status = 408


class HeadersTooLarge(FreeholdError):
    """The request's headers are larger than this server takes."""

    type = "invalid_request_error"
    status = 431


class RateLimited(FreeholdError):
    """Too many requests; `retry-after` says when to come back."""

    type = "rate_limit_error"
    status = 429


# The upstream's.


class UpstreamFailed(FreeholdError):
    """The upstream could not be reached or broke off."""

    type = "api_error"
    status = 502


class UpstreamTimedOut(FreeholdError):
    """The upstream did not answer in time."""

    type = "timeout_error"
    status = 504


class Overloaded(FreeholdError):
    """The upstream is overloaded."""

    type = "overloaded_error"
    status = 529


# Ours.


class Unavailable(FreeholdError):
    """This server cannot take the request now (it is stopping, or its disk or database is full or gone)."""

    type = "api_error"
    status = 503


class Misconfigured(FreeholdError):
    """The configuration does not allow the server to start. Never an answer over HTTP."""
