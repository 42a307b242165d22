"""Recordings: kept without secrets, played bit for bit, at once or in time, and missed with a useful error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from freehold.calls import Call
from freehold.clock import HandClock
from freehold.simulator.pace import Pace, Spread
from freehold.simulator.upstream import Simulator
from freehold.upstreams.replay import Replay
from tests.simulator.kit import body, call_of

_KEY = "sk-ant-api03-AAAAAAAAAAAAAAAAAAAAAAAA"


async def answer(upstream: Any, call: Call) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    async with upstream(call) as reply:
        if reply.whole is not None:
            return reply.status, reply.whole, reply.headers
        return reply.status, b"".join([read.data async for read in reply.reads]), reply.headers


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def recorder(folder: Path, clock: HandClock | None = None, **options: Any) -> Replay:
    clock = clock or HandClock()
    return Replay(folder, clock, mode="record", upstream=Simulator(clock, **options))


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_recorded_is_played_bit_for_bit_without_the_upstream(tmp_path: Path, stream: bool) -> None:
    call = call_of(body("Grüße aus 北京", stream=stream))
    recorded = await answer(recorder(tmp_path), call)
    player = Replay(tmp_path, HandClock())
    assert (await answer(player, call))[:2] == recorded[:2]
    assert dict((await answer(player, call))[2])[b"content-type"] == dict(recorded[2])[b"content-type"]


async def test_errors_are_recorded_too(tmp_path: Path) -> None:
    call = call_of(body("x", max_tokens=10**9))
    assert (await answer(recorder(tmp_path), call))[0] == 400
    assert (await answer(Replay(tmp_path, HandClock()), call))[0] == 400


async def test_key_order_and_spaces_of_the_request_do_not_matter(tmp_path: Path) -> None:
    request = body("Hello")
    await answer(recorder(tmp_path), call_of(request))
    turned = json.dumps(dict(reversed(request.items())), indent=3).encode()
    assert (await answer(Replay(tmp_path, HandClock()), call_of(turned)))[0] == 200


async def test_secrets_never_reach_the_folder(tmp_path: Path) -> None:
    headers = [(b"x-api-key", _KEY.encode()), (b"authorization", b"Bearer " + _KEY.encode())]
    request = body(f"My key is {_KEY}, keep it", metadata={"user_id": "person-77"})
    await answer(recorder(tmp_path, brain="echo"), call_of(request, headers=headers))
    kept = "".join(texts(tmp_path).values())
    assert _KEY not in kept and "person-77" not in kept and "[struck out]" in kept
    other = body("My key is sk-ant-api03-BBBBBBBBBBBBBBBBBBBBBBBB, keep it", metadata={"user_id": "person-78"})
    assert (await answer(Replay(tmp_path, HandClock()), call_of(other)))[0] == 200


async def test_takes_are_played_in_order_and_the_last_one_for_good(tmp_path: Path) -> None:
    call = call_of(body("Hello"))
    one = recorder(tmp_path)
    recorded = [(await answer(one, call))[1] for _ in range(2)]
    player = Replay(tmp_path, HandClock())
    assert [(await answer(player, call))[1] for _ in range(3)] == [*recorded, recorded[1]]
    assert recorded[0] != recorded[1]


async def test_recording_anew_replaces_the_old_takes(tmp_path: Path) -> None:
    call = call_of(body("Hello"))
    await answer(recorder(tmp_path), call)
    again = await answer(recorder(tmp_path, seed=9), call)
    assert (await answer(Replay(tmp_path, HandClock()), call))[1] == again[1]


async def test_a_request_without_a_recording_is_told_the_nearest_and_the_difference(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    for text in ("What is the weather in Paris?", "Sum up this contract"):
        await answer(one, call_of(body(text)))
    status, told, _ = await answer(Replay(tmp_path, HandClock()), call_of(body("What is the weather in Rome?")))
    message = json.loads(told)["error"]["message"]
    assert status == 404
    assert "messages.0.content" in message and "Paris" in message and "Rome" in message
    (near,) = (name for name, text in texts(tmp_path).items() if "Paris" in text)
    assert near in message


async def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    status, told, _ = await answer(Replay(tmp_path / "none", HandClock()), call_of(body("x")))
    assert status == 404 and b"no recording at all" in told


async def test_missing_ones_are_recorded_when_asked_to(tmp_path: Path) -> None:
    clock = HandClock()
    upstream = Simulator(clock)
    both = Replay(tmp_path, clock, mode="play_or_record", upstream=upstream)
    first = await answer(both, call_of(body("Hello")))
    assert (await answer(both, call_of(body("Hello"))))[1] == first[1]
    assert upstream.claude.account.total.requests == 1


async def test_the_timing_is_kept_and_played_if_asked(tmp_path: Path) -> None:
    clock = HandClock()
    pace = Pace(first_token_s=Spread(2.0), tokens_per_s=Spread(10.0))
    call = call_of(body("word " * 40, stream=True))
    recording = asyncio.create_task(answer(recorder(tmp_path, clock, pace=pace, brain="echo"), call))
    recorded = await _turning(clock, recording)
    took_s = clock.monotonic_ns() / 1e9
    playing = HandClock()
    played = await _turning(playing, asyncio.create_task(answer(Replay(tmp_path, playing, timed=True), call)))
    assert played[1] == recorded[1]
    assert took_s > 5 and abs(playing.monotonic_ns() / 1e9 - took_s) <= 1.0
    assert (await answer(Replay(tmp_path, HandClock()), call))[1] == recorded[1]


async def _turning(clock: HandClock, task: asyncio.Task[Any]) -> Any:
    """Turn the clock by half seconds until the task is done."""
    for _ in range(2000):
        await asyncio.wait((task,), timeout=0.005)
        if task.done():
            break
        await clock.advance(0.5)
    return await task


async def test_a_stream_that_was_left_early_is_not_kept(tmp_path: Path) -> None:
    async with recorder(tmp_path, brain="echo")(call_of(body("word " * 300, stream=True))) as reply:
        assert reply.reads is not None
        await anext(reply.reads)
    assert texts(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "takes": [1], "request": {}}', "\x00"])
async def test_a_file_that_is_no_recording_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    status, told, headers = await answer(Replay(tmp_path, HandClock()), call_of(body("x")))
    assert status == 500 and b"bad.json: " in told
    assert dict(headers)[b"x-should-retry"] == b"false"


def test_a_mode_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs an upstream"):
        Replay(tmp_path, HandClock(), mode="record")
    with pytest.raises(ValueError, match="takes no upstream"):
        Replay(tmp_path, HandClock(), upstream=Simulator(HandClock()))
