"""How much each key and workspace may ask per minute and at a time: a short wait in a fair queue, then a 429.

The buckets live in this process: several processes share nothing, so each admits its full limit (a budget, which is
exact over all of them, is the tool against spending). Input is taken by an estimate of the request's size (a token for
every four bytes) and corrected when the answer has told; output is taken then. Calls of message batches are not
limited here: they have a pace of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from freehold.calls import Call, Caller, Handler, Reply
from freehold.clock import Clock
from freehold.config import setting
from freehold.errors import Misconfigured, RateLimited
from freehold.gateway.attempts import attempts_of
from freehold.gateway.buckets import Allowance, Bucket, Lack, Scope, headers_of
from freehold.gateway.waiting import FairQueue

_BYTES_PER_TOKEN = 4
_NAMES = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "concurrency")


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What each key and each workspace may use; 0: no limit. Calls of message batches are left out."""

    key_requests_per_minute: int = setting(0, "requests of one key")
    key_input_tokens_per_minute: int = setting(0, "input tokens of one key, cache reads left out")
    key_output_tokens_per_minute: int = setting(0, "output tokens of one key")
    key_concurrency: int = setting(0, "calls of one key that are open at a time")
    workspace_requests_per_minute: int = setting(0, "requests of all keys of a workspace")
    workspace_input_tokens_per_minute: int = setting(0, "input tokens of a workspace, cache reads left out")
    workspace_output_tokens_per_minute: int = setting(0, "output tokens of a workspace")
    workspace_concurrency: int = setting(0, "calls of a workspace that are open at a time")
    limits: dict[str, Any] = setting(
        {}, "limits of single keys and workspaces by their id, as `[limits.apikey_…]` with `requests_per_minute = 50` …"
    )
    limit_wait_s: float = setting(5.0, "how long a call waits for its turn before it is refused with a 429", unit="s")
    limit_waiting: int = setting(100, "how many calls of one workspace wait at a time; further ones are refused")


class Limits:
    """See the module. `active` is false where the settings limit nothing."""

    def __init__(self, settings: LimitSettings, clock: Clock) -> None:
        self.clock = clock
        self._scopes: dict[str, Scope] = {}
        self._queues: dict[str, FairQueue] = {}
        self.renew(settings)

    def renew(self, settings: LimitSettings) -> None:
        """From now on these. What was used and is open still counts.

        Raises:
            Misconfigured: a limit is none; then nothing has changed.
        """
        own = {name: _own(name, given) for name, given in settings.limits.items()}
        of_keys, of_workspaces = _general(settings, "key"), _general(settings, "workspace")
        self.wait_s = settings.limit_wait_s
        self._most_waiting = settings.limit_waiting
        self._of_keys, self._of_workspaces, self._own = of_keys, of_workspaces, own
        now_ns = self.clock.monotonic_ns()
        for name, scope in self._scopes.items():
            scope.allow(own.get(name, of_keys if scope.name == "key" else of_workspaces), now_ns)
        known = (self._of_keys, self._of_workspaces, *self._own.values())
        self.active = any(allowed.limits_something for allowed in known)

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            if call.caller is None or call.batch_id is not None:
                return inner(call)
            return _Limited(self, inner, call, call.caller)

        return handle

    def scopes_of(self, caller: Caller) -> tuple[Scope, Scope]:
        """Those of its key and its workspace; made when first seen. There are no more than keys and workspaces."""
        return (
            self._scope("key", caller.key_id, self._of_keys),
            self._scope("workspace", caller.workspace_id, self._of_workspaces),
        )

    def queue_of(self, caller: Caller) -> FairQueue:
        """Where the calls of its workspace wait."""
        queue = self._queues.get(caller.workspace_id)
        if queue is None:
            queue = self._queues[caller.workspace_id] = FairQueue(self.clock)
        return queue

    def try_take(self, scopes: tuple[Scope, ...], tokens: int) -> Lack | None:
        """Take from all of them, or from none and say what is lacking for longest."""
        now_ns = self.clock.monotonic_ns()
        full = [scope for scope in scopes if not scope.has_room(tokens, now_ns)]
        if full:
            return max((scope.lack(tokens) for scope in full), key=lambda lack: lack.wait_s or 0.0)
        for scope in scopes:
            scope.take(tokens)
        return None

    async def admit(self, caller: Caller, scopes: tuple[Scope, ...], take: Callable[[], Lack | None]) -> None:
        """Let it `take`, now or within the wait.

        Raises:
            RateLimited: with `retry-after` and the headers of the limits.
        """
        queue = self.queue_of(caller)
        if not queue:
            lack = take()
            if lack is None:
                return
            if self._is_hopeless(lack):
                raise self._refusal(lack, scopes)
        if len(queue) >= self._most_waiting:
            raise self._refusal(Lack(f"{self._most_waiting} waiting calls of this workspace", None), scopes)
        lack = await queue.wait(caller.key_id, take, self.wait_s)
        if lack is not None:
            raise self._refusal(lack, scopes)

    def headers(self, scopes: tuple[Scope, ...]) -> list[tuple[bytes, bytes]]:
        """Of each kind of limit the one with the least left."""
        told: dict[str, Bucket] = {}
        for scope in scopes:
            scope.tell(told)
        return headers_of(told, self.clock.now_us())

    def _scope(self, kind: str, name: str, general: Allowance) -> Scope:
        scope = self._scopes.get(name)
        if scope is None:
            allowed = self._own.get(name, general)
            scope = self._scopes[name] = Scope(kind, allowed, self.clock.monotonic_ns())
        return scope

    def _is_hopeless(self, lack: Lack) -> bool:
        return self.wait_s <= 0 or (lack.wait_s is not None and lack.wait_s > self.wait_s)

    def _refusal(self, lack: Lack, scopes: tuple[Scope, ...]) -> RateLimited:
        after_s = max(1, math.ceil(lack.wait_s or 1.0))
        headers = {name.decode(): value.decode() for name, value in self.headers(scopes)}
        return RateLimited(
            f"This call would exceed the limit of {lack.what}. Try again in {after_s} s.",
            headers={"retry-after": str(after_s), **headers},
        )


