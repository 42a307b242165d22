"""What is kept of a decision: JSON from which it can be made again and explained, alone. Pure.

`[conversation, inputs, decision]`, and of a plain call, whose options follow from its size and the prices of then,
`[conversation, inputs without options, steps, sized, prices, learned]`, as short as may be: it is written for each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from freehold.gateway.routing.decision import Decision, Inputs, Learned, Step
from freehold.gateway.routing.prices import Plain, Prices, Sized, options_of
from freehold.gateway.routing.signals import Signals

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
    """What is the same in the records of many plain calls: `inputs` without what was learned, and the steps."""
    steps = [(step.what, step.tier) for step in decision.steps]
    return _encode((inputs, steps)).decode()[1:-1]


def plain_record(
    begin: str, signals: Signals, guess: float, likely: int, prices: Prices, learned: Learned | None
) -> str:
    """That of a plain call. `guess`: bytes of a token where nothing is known; `likely`: tokens of output."""
    said = "null" if learned is None else _encode((learned.loss, learned.threshold, learned.familiar)).decode()
    sized = f"[{signals.prompt_bytes},0,{guess},{likely},{signals.most_output}]"
    return f'["{signals.conversation}",{begin},{sized},{prices.text},{said}]'


def read_record(text: str) -> Kept:
    """What it says, with all inputs."""
    parts: list[Any] = msgspec.json.decode(text)
    if len(parts) == 3:
        return Kept(*msgspec.convert(parts, tuple[str, Inputs, Decision]))
    return _read_plain(*msgspec.convert(parts, _PlainRecord))


_PlainRecord = tuple[str, Inputs, list[tuple[str, str]], Sized, list[Plain], tuple[float, float, bool] | None]


def _read_plain(
    conversation: str,
    inputs: Inputs,
    steps: list[tuple[str, str]],
    sized: Sized,
    prices: list[Plain],
    learned: tuple[float, float, bool] | None,
) -> Kept:
    options = options_of([one.price() for one in prices], sized)
    inputs = msgspec.structs.replace(inputs, options=options, learned=None if learned is None else Learned(*learned))
    because, tier = steps[-1]
    model = next(option.model for option in options if option.tier == tier)
    return Kept(conversation, inputs, Decision(tier, model, because, [Step(*step) for step in steps]))
