"""Decides for calls, and remembers on which tier each conversation is. The rule itself is pure: `decision.py`.

Most calls are plain (`Estimates.is_plain`). What decides about those takes few forms, so the decision about each form
is kept with its words for header and record, and a plain call is decided by a look into a dictionary.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from freehold.calls import Call
from freehold.gateway.routing.decision import Decision, Inputs, Learned, Option, decide
from freehold.gateway.routing.estimate import Estimates, first_guess
from freehold.gateway.routing.kept import beginning, plain_record
from freehold.gateway.routing.prices import unpriced
from freehold.gateway.routing.settings import Phrases, Rulebook
from freehold.gateway.routing.signals import TEXT_ALONE, Signals

_KEPT = 50_000
_FORMS = 2_000


class Learns(Protocol):
    """What the learner knows of a call; `None`: nothing yet."""

    def look(self, call: Call, signals: Signals) -> Learned | None:
        """What it says of this call."""
        ...


class Chosen:
    """A decision about plain calls, with what is said of it as far as that is the same for all calls of its form."""

    __slots__ = ("begin", "decision", "model", "said", "tier")

    def __init__(self, decision: Decision, said: str, begin: str) -> None:
        self.decision = decision
        self.tier = decision.tier or ""
        self.model = decision.model or ""
        self.said = said
        """The header, up to the call's id."""
        self.begin = begin
        """The beginning of the record."""


