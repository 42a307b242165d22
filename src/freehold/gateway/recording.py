"""What is recorded of a call besides its row: the policy, and the whole of one call as a value. Pure.

record = "metadata"                    # of every call only the row
[record_for]
"apikey_…" = "full"                    # a key, a workspace, or the models of a pattern
"claude-opus-*" = "full"
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from freehold.calls import Call, Caller, Headers
from freehold.config import setting
from freehold.errors import Misconfigured
from freehold.gateway.attempts import Attempt
from freehold.gateway.redaction import redacted, safe_headers

Kind = Literal["metadata", "full"]
_KINDS = ("metadata", "full")


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """What is kept of calls beyond their row of figures."""

    record: str = setting(
        "metadata", "`metadata`: of each call its row; `full`: also request and answer, with secrets removed"
    )
    record_for: dict[str, Any] = setting(
        {},
        "the same for single keys, workspaces or models, as `[record_for]` in the file: an id or a pattern such as "
        "`claude-opus-*`, and `full` or `metadata`; a key goes before its workspace, that before a pattern",
    )
    record_call_bytes: int = setting(
        8_388_608, "of a request or an answer larger than this only the beginning is kept", unit="bytes"
    )
    record_bytes: int = setting(
        1_073_741_824, "what full recordings take in the database at most; the oldest go first", unit="bytes"
    )
    record_days: int = setting(30, "full recordings are deleted after so many days", least=1)


class Policy:
    """Which calls are recorded whole. `active` is false where none is.

    Raises:
        Misconfigured: a value is neither `metadata` nor `full`.
    """

    def __init__(self, settings: RecordSettings) -> None:
        self._default = _kind("record", settings.record)
        given = {name: _kind(f'record_for."{name}"', value) for name, value in settings.record_for.items()}
        self._by_id = {name: kind for name, kind in given.items() if name.startswith(("apikey_", "wrkspc_"))}
        self._patterns = [(name, kind) for name, kind in given.items() if name not in self._by_id]
        self.active = self._default == "full" or "full" in given.values()

    def is_full(self, caller: Caller, model: str) -> bool:
        """Whether request and answer of such a call are kept."""
        by_id = self._by_id.get(caller.key_id) or self._by_id.get(caller.workspace_id)
        if by_id is not None:
            return by_id == "full"
        fitting = (kind for pattern, kind in self._patterns if fnmatchcase(model, pattern))
        return next(fitting, self._default) == "full"


@dataclass(frozen=True, slots=True)
class Recording:
    """One call, whole: as it came, and as its client saw the answer. Turning it into `content` costs time."""

    call: Call
    body: bytes
    """Of the request, as it came: features may change the call's."""
    status: int
    headers: Headers
    parts: Sequence[bytes]
    cut: bool
    """The answer was longer than what is kept of it."""
    failure: tuple[str, str] | None
    """Type and message of the error, where there was no answer, or it broke off."""
    attempts: Sequence[Attempt]
    created_us: int

    @property
    def held_bytes(self) -> int:
        """What keeping this costs in memory, roughly."""
        return len(self.body) + sum(map(len, self.parts))

    def content(self, most_bytes: int) -> bytes:
        """JSON of it, without secrets.

        {"request": {"path", "query", "headers", "body", "complete"},
         "response": {"status", "headers", "body", "complete", "error"},
         "attempts": [{"upstream", "model", "status", …}], "removed": 0}
        """
        call = self.call
        body, removed_there = redacted(self.body[:most_bytes])
        answer, removed_here = redacted(b"".join(self.parts))
        path = "/v1/messages" if call.route == "messages" else "/v1/messages/count_tokens"
        value: dict[str, Any] = {
            "request": {
                "path": path,
                "query": call.query.decode("latin-1"),
                "headers": safe_headers(call.headers),
                "complete": len(self.body) <= most_bytes,
                **_shown(body),
            },
            "response": {
                "status": self.status,
                "headers": safe_headers(self.headers),
                "complete": not self.cut and self.failure is None,
                "error": None if self.failure is None else {"type": self.failure[0], "message": self.failure[1]},
                **_shown(answer),
            },
            "attempts": [_attempt(one, call.started_ns) for one in self.attempts],
            "removed": removed_there + removed_here,
        }
        return msgspec.json.encode(value)


def _shown(data: bytes) -> dict[str, str]:
    """Text where it is text, which it nearly always is."""
    try:
        return {"body": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(data).decode("ascii")}


def _attempt(attempt: Attempt, started_ns: int) -> Mapping[str, Any]:
    first_ns = attempt.first_read_ns
    return {
        "upstream": attempt.upstream,
        "model": attempt.model,
        "status": attempt.status,
        "error_type": attempt.facts.error_type,
        "began_after_us": (attempt.started_ns - started_ns) // 1000,
        "first_byte_after_us": None if first_ns is None else (first_ns - started_ns) // 1000,
        "upstream_request_id": attempt.upstream_request_id,
        "cost_nanodollars": attempt.cost_nanodollars,
    }


def _kind(name: str, value: object) -> str:
    if value not in _KINDS:
        raise Misconfigured(f"{name}: must be metadata or full, not {value!r}")
    return str(value)
