"""The lean client against a real socket: bodies of every form, the pool, its limits, and what each failure means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from freehold.calls import Attempted
from freehold.errors import UpstreamFailed
from freehold.outbound.client import Client
from freehold.outbound.dial import Dialer, Origin, parse_url
from freehold.outbound.failures import AddressRefused, BrokenOff, TimedOut, Unreachable, WayOutFailed
from freehold.outbound.limits import Limits
from tests.outbound.certificates import Authority
from tests.scripted_upstream import Line, Request, Script, ScriptedUpstream, scripted

HEAD = b"POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\n"
Start = Callable[..., Awaitable[tuple[Client, ScriptedUpstream]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A client on a scripted upstream; both are closed at the end, and no connection may be left."""
    async with AsyncExitStack() as stack:

        async def begin(script: Script, limits: Limits | None = None) -> tuple[Client, ScriptedUpstream]:
            upstream = await stack.enter_async_context(scripted(script))
            origin = Origin("http", "127.0.0.1", upstream.port)
            client = Client(origin, Dialer(public_only=False), limits=limits)
            stack.push_async_callback(client.close)
            return client, upstream

        yield begin


async def ask(client: Client) -> bytes:
    async with client.exchange(HEAD, b"{}") as answer:
        return await answer.read_all()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def well(_: Request, line: Line) -> None:
    await line.answer(200, b'{"ok":true}', "request-id: req_1", "X-Odd:  spaced ")


async def test_an_answer_with_a_length_comes_whole(start: Start) -> None:
    client, upstream = await start(well)
    async with client.exchange(HEAD, b"{}") as answer:
        assert (answer.status, await answer.read_all()) == (200, b'{"ok":true}')
        assert answer.header(b"request-id") == b"req_1"
        assert answer.header(b"x-odd") == b"spaced"
    assert upstream.requests[0].body == b"{}"


async def test_chunks_come_as_they_were_sent_and_the_end_is_empty(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"one")
        await go.wait()
        await line.chunk(b"two")
        await line.chunk(b"")

    go = asyncio.Event()
    client, _ = await start(script)
    async with client.exchange(HEAD, b"{}") as answer:
        assert await answer.read() == b"one"
        go.set()
        assert await answer.read() == b"two"
        assert await answer.read() == b""
        assert await answer.read() == b""
    assert client.idle_connections == 1


