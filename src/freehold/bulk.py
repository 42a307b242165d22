"""Many calls through message batches from a program: an iterable of params in, answers out, in order or as they come.

    for answer in answers(client, ({"model": …, "max_tokens": 64, "messages": […]} for text in texts)):
        print(answer.index, answer.text or answer.error)

Works with any server that has the Message Batches API: Freehold, or Claude itself. What goes in is taken a batch at a
time, with a few batches open at once, so it may be longer than memory. Imports the SDK only for types.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anthropic import Anthropic
    from anthropic.types import Message


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one call. Exactly one of `message` and `error` is set."""

    index: int
    """The place of its params in what went in: 0, 1, 2 …"""
    message: Message | None
    error: str | None

    @property
    def text(self) -> str | None:
        """The words of the answer; `None` where there is none."""
        if self.message is None:
            return None
        return "".join(block.text for block in self.message.content if block.type == "text")


def answers(
    client: Anthropic,
    params: Iterable[Mapping[str, Any]],
    *,
    in_order: bool = True,
    size: int = 1_000,
    open_at_once: int = 4,
    poll_s: float = 2.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Answer, None, None]:
    """The answer to each of `params`, once.

    Args:
        client: the official client, of any server.
        params: bodies of Messages calls.
        in_order: wait for the first batch before the second; else the answers of whichever batch has ended come first.
        size: calls in one batch. Smaller ones end sooner.
        open_at_once: batches that are open at the same time.
        poll_s: seconds between two looks.
        sleep: what waits between looks.

    A generator that is closed early cancels the batches that are open.
    """
    parts = _parts(params, size)
    open_: deque[str] = deque()
    try:
        while True:
            while len(open_) < open_at_once and (part := next(parts, None)) is not None:
                open_.append(_send(client, part))
            if not open_:
                return
            looked_at = list(open_)[:1] if in_order else list(open_)
            ended = [one for one in looked_at if _has_ended(client, one)]
            for batch in ended:
                yield from _results(client, batch)
                open_.remove(batch)
            if not ended:
                sleep(poll_s)
    finally:
        for batch_id in open_:
            client.messages.batches.cancel(batch_id)


_Part = list[tuple[int, Mapping[str, Any]]]


def _parts(params: Iterable[Mapping[str, Any]], size: int) -> Iterator[_Part]:
    rest = iter(enumerate(params))
    while part := list(itertools.islice(rest, size)):
        yield part


def _send(client: Anthropic, part: _Part) -> str:
    requests: list[Any] = [{"custom_id": f"call-{index}", "params": dict(one)} for index, one in part]
    return client.messages.batches.create(requests=requests).id


def _has_ended(client: Anthropic, batch_id: str) -> bool:
    return client.messages.batches.retrieve(batch_id).processing_status == "ended"


def _results(client: Anthropic, batch_id: str) -> Iterator[Answer]:
    """Of one batch, by their places: the API gives results in any order."""
    found = {}
    for line in client.messages.batches.results(batch_id):
        index, result = int(line.custom_id.removeprefix("call-")), line.result
        if result.type == "succeeded":
            found[index] = Answer(index, result.message, None)
        else:
            found[index] = Answer(index, None, result.error.error.message if result.type == "errored" else result.type)
    for index in sorted(found):
        yield found[index]
