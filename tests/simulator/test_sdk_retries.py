"""What the official Python SDK makes of each fault: how often it tries, after what wait, and what it raises at last.

Observed on the simulator's own bill: every try is a line there, with its time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from freehold.simulator.http import key_name
from freehold.simulator.served import Served, Settings
from tests.simulator.kit import OLD_HAIKU, listening

_WORDS = "word " * 200
_TRIES = {"stall; seconds=30": 3}
_FIRST_WAIT_S, _SECOND_WAIT_S = (0.375, 0.5), (0.75, 1.0)
"""Half a second, then one, each less up to a quarter (SDK `_base_client.py`)."""


@dataclass
class Seen:
    """What came of one call."""

    tries: int
    waits_s: list[float]
    raised: BaseException | None
    text: str


@pytest.fixture
async def served() -> Served:
    return Served(Settings(brain="echo"))


@pytest.fixture
async def url(served: Served) -> AsyncIterator[str]:
    async with listening(served) as url:
        yield url


async def _call(
    served: Served, url: str, fault: str, *, stream: bool = False, timeout_s: float = 20, key: str = "k"
) -> Seen:
    request: dict[str, Any] = {
        "model": OLD_HAIKU,
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": _WORDS}],
    }
    text, raised = "", None
    headers = {"x-freehold-fault": fault}
    async with AsyncAnthropic(api_key=key, base_url=url, default_headers=headers, timeout=timeout_s) as client:
        try:
            if stream:
                async with client.messages.stream(**request) as events:
                    async for piece in events.text_stream:
                        text += piece
                    await events.get_final_message()
            else:
                text = (await client.messages.create(**request)).content[0].text
        except Exception as error:  # noqa: BLE001  (what is raised is what is tested)
            raised = error
    account = served.simulator.claude.account
    async with asyncio.timeout(60):
        # A server learns a moment later than the client that the client has left.
        while len(account.lines(key=key_name(key))) < _TRIES.get(fault, 1):  # noqa: ASYNC110  (there is no event)
            await asyncio.sleep(0.01)
    times = [line.at_us for line in account.lines(key=key_name(key))]
    return Seen(len(times), [(b - a) / 1e6 for a, b in itertools.pairwise(times)], raised, text)


def _within(waited_s: float, between_s: tuple[float, float]) -> bool:
    """Never shorter; on a busy machine perhaps longer."""
    return between_s[0] * 0.98 <= waited_s <= between_s[1] + 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_errors_before_the_answer_are_tried_three_times_with_growing_waits(
    served: Served, url: str, stream: bool
) -> None:
    expected = {
        "rate_limit": anthropic.RateLimitError,
        "api_error": anthropic.InternalServerError,
        "bad_gateway": anthropic.InternalServerError,
        "unavailable": anthropic.ServiceUnavailableError,
        "timeout": anthropic.GatewayTimeoutError,
        "overloaded": anthropic.OverloadedError,
        "reset": anthropic.APIConnectionError,
    }
    calls = [_call(served, url, fault, stream=stream, key=fault) for fault in expected]
    for fault, seen in zip(expected, await asyncio.gather(*calls), strict=True):
        assert type(seen.raised) is expected[fault], fault
        assert seen.tries == 3, fault
        assert _within(seen.waits_s[0], _FIRST_WAIT_S) and _within(seen.waits_s[1], _SECOND_WAIT_S), (fault, seen)


async def test_the_server_says_how_long_to_wait(served: Served, url: str) -> None:
    by_ms = await _call(served, url, "rate_limit; retry_after_ms=60", key="ms")
    by_s = await _call(served, url, "overloaded; retry_after_s=0.2", key="s")
    assert by_ms.tries == by_s.tries == 3
    assert all(_within(wait, (0.06, 0.06)) for wait in by_ms.waits_s)
    assert all(_within(wait, (0.2, 0.2)) for wait in by_s.waits_s)


async def test_a_fault_that_passes_is_never_noticed_by_the_caller(served: Served, url: str) -> None:
    seen = await _call(served, url, "overloaded; times=2; retry_after_ms=20")
    assert seen.raised is None and seen.tries == 3 and seen.text == _WORDS


async def test_a_stalled_answer_times_out_and_is_tried_again(served: Served, url: str) -> None:
    seen = await _call(served, url, "stall; seconds=30", timeout_s=0.3)
    assert type(seen.raised) is anthropic.APITimeoutError
    assert seen.tries == 3


@pytest.mark.parametrize(
    ("fault", "raises", "text"),
    [
        ("overloaded_in_stream", anthropic.APIStatusError, ""),
        ("overloaded_in_stream; after=30", anthropic.APIStatusError, _WORDS[:149]),
        ("reset; after=30", Exception, _WORDS[:149]),
        ("malformed; after=30", ValueError, _WORDS[:149]),
        # The SDK does not miss a `message_stop`: what came is taken for the whole answer.
        ("truncated; after=30", None, _WORDS[:149]),
        ("slow; seconds=0.05; per_second=5000", None, _WORDS),
        ("wrong_content_type", None, _WORDS),
    ],
)
async def test_what_happens_in_a_stream_is_never_tried_again(
    served: Served, url: str, fault: str, raises: type[Exception] | None, text: str
) -> None:
    seen = await _call(served, url, fault, stream=True)
    assert seen.tries == 1
    assert seen.text == text
    assert (seen.raised is None) if raises is None else isinstance(seen.raised, raises)


async def test_an_early_overload_in_a_stream_is_status_200_and_says_overloaded(served: Served, url: str) -> None:
    seen = await _call(served, url, "overloaded_in_stream", stream=True)
    assert isinstance(seen.raised, anthropic.APIStatusError)
    assert seen.raised.status_code == 200
    assert "overloaded_error" in str(seen.raised)


@pytest.mark.parametrize("fault", ["malformed", "truncated"])
async def test_half_a_whole_answer_is_not_json_and_not_tried_again(served: Served, url: str, fault: str) -> None:
    seen = await _call(served, url, fault)
    assert seen.tries == 1 and isinstance(seen.raised, ValueError)


async def test_a_stall_in_a_stream_ends_it_by_the_read_timeout(served: Served, url: str) -> None:
    seen = await _call(served, url, "stall; seconds=30; after=30", stream=True, timeout_s=0.3)
    assert seen.tries == 1 and seen.raised is not None and seen.text == _WORDS[:149]
    line = served.simulator.claude.account.lines()[-1]
    assert line.fault == "stall" and line.output_tokens == 30


async def test_a_request_that_is_wrong_is_not_tried_again(served: Served, url: str) -> None:
    seen = await _call(served, url, "no such fault")
    assert seen.tries == 1 and isinstance(seen.raised, anthropic.BadRequestError)
    assert "is no fault. Known are rate_limit" in str(seen.raised)
