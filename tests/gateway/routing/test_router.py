"""Plain calls, whose decision is looked up: it is what the rule decides on everything, and its record alone says so."""

from __future__ import annotations

import random
from typing import Any

from freehold.calls import Call
from freehold.gateway.routing.decision import Learned, decide
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.kept import read_record, record
from freehold.gateway.routing.router import Router, said_of
from freehold.gateway.routing.settings import RoutingSettings, rulebook
from freehold.gateway.routing.signals import Signals, read_signals
from freehold.ledger.rates import Rates
from freehold.wire.facts import Usage
from tests.gateway.routing.calls import call_of

NOW_US = 1_795_000_000_000_000
WORDS = ["hello", "translate", "design", "翻译", "架构", "please", "a", "of", "format", "compare", "42", "and", "again"]
RULES = rulebook(RoutingSettings(routing_aliases={"auto": {}, "big": {"simple": "claude-sonnet-5-5"}}))


class Says:
    """A learner that has made up its mind."""

    def __init__(self, learned: Learned | None) -> None:
        self.learned = learned

    def look(self, call: Call, signals: Signals) -> Learned | None:
        return self.learned


def some_call(chance: random.Random) -> Call:
    def text() -> str:
        return " ".join(chance.choices(WORDS, k=chance.choice((1, 3, 8, 700))))

    messages: list[Any] = [{"role": "user", "content": text()}]
    if chance.random() < 0.4:
        messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": text()}]
    more: dict[str, Any] = {}
    if chance.random() < 0.2:
        more["thinking"] = {"type": chance.choice(("adaptive", "disabled", "enabled"))}
    if chance.random() < 0.2:
        more["tools"] = [{"name": f"tool_{number}"} for number in range(chance.choice((1, 25)))]
    call = call_of(chance.choice(("auto", "big")), messages, max_tokens=chance.choice((0, 1, 64, 8000)), **more)
    call.task_type = chance.choice((None, None, None, "翻译", "unknown"))
    call.requires_reasoning = chance.random() < 0.1
    call.max_cost_nanodollars = chance.choice((None, None, None, 10**6))
    return call


def test_a_plain_call_gets_the_decision_of_the_rule_and_its_record_says_why() -> None:
    chance, plain = random.Random(7), 0
    estimates = Estimates(Rates.load())
    for _ in range(1500):
        learned = chance.choice(
            (None, None, Learned(0.1, 0.2, True), Learned(0.3, 0.2, True), Learned(0.1, 0.2, False))
        )
        router = Router(RULES, estimates, Says(learned))
        call = some_call(chance)
        signals = read_signals(call)
        before = chance.choice((None, "simple", "balanced", "complex"))
        if before is not None:
            router.remember(signals.conversation, before)
        inputs = router.inputs(call, signals, NOW_US)
        expected = decide(inputs)
        found = router.plainly(call, signals, NOW_US)
        if found is None:
            continue
        plain += 1
        chosen, moved, text = found
        assert chosen.decision == expected
        assert moved == (before != expected.tier)
        assert chosen.said == said_of(call.model, expected)
        kept = read_record(text)
        assert kept == (signals.conversation, inputs, expected), "the options follow from size and prices"
        assert kept == read_record(record(signals.conversation, inputs, expected))
        if not signals.continued:
            assert router.plainly(call, signals, NOW_US) == (chosen, False, text), "the second time it is looked up"
    assert 300 < plain < 1400, "both ways are met"


def test_a_call_is_not_plain_where_a_price_could_decide() -> None:
    estimates = Estimates(Rates.load())
    router = Router(RULES, estimates)

    def is_plain(call: Call) -> bool:
        return router.plainly(call, read_signals(call), NOW_US) is not None

    short, longer = (call_of("auto", [{"role": "user", "content": "x" * size}]) for size in (100, 5_000))
    assert is_plain(short)
    assert is_plain(longer)
    assert not is_plain(call_of("auto", [{"role": "user", "content": "x" * 300_000}])), "near the step of a price"
    assert not is_plain(call_of("big", [{"role": "user", "content": "x"}])), "two tiers of one model cost the same"
    assert not is_plain(call_of("auto", [{"role": "user", "content": "x"}], thinking={"type": "disabled"}))
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
    assert not is_plain(call_of("auto", [{"role": "user", "content": [image]}]))
    warm = call_of("auto", [{"role": "user", "content": "y" * 9_000}], system="z" * 5_000)
    estimates.answered("claude-opus-5-5", warm, read_signals(warm), Usage(10, 5, 3_000, 0, 0, 0), NOW_US)
    assert not is_plain(longer), "some model may have what it begins with in its cache"
    assert is_plain(short), "what is so short is in no cache"


def test_a_tier_that_moves_is_told_and_old_conversations_are_forgotten() -> None:
    router = Router(RULES, Estimates(Rates.load()))
    assert router.remember("one", "simple")
    assert not router.remember("one", "simple")
    assert router.remember("one", "complex")
    for number in range(50_000):
        router.remember(str(number), "simple")
    assert router.remember("one", "complex"), "it had been forgotten"
    assert not router.remember("49999", "simple")
