"""One upstream with several keys: each call goes by the key with the fewest open calls that is not resting.

A key that answers 429 rests for as long as the upstream says, and the call is made again at once with another one, if
there is one. It has no batch API: a batch belongs to one key, so batches of such an upstream run on this server.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from freehold.calls import Call, Reply
from freehold.clock import Clock
from freehold.upstreams.base import ListsModels, Upstream
from freehold.wire.headers import retry_after_s

_REST_S = 5.0
"""After a 429 that does not say how long."""


class _Member:
    __slots__ = ("open", "opened", "rests_until_ns", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.open = 0
        self.opened = 0
        """Calls in all: of two with as many open, the less used one goes."""
        self.rests_until_ns = 0


class KeyPool:
    """An upstream made of alike ones; `members` differ in their key only."""

    counts_tokens = True

    def __init__(self, name: str, members: Sequence[Upstream], clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self._members = [_Member(member) for member in members]
        self._retired: list[Upstream] = []

    def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Begin the call. See `Upstream`."""
        return _Pooled(self, call)

    def choose(self) -> _Member:
        """The key for the next call."""
        now_ns = self.clock.monotonic_ns()
        return min(self._members, key=lambda one: (max(now_ns, one.rests_until_ns), one.open, one.opened))

    def someone_is_free(self) -> bool:
        """Whether a key is not resting."""
        now_ns = self.clock.monotonic_ns()
        return any(one.rests_until_ns <= now_ns for one in self._members)

    async def models(self) -> Sequence[dict[str, Any]]:
        """Those of the first key. See `ListsModels`."""
        first = self._members[0].upstream
        return await first.models() if isinstance(first, ListsModels) else []

    def adopt(self, other: KeyPool) -> None:
        """From now on with the keys of `other`; calls that are under way end with the old ones."""
        self._retired += [member.upstream for member in self._members]
        self._members = other._members

    async def close(self) -> None:
        """Let every connection go."""
        for upstream in (*self._retired, *(member.upstream for member in self._members)):
            await upstream.close()


class _Pooled:
    __slots__ = ("_call", "_context", "_member", "_pool")

    def __init__(self, pool: KeyPool, call: Call) -> None:
        self._pool = pool
        self._call = call

    async def __aenter__(self) -> Reply:
        while True:
            self._member = member = self._pool.choose()
            member.open += 1
            member.opened += 1
            try:
                self._context = member.upstream(self._call)
                reply = await self._context.__aenter__()
            except BaseException:
                member.open -= 1
                raise
            if reply.status != 429:
                return reply
            self._rest(member, reply)
            if not self._pool.someone_is_free():
                return reply
            await self.__aexit__(None, None, None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._member.open -= 1
        return await self._context.__aexit__(kind, error, trace)

    def _rest(self, member: _Member, reply: Reply) -> None:
        clock = self._pool.clock
        rest_s = retry_after_s(reply.headers, clock.now_us()) or _REST_S
        member.rests_until_ns = clock.monotonic_ns() + round(rest_s * 1e9)