class Router:
    """One for a process."""

    def __init__(self, rules: Rulebook, estimates: Estimates, learner: Learns | None = None) -> None:
        self.estimates = estimates
        self._learner = learner
        self._tiers: dict[str, str] = {}
        self._aliases: dict[str, tuple[tuple[str, str], ...]] = {}
        self.renew(rules)

    def renew(self, rules: Rulebook) -> None:
        """From now on by these rules. Names that are gone stay known to the calls for them that are under way."""
        self.rules = rules
        self._aliases |= rules.aliases
        self._words = rules.complex_words | rules.simple_words
        hard, easy = rules.complex_phrases, rules.simple_phrases
        self._phrases = Phrases(hard.all + easy.all, hard.ascii + easy.ascii)
        self._long_bytes = 3 * rules.long_prompt_tokens
        self._bare: dict[tuple[str, bool], Chosen] = {}
        self._forms: dict[tuple[object, ...], Chosen] = {}

    def has_forgotten(self, signals: Signals) -> bool:
        """Whether a conversation is under way whose tier only the database may know."""
        return signals.continued and signals.conversation not in self._tiers

    def remember(self, conversation: str, tier: str) -> bool:
        """Keep the tier of a conversation; whether it was on another, or on none that is known."""
        tiers = self._tiers
        if tiers.get(conversation) == tier:
            return False
        tiers.pop(conversation, None)  # what has moved last is forgotten last
        tiers[conversation] = tier
        if len(tiers) > _KEPT:
            del tiers[next(iter(tiers))]
        return True

    def inputs(self, call: Call, signals: Signals, now_us: int) -> Inputs:
        """All that decides about this call."""
        learned = self._learner.look(call, signals) if self._learner is not None else None
        options = self.estimates.options(self._aliases[call.model], call, signals, now_us)
        return self._inputs(call, signals, options, learned)

    def decide(self, inputs: Inputs, signals: Signals) -> tuple[Decision, bool]:
        """The decision, remembered for the conversation, and whether that has moved it."""
        decision = decide(inputs)
        return decision, decision.tier is not None and self.remember(signals.conversation, decision.tier)

    def plainly(self, call: Call, signals: Signals, now_us: int) -> tuple[Chosen, bool, str] | None:
        """(the decision about a plain call, whether it has moved its conversation, its record: see `kept.py`); `None`:
        it is not plain.
        """
        estimates = self.estimates
        prices = estimates.prices(self._aliases[call.model], now_us)
        if not estimates.is_plain(prices, call, signals):
            return None
        learned = self._learner.look(call, signals) if self._learner is not None else None
        down = learned is not None and learned.familiar and learned.loss < learned.threshold  # `says_down`
        if self._is_bare(call, signals):
            chosen = self._bare.get((call.model, down)) or self._choose_bare(call.model, down)
            begin = chosen.begin
        else:
            inputs = self._inputs(call, signals, [], None)
            chosen = self._by_form(inputs, down)
            begin = beginning(inputs, chosen.decision)
        text = plain_record(begin, signals, first_guess(signals), estimates.likely_output(signals), prices, learned)
        return chosen, self.remember(signals.conversation, chosen.tier), text

    def _is_bare(self, call: Call, signals: Signals) -> bool:
        """Nothing in it speaks for any tier."""
        if signals.continued or call.task_type or call.requires_reasoning or signals.besides is not TEXT_ALONE:
            return False
        if not self._words.isdisjoint(signals.words):
            return False
        text = signals.text
        phrases = self._phrases.ascii if text.isascii() else self._phrases.all
        if phrases and any(phrase in text for phrase in phrases):
            return False
        return signals.prompt_bytes <= self._long_bytes

    def _choose_bare(self, alias: str, down: bool) -> Chosen:
        chosen = self._bare[alias, down] = self._chosen(Inputs(alias, [], self.rules.dearest), down)
        return chosen

    def _by_form(self, inputs: Inputs, down: bool) -> Chosen:
        """Of all that is in `inputs` of a plain call so much decides, and whether what was learned says `down`."""
        form = (
            inputs.alias,
            inputs.task_tier,
            bool(inputs.complex_words),
            bool(inputs.simple_words),
            inputs.reasoning,
            tuple(inputs.least),
            inputs.before,
            down,
        )
        chosen = self._forms.get(form)
        if chosen is None:
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            chosen = self._forms[form] = self._chosen(inputs, down)
        return chosen

    def _chosen(self, inputs: Inputs, down: bool) -> Chosen:
        options, learned = unpriced(self._aliases[inputs.alias]), _SAYS_DOWN if down else None
        decision = decide(msgspec.structs.replace(inputs, options=options, learned=learned))
        said, begin = said_of(inputs.alias, decision), beginning(inputs, decision)
        return Chosen(decision, said, begin)

    def _inputs(self, call: Call, signals: Signals, options: list[Option], learned: Learned | None) -> Inputs:
        rules = self.rules
        return Inputs(
            call.model,
            options,
            rules.dearest,
            call.task_type,
            rules.task_types.get(call.task_type.strip().lower()) if call.task_type else None,
            _seen(signals, rules.complex_words, rules.complex_phrases),
            _seen(signals, rules.simple_words, rules.simple_phrases),
            call.requires_reasoning or signals.besides.hard_thinking,
            self._least(signals),
            self._tiers.get(signals.conversation) if signals.continued else None,
            learned,
            call.max_cost_nanodollars,
        )

    def _least(self, signals: Signals) -> list[tuple[str, str]]:
        rules, least = self.rules, []
        if signals.prompt_bytes > self._long_bytes and not signals.besides.media:
            least.append(("balanced", "long_prompt"))
        if signals.besides.tools >= rules.many_tools:
            least.append(("balanced", "many_tools"))
        if signals.besides.images:
            least.append((rules.image_tier, "images"))
        return least


def said_of(alias: str, decision: Decision) -> str:
    """What `x-freehold-route` says, up to the call's id."""
    told = f"{alias}; tier={decision.tier}; because={decision.because}; call="
    return "".join(char if " " <= char <= "~" else "?" for char in told)


_SAYS_DOWN = Learned(0.0, 1.0, True)
_NONE: list[str] = []


def _seen(signals: Signals, words: frozenset[bytes], phrases: Phrases) -> list[str]:
    text = signals.text
    searched = phrases.ascii if text.isascii() else phrases.all
    found = words.intersection(signals.words)
    if not found and not searched:
        return _NONE
    seen = [*sorted(found), *(phrase for phrase in searched if phrase in text)]
    return [word.decode("utf-8", "replace") for word in seen]
