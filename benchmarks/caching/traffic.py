"""Requests as agents send them, by family: what a cache meets in the field. Seeded; the same seed, the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from freehold.gateway.caching.replay import Sent

MODEL = "claude-sonnet-5-5"
START_US = 1_795_000_000_000_000
_MARK = {"type": "ephemeral"}
_WORDS = [
    "ledger",
    "order",
    "parcel",
    "refund",
    "customer",
    "invoice",
    "storm",
    "harbour",
    "garden",
    "signal",
    "engine",
    "motor",
    "winter",
    "copper",
    "station",
    "letter",
    "record",
    "minute",
    "payment",
    "holiday",
    "account",
    "balance",
    "region",
    "supply",
    "demand",
    "method",
    "result",
    "figure",
    "chapter",
    "section",
    "reason",
]


def sent_at(at_s: float, request: dict[str, Any]) -> Sent:
    """The request, so many seconds after the beginning."""
    return Sent(START_US + round(at_s * 1e6), request)


class Writer:
    """Text of about so many tokens, different every time."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def text(self, tokens: int) -> str:
        """Words."""
        return " ".join(self.chance.choice(_WORDS) for _ in range(max(1, int(tokens / 1.3))))

    def tools(self, count: int, tokens: int) -> list[dict[str, Any]]:
        """Tools with descriptions of about so many tokens each."""
        schema = {"type": "object", "properties": {"query": {"type": "string"}}}
        return [
            {"name": f"tool_{number}", "description": self.text(tokens), "input_schema": schema}
            for number in range(count)
        ]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls_tool(number: int, text: str) -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": f"toolu_{number:06d}", "name": "tool_0", "input": {"query": "next"}}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{number:06d}", "content": text}
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


def request(messages: list[Any], *, system: str | None = None, tools: list[Any] | None = None) -> dict[str, Any]:
    """With the breakpoint of most examples: the system prompt has one, and the conversation none."""
    made: dict[str, Any] = {"model": MODEL, "max_tokens": 1000}
    if tools:
        made["tools"] = tools
    if system is not None:
        made["system"] = [{"type": "text", "text": system, "cache_control": _MARK}]
    return {**made, "messages": list(messages)}


def chat(chance: random.Random, size: int) -> Iterator[Sent]:
    """People who think between turns, log-normal around five minutes; one application, many conversations."""
    write = Writer(chance)
    system, tools = write.text(2500), write.tools(6, 120)
    sent: list[Sent] = []
    start = 0.0
    while len(sent) < size:
        at, messages = start, [user(write.text(120))]
        for _ in range(max(3, int(chance.gauss(14, 4)))):
            sent.append(sent_at(at, request(messages, system=system, tools=tools)))
            messages = [*messages, assistant(write.text(250)), user(write.text(80))]
            at += 5 + chance.lognormvariate(5.7, 1.0)
        start += chance.expovariate(1 / 400)
    yield from sorted(sent[:size], key=lambda one: one.at_us)


def tool_loops(chance: random.Random, size: int) -> Iterator[Sent]:
    """An agent that calls tools every few seconds until its task is done; then the next task."""
    write = Writer(chance)
    system, tools = write.text(1800), write.tools(10, 120)
    at, count, number = 0.0, 0, 0
    while True:
        messages = [user(write.text(150))]
        for _ in range(max(4, int(chance.gauss(14, 4)))):
            yield sent_at(at, request(messages, system=system, tools=tools))
            count += 1
            if count >= size:
                return
            number += 1
            messages = [*messages, *calls_tool(number, write.text(600))]
            at += chance.uniform(4, 25)
        at += chance.expovariate(1 / 200)


def clock_in_system(chance: random.Random, size: int) -> Iterator[Sent]:
    """The system prompt begins with the time of day, so nothing behind it is ever the same; the tools are."""
    write = Writer(chance)
    system, tools = write.text(1500), write.tools(8, 150)
    at, messages = 0.0, [user(write.text(150))]
    for number in range(size):
        stamped = f"It is {int(at) // 3600:02d}:{int(at) // 60 % 60:02d}:{int(at) % 60:02d}. {system}"
        yield sent_at(at, request(messages, system=stamped, tools=tools))
        messages = [*messages, assistant(write.text(100)), user(write.text(60))]
        if number % 10 == 9:
            messages = [user(write.text(150))]
        at += chance.uniform(8, 60)


def shuffled_tools(chance: random.Random, size: int) -> Iterator[Sent]:
    """The tools come out of a set, in another order every time."""
    write = Writer(chance)
    system, tools = write.text(1200), write.tools(30, 50)
    at = 0.0
    for _ in range(size):
        chance.shuffle(tools)
        yield sent_at(at, request([user(write.text(200))], system=system, tools=list(tools)))
        at += chance.uniform(10, 60)


def sub_agents(chance: random.Random, size: int) -> Iterator[Sent]:
    """A lead agent hands one long context to several others, each of which goes on alone with its tools."""
    write = Writer(chance)
    system, tools = write.text(1200), write.tools(6, 120)
    sent: list[Sent] = []
    start, number = 0.0, 0
    while len(sent) < size:
        context = write.text(5000)
        for branch in range(chance.randint(3, 6)):
            at = start + 8 * branch
            first = {
                "role": "user",
                "content": [{"type": "text", "text": context}, {"type": "text", "text": write.text(80)}],
            }
            messages: list[Any] = [first]
            for _ in range(chance.randint(5, 10)):
                sent.append(sent_at(at, request(messages, system=system, tools=tools)))
                number += 1
                messages = [*messages, *calls_tool(number, write.text(500))]
                at += chance.uniform(4, 20)
        start += chance.uniform(240, 900)
    yield from sorted(sent[:size], key=lambda one: one.at_us)


def one_shot(chance: random.Random, size: int) -> Iterator[Sent]:
    """Every request has a long document of its own, asked about once."""
    write = Writer(chance)
    system = write.text(900)
    at = 0.0
    for _ in range(size):
        document = {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": write.text(4000)},
        }
        question = {"type": "text", "text": write.text(40)}
        yield sent_at(at, request([{"role": "user", "content": [document, question]}], system=system))
        at += chance.uniform(5, 90)


def polling(chance: random.Random, size: int) -> Iterator[Sent]:
    """A job that looks every six minutes whether something has changed."""
    write = Writer(chance)
    system, tools = write.text(3000), write.tools(8, 120)
    for number in range(size):
        yield sent_at(360.0 * number, request([user(write.text(60))], system=system, tools=tools))


FAMILIES: dict[str, Callable[[random.Random, int], Iterator[Sent]]] = {
    "chat": chat,
    "tool_loops": tool_loops,
    "clock_in_system": clock_in_system,
    "shuffled_tools": shuffled_tools,
    "sub_agents": sub_agents,
    "one_shot": one_shot,
    "polling": polling,
}