async def test_a_body_without_length_ends_with_its_connection(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall of ")
        await line.send(b"it")
        line.writer.close()

    client, _ = await start(script)
    assert await ask(client) == b"all of it"
    assert client.idle_connections == 0


async def test_an_empty_answer_is_read_to_its_end(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    client, upstream = await start(script)
    assert await ask(client) == b""
    assert await ask(client) == b""
    assert upstream.connections == 1


async def test_interim_answers_are_passed_over(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await well(_, line)

    client, _ = await start(script)
    async with client.exchange(HEAD, b"{}") as answer:
        assert answer.status == 200
        assert answer.header(b"link") is None
        assert await answer.read_all() == b'{"ok":true}'


async def test_a_connection_is_used_again_newest_first(start: Start) -> None:
    client, upstream = await start(well)
    async with client.exchange(HEAD, b"{}") as first, client.exchange(HEAD, b"{}") as second:
        await second.read_all()
        await first.read_all()
    for _ in range(3):
        await ask(client)
    assert upstream.connections == 2
    assert [request.connection for request in upstream.requests[2:]] == [0, 0, 0]  # 0 was given back last


async def test_a_connection_that_was_not_read_to_its_end_is_never_used_again(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"one")
        assert await line.closed_by_peer()

    client, upstream = await start(script)
    async with client.exchange(HEAD, b"{}") as answer:
        await answer.read()
    assert client.idle_connections == 0
    async with client.exchange(HEAD, b"{}") as answer:
        await answer.read()
    assert [request.connection for request in upstream.requests] == [0, 1]


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
async def test_an_upstream_that_wants_to_close_is_believed(start: Start, head: bytes) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(head + b"content-length: 2\r\n\r\nok")

    client, upstream = await start(script)
    assert await ask(client) == b"ok"
    assert await ask(client) == b"ok"
    assert upstream.connections == 2


async def test_an_answer_nobody_asked_for_ends_the_connection_not_the_answer(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        one = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
        await line.send(one + b"one" + one + b"two")

    client, upstream = await start(script)
    assert await ask(client) == b"one"
    assert await ask(client) == b"one"
    assert upstream.connections == 2


async def test_bytes_on_a_resting_connection_end_it(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await well(_, line)
        await go.wait()
        await line.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        assert await line.closed_by_peer()

    go = asyncio.Event()
    client, upstream = await start(script)
    await ask(client)
    go.set()
    await until(lambda: client.open_connections == 0)
    upstream.script = well
    assert await ask(client) == b'{"ok":true}'


async def test_a_resting_connection_that_was_closed_is_not_used(start: Start) -> None:
    client, upstream = await start(well)

    async def once(_: Request, line: Line) -> None:
        await well(_, line)
        line.writer.close()

    upstream.script = once
    await ask(client)
    await until(lambda: client.idle_connections == 0)
    await ask(client)
    assert upstream.connections == 2


async def test_a_resting_connection_is_closed_after_the_idle_limit(start: Start) -> None:
    client, _ = await start(well, Limits(idle_s=0.05))
    await ask(client)
    assert client.idle_connections == 1
    await until(lambda: client.open_connections == 0)


async def test_silence_before_the_answer_is_a_time_out_that_was_sent(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        assert await line.closed_by_peer()

    client, _ = await start(script, Limits(silence_s=0.05))
    with pytest.raises(TimedOut) as caught:
        await ask(client)
    assert caught.value.attempted is Attempted.UNANSWERED


async def test_silence_in_the_middle_of_a_stream_is_a_time_out(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"one")
        assert await line.closed_by_peer()

    client, _ = await start(script, Limits(silence_s=0.5))
    async with client.exchange(HEAD, b"{}") as answer:
        assert await answer.read() == b"one"
        with pytest.raises(TimedOut):
            await answer.read()


async def test_no_connection_means_that_nothing_was_sent(start: Start) -> None:
    client, upstream = await start(well)
    await upstream.close()
    with pytest.raises(Unreachable) as caught:
        await ask(client)
    assert caught.value.attempted is Attempted.NOT_SENT
    await upstream.open()


async def test_a_name_that_does_not_resolve_means_that_nothing_was_sent() -> None:
    for host in ("no-such-host.invalid", "a" * 300):
        client = Client(Origin("http", host, 80), Dialer(public_only=False))
        with pytest.raises(Unreachable) as caught:
            await ask(client)
        assert caught.value.attempted is Attempted.NOT_SENT


async def test_a_connection_lost_before_the_answer_is_unanswered(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        line.hang_up()

    client, _ = await start(script)
    with pytest.raises(BrokenOff) as caught:
        await ask(client)
    assert caught.value.attempted is Attempted.UNANSWERED


@pytest.mark.parametrize("head", ["content-length: 10", "transfer-encoding: chunked"])
async def test_a_body_cut_short_is_an_error_after_what_came(start: Start, head: str) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + (b"3\r\n" if "chunk" in head else b"") + b"abc")
        line.writer.close()

    client, _ = await start(script)
    async with client.exchange(HEAD, b"{}") as answer:
        assert await answer.read() == b"abc"
        with pytest.raises(BrokenOff):
            await answer.read()
    with pytest.raises(BrokenOff):
        await ask(client)


@pytest.mark.parametrize(
    "junk", [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
)
async def test_what_is_not_http_is_an_error(start: Start, junk: bytes) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(junk)
        assert await line.closed_by_peer()

    client, _ = await start(script)
    with pytest.raises(BrokenOff, match="not an HTTP"):
        await ask(client)


async def test_endless_headers_are_cut_off(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await line.send(b"x-pad: " + b"a" * 1000 + b"\r\n")

    client, _ = await start(script, Limits(head_bytes=10_000))
    with pytest.raises(BrokenOff, match="10000 bytes"):
        await ask(client)


@pytest.mark.parametrize(
    ("begun", "goes_on"),
    [(b"0\r\n", b"x-pad: " + b"a" * 1000 + b"\r\n"), (b"5;x=", b"a" * 1000), (b"3\r\nabc\r\n5;x=", b"a" * 1000)],
    ids=["trailers", "an extension", "an extension behind a chunk"],
)
async def test_what_frames_a_body_has_an_end_too(start: Start, begun: bytes, goes_on: bytes) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + begun)
        while True:
            await line.send(goes_on)

    client, _ = await start(script, Limits(head_bytes=10_000))
    async with asyncio.timeout(10):
        with pytest.raises(BrokenOff, match="10000 bytes"):
            await ask(client)


async def test_a_whole_answer_beyond_the_limit_is_cut_off(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        while True:
            await line.chunk(b"a" * 10_000)

    client, _ = await start(script, Limits(buffer_bytes=50_000, whole_bytes=100_000))
    with pytest.raises(BrokenOff, match="100000 bytes"):
        await ask(client)


async def test_a_slow_reader_holds_the_upstream_back(start: Start) -> None:
    sent = 0

    async def script(_: Request, line: Line) -> None:
        nonlocal sent
        line.writer.transport.set_write_buffer_limits(high=1000)
        await line.begin_stream()
        for _n in range(2000):
            await line.chunk(b"a" * 10_000)
            sent += 1
        await line.chunk(b"")

    client, _ = await start(script, Limits(buffer_bytes=100_000))
    async with client.exchange(HEAD, b"{}") as answer:
        await until(lambda: sent > 5)
        before = -1
        while before != sent:  # the script stands still once the sockets are full
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 1500
        size = 0
        while data := await answer.read():
            size += len(data)
        assert size == 2000 * 10_000
    assert client.idle_connections == 1


async def test_a_body_is_poured_until_the_sink_has_enough_and_on_again_to_its_end(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        for n in range(10):
            await line.chunk(b"%d" % n)
            await asyncio.sleep(0.002)
        await line.chunk(b"")

    def takes(data: bytes) -> bool:
        came.append(data)
        return b"4" not in data

    came: list[bytes] = []
    client, _ = await start(script)
    async with client.exchange(HEAD, b"{}") as answer:
        assert not await answer.pour(takes)
        assert b"".join(came).startswith(b"01234")
        held = len(came)
        await asyncio.sleep(0.01)
        assert len(came) == held
        assert await answer.pour(takes)
        assert b"".join(came) == b"0123456789"
        assert await answer.pour(takes)
    assert client.idle_connections == 1


async def test_what_a_sink_refuses_comes_out_where_it_pours(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"one")
        await go.wait()
        await line.chunk(b"two")
        assert await line.closed_by_peer()

    def takes(data: bytes) -> bool:
        go.set()
        if b"two" in data:
            raise UpstreamFailed("too much")
        return True

    go = asyncio.Event()
    client, _ = await start(script)
    async with client.exchange(HEAD, b"{}") as answer:
        with pytest.raises(UpstreamFailed, match="too much"):
            await answer.pour(takes)
    await until(lambda: client.open_connections == 0)


async def test_a_body_cut_short_while_it_pours_is_an_error_after_what_came(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"one")
        line.writer.transport.abort()

    def takes(data: bytes) -> bool:
        came.append(data)
        return True

    came: list[bytes] = []
    client, _ = await start(script, Limits(silence_s=0.1))
    async with client.exchange(HEAD, b"{}") as answer:
        with pytest.raises(WayOutFailed):
            await answer.pour(takes)
    assert came == [b"one"]


async def test_silence_while_it_pours_is_a_time_out(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.begin_stream()
        await line.chunk(b"one")
        assert await line.closed_by_peer()

    client, _ = await start(script, Limits(silence_s=0.1))
    async with client.exchange(HEAD, b"{}") as answer:
        with pytest.raises(TimedOut):
            await answer.pour(lambda data: True)


async def test_a_large_whole_answer_passes_a_small_buffer(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        await line.answer(200, b"a" * 3_000_000)

    client, _ = await start(script, Limits(buffer_bytes=10_000))
    assert len(await ask(client)) == 3_000_000


async def test_a_large_request_arrives_whole(start: Start) -> None:
    client, upstream = await start(well)
    body = bytes(range(256)) * 20_000
    async with client.exchange(b"POST /x HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body), body) as answer:
        await answer.read_all()
    assert upstream.requests[0].body == body


async def test_leaving_before_the_answer_lets_the_upstream_go_at_once(start: Start) -> None:
    gone = asyncio.Event()

    async def script(_: Request, line: Line) -> None:
        assert await line.closed_by_peer()
        gone.set()

    client, upstream = await start(script)
    task = asyncio.create_task(ask(client))
    await upstream.arrived(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(60):
        await gone.wait()
    assert client.open_connections == 0


async def test_closing_ends_running_exchanges(start: Start) -> None:
    async def script(_: Request, line: Line) -> None:
        assert await line.closed_by_peer()

    client, upstream = await start(script)
    task = asyncio.create_task(ask(client))
    await upstream.arrived(1)
    await client.close()
    with pytest.raises(WayOutFailed):
        await task


async def test_a_guarded_dialer_does_not_dial_inside() -> None:
    client = Client(Origin("http", "localhost", 80), Dialer(public_only=True))
    with pytest.raises(AddressRefused):
        await ask(client)


async def test_tls_is_checked_against_the_given_authority_and_the_name() -> None:
    authority = Authority()
    async with scripted(well, ssl=authority.server("localhost")) as upstream:
        origin = Origin("https", "localhost", upstream.port)
        trusting = Client(origin, Dialer(public_only=False, tls=authority.trust()))
        assert await ask(trusting) == b'{"ok":true}'
        assert await ask(trusting) == b'{"ok":true}'
        assert upstream.connections == 1
        wrong_name = Client(
            Origin("https", "127.0.0.1", upstream.port), Dialer(public_only=False, tls=authority.trust())
        )
        stranger = Client(origin, Dialer(public_only=False, tls=ssl.create_default_context()))
        for client in (wrong_name, stranger):
            with pytest.raises(Unreachable, match="not trusted"):
                await ask(client)
        await trusting.close()


async def test_a_port_that_swallows_the_handshake_times_out() -> None:
    async def silent(_: Request, line: Line) -> None:
        raise AssertionError("no request can come")

    async with scripted(silent) as upstream:
        dialer = Dialer(public_only=False, timeout_s=0.1)
        with pytest.raises(TimedOut) as caught:
            await ask(Client(Origin("https", "127.0.0.1", upstream.port), dialer))
        assert caught.value.attempted is Attempted.NOT_SENT


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://api.anthropic.com", Origin("https", "api.anthropic.com", 443), ""),
        ("http://[::1]:8000/a/b/", Origin("http", "::1", 8000), "/a/b"),
    ],
)
def test_a_base_url_is_an_origin_and_a_path(url: str, origin: Origin, path: str) -> None:
    assert parse_url(url) == (origin, path)


def test_the_authority_leaves_out_the_usual_port() -> None:
    assert Origin("https", "h", 443).authority == "h"
    assert Origin("http", "::1", 8000).authority == "[::1]:8000"


@pytest.mark.parametrize("url", ["ftp://x", "x", "http://", "http://u:p@h", "http://h/?q=1", "http://h/#f"])
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        parse_url(url)
