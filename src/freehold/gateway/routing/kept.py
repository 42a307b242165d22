"""What is kept of a decision: JSON from which it can be made again and explained, alone. Pure.

`[conversation, inputs, decision]`, and of a plain call, whose options follow from its size and the prices of then,
`[conversation, inputs without options, decision, sized, prices]`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from freehold.gateway.routing.decision import Decision, Inputs
from freehold.gateway.routing.prices import Price, Prices, Sized, options_of

_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """What a record says."""

    conversation: str
    inputs: Inputs
    decision: Decision


def record(conversation: str, inputs: Inputs, decision: Decision) -> str:
    """All of it."""
    return _encode((conversation, inputs, decision)).decode()


def beginning(inputs: Inputs, decision: Decision) -> str:
    """What is the same in the records of many plain calls."""
    return f"{_encode((inputs, decision)).decode()[1:-1]},["


def plain_record(conversation: str, begin: str, sized: tuple[int, float, int, int], prices: Prices) -> str:
    """That of a plain call. `sized`: bytes, bytes of a token where nothing is known, likely and longest output."""
    size, guess, likely, most = sized
    return f'["{conversation}",{begin}{size},0,{guess},{likely},{most}],{prices.text}]'


def read_record(text: str) -> Kept:
    """What it says, with all inputs."""
    parts: list[Any] = msgspec.json.decode(text)
    kept = Kept(*msgspec.convert(parts[:3], tuple[str, Inputs, Decision]))
    if len(parts) == 3:
        return kept
    sized, prices = msgspec.convert(parts[3:], tuple[Sized, list[Price]])
    return kept._replace(inputs=msgspec.structs.replace(kept.inputs, options=options_of(prices, sized)))
