"""Several keys of one upstream: the least loaded goes, one that is limited rests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from freehold.calls import Call, Headers, Reply
from freehold.clock import HandClock
from freehold.upstreams.pool import KeyPool


class OneKey:
    """An upstream with one key, which notes its calls."""

    counts_tokens = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.limited: Headers | None = None
        self.closed = False

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        self.calls += 1
        if self.limited is not None:
            yield Reply(429, self.limited, whole=b"{}")
        else:
            yield Reply(200, [(b"by", self.name.encode())], whole=b"{}")

    async def close(self) -> None:
        self.closed = True


CALL = Call("req_1", "messages", b"{}", {}, [], "m", False, 0)


def pool_of(*names: str) -> tuple[KeyPool, list[OneKey], HandClock]:
    keys, clock = [OneKey(name) for name in names], HandClock()
    return KeyPool("claude", keys, clock), keys, clock


async def answered_by(pool: KeyPool) -> bytes:
    async with pool(CALL) as reply:
        return dict(reply.headers).get(b"by", b"nobody")


async def test_the_key_with_the_fewest_open_calls_goes() -> None:
    pool, _, _ = pool_of("a", "b", "c")
    async with AsyncExitStack() as open_calls:
        replies = [await open_calls.enter_async_context(pool(CALL)) for _ in range(6)]
    assert sorted(reply.headers[0][1] for reply in replies) == [b"a", b"a", b"b", b"b", b"c", b"c"]
    assert {await answered_by(pool) for _ in range(3)} == {b"a", b"b", b"c"}  # and in turn when none is loaded


async def test_a_limited_key_rests_as_long_as_it_was_told_and_the_call_goes_by_another() -> None:
    pool, (a, b), clock = pool_of("a", "b")
    a.limited = [(b"retry-after", b"20")]
    assert [await answered_by(pool) for _ in range(3)] == [b"b"] * 3
    assert (a.calls, b.calls) == (1, 3)
    a.limited = None
    await clock.advance(21)
    assert await answered_by(pool) == b"a"


async def test_when_all_keys_are_limited_the_429_is_handed_on() -> None:
    pool, keys, _ = pool_of("a", "b")
    for key in keys:
        key.limited = [(b"retry-after", b"20")]
    async with pool(CALL) as reply:
        assert (reply.status, reply.headers) == (429, [(b"retry-after", b"20")])
    assert [key.calls for key in keys] == [1, 1]


async def test_all_of_them_are_closed() -> None:
    pool, keys, _ = pool_of("a", "b")
    await pool.close()
    assert all(key.closed for key in keys)
