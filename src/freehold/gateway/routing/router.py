"""Decides for calls, and remembers on which tier each conversation is. The rule itself is pure: `decision.py`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from freehold.calls import Call
from freehold.gateway.routing.decision import Decision, Inputs, Learned, decide
from freehold.gateway.routing.estimate import Estimates
from freehold.gateway.routing.settings import Phrases, Rulebook
from freehold.gateway.routing.signals import Signals

_KEPT = 50_000


class Learns(Protocol):
    """What the learner knows of a call; `None`: nothing yet."""

    def look(self, call: Call, signals: Signals) -> Learned | None:
        """What it says of this call."""
        ...


class Router:
    """One for a process."""

    def __init__(self, rules: Rulebook, estimates: Estimates, learner: Learns | None = None) -> None:
        self.rules = rules
        self.estimates = estimates
        self._learner = learner
        self._tiers: OrderedDict[str, str] = OrderedDict()

    def knows(self, conversation: str) -> bool:
        """Whether the tier of that conversation is remembered here."""
        return conversation in self._tiers

    def remember(self, conversation: str, tier: str) -> None:
        """Keep the tier of a conversation."""
        self._tiers[conversation] = tier
        self._tiers.move_to_end(conversation)
        while len(self._tiers) > _KEPT:
            self._tiers.popitem(last=False)

    def inputs(self, call: Call, signals: Signals, now_us: int) -> Inputs:
        """All that decides about this call."""
        rules = self.rules
        learner = self._learner
        return Inputs(
            call.model,
            self.estimates.options(rules.aliases[call.model], call, signals, now_us),
            rules.dearest,
            call.task_type,
            rules.task_types.get(call.task_type.strip().lower()) if call.task_type else None,
            _seen(signals.text, signals.words & rules.complex_words, rules.complex_phrases),
            _seen(signals.text, signals.words & rules.simple_words, rules.simple_phrases),
            call.requires_reasoning or signals.hard_thinking,
            _least(signals, rules, call),
            self._tiers.get(signals.conversation) if signals.continued else None,
            learner.look(call, signals) if learner is not None else None,
            call.max_cost_nanodollars,
        )

    def decide(self, inputs: Inputs, signals: Signals) -> Decision:
        """The decision, remembered for the conversation."""
        decision = decide(inputs)
        if decision.tier is not None:
            self.remember(signals.conversation, decision.tier)
        return decision


_NONE: list[str] = []


def _seen(text: bytes, words: frozenset[bytes], phrases: Phrases) -> list[str]:
    searched = phrases.ascii if text.isascii() else phrases.all
    if not words and not searched:
        return _NONE
    found = [*sorted(words), *(phrase for phrase in searched if phrase in text)]
    return [word.decode("utf-8", "replace") for word in found]


def _least(signals: Signals, rules: Rulebook, call: Call) -> list[tuple[str, str]]:
    least = []
    if signals.prompt_bytes > 3 * rules.long_prompt_tokens and b'"base64"' not in call.body:
        least.append(("balanced", "long_prompt"))
    if signals.tools >= rules.many_tools:
        least.append(("balanced", "many_tools"))
    if signals.images:
        least.append((rules.image_tier, "images"))
    return least