class _Limited:
    __slots__ = ("_call", "_caller", "_context", "_inner", "_limits", "_queue", "_scopes", "_taken", "_tokens")

    def __init__(self, limits: Limits, inner: Handler, call: Call, caller: Caller) -> None:
        self._limits = limits
        self._inner = inner
        self._call = call
        self._caller = caller
        self._scopes = limits.scopes_of(caller)
        self._queue = limits.queue_of(caller)
        self._tokens = len(call.body) // _BYTES_PER_TOKEN if call.route == "messages" else 0
        self._taken = False

    async def __aenter__(self) -> Reply:
        try:
            if self._queue or self._take() is not None:
                await self._limits.admit(self._caller, self._scopes, self._take)
            self._context = self._inner(self._call)
            reply = await self._context.__aenter__()
        except BaseException:
            self._settle()
            raise
        ours = self._limits.headers(self._scopes)
        names = {name for name, _ in ours}
        reply.headers = [pair for pair in reply.headers if pair[0] not in names] + ours
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            self._settle()

    def _take(self) -> Lack | None:
        lack = self._limits.try_take(self._scopes, self._tokens)
        self._taken = lack is None
        return lack

    def _settle(self) -> None:
        if not self._taken:
            return
        used_input, used_output = _used(self._call)
        for scope in self._scopes:
            scope.settle(self._tokens, used_input, used_output)
        self._queue.look()


def _used(call: Call) -> tuple[int, int]:
    """Input that counts (what was not read from the cache) and output, of all attempts."""
    used_input = used_output = 0
    for attempt in attempts_of(call):
        usage = attempt.facts.usage
        if usage is not None:
            used_input += usage.input_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
            used_output += usage.output_tokens
    return used_input, used_output


def _general(settings: LimitSettings, kind: str) -> Allowance:
    return Allowance(*(_figure(f"{kind}_{name}", getattr(settings, f"{kind}_{name}")) for name in _NAMES))


def _own(scope: str, given: object) -> Allowance:
    known: Mapping[str, Any] = given if isinstance(given, dict) else {}
    if not known or not set(known) <= set(_NAMES):
        raise Misconfigured(f"limits.{scope}: takes {', '.join(_NAMES)}, each a whole number")
    return Allowance(**{name: _figure(f"limits.{scope}.{name}", value) for name, value in known.items()})


def _figure(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Misconfigured(f"{name}: must be a whole number, 0 for no limit, not {value!r}")
    return value
