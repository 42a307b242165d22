"""What is kept of a decision: JSON from which it can be made again and explained, alone. Pure.

`[inputs, decision]`, and of a plain call, whose options follow from its size and the prices of then, `[inputs without
options, decision, sized, prices]`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.gateway.routing.decision import Decision, Inputs
from freehold.gateway.routing.prices import Price, Prices, Sized, options_of

_encode = msgspec.json.Encoder().encode


def record(inputs: Inputs, decision: Decision) -> str:
    """All of it."""
    return _encode((inputs, decision)).decode()


def beginning(inputs: Inputs, decision: Decision) -> str:
    """What is the same in the records of many plain calls."""
    return f"{record(inputs, decision)[:-1]},"


def plain_record(begin: str, sized: tuple[int, float, int, int], prices: Prices) -> str:
    """That of a plain call. `sized`: bytes, bytes of a token where nothing is known, likely and longest output."""
    size, guess, likely, most = sized
    return f"{begin}[{size},0,{guess},{likely},{most}],{prices.text}]"


def read_record(text: str) -> tuple[Inputs, Decision]:
    """(all inputs, what was decided on them)."""
    parts: list[Any] = msgspec.json.decode(text)
    inputs, decision = msgspec.convert(parts[:2], tuple[Inputs, Decision])
    if len(parts) == 2:
        return inputs, decision
    sized, prices = msgspec.convert(parts[2:], tuple[Sized, list[Price]])
    return msgspec.structs.replace(inputs, options=options_of(prices, sized)), decision
