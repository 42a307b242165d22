"""The rule: from what is known of a call to the tier that answers it. Pure, so that a record explains itself.

The order: the task type that the client names, then words of hard tasks before words of easy ones, then the flag that
it needs reasoning, else the balanced tier. Then what was learned may go down, conversations stay where they are unless
they must go up, models that would refuse the request are left out, a dearer model that costs no more is taken, and
`x-freehold-max-cost-usd` decides. Last, where two cheap answers to a closed question were asked for, they count.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Option(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A tier as it is for this call; amounts in nanodollars, `None` where no price is known."""

    tier: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    """Of them so many are warm in this model's cache, as far as we know."""
    expected: int | None
    """What the call is likely to cost."""
    most: int | None
    """What it may cost: the whole of `max_tokens` is written, nothing is read from a cache."""
    above_step: bool
    """The prompt is so long that every token of it costs more (Haiku 5.5 above 100,000 tokens)."""
    refuses: str | None = None


class Learned(msgspec.Struct, frozen=True, gc=False):
    """What the learner says: how likely the cheap tier is worse, and up to where it may go down now."""

    loss: float
    threshold: float
    familiar: bool
    """False: the prompts of late are not like those it has learned from."""

    @property
    def says_down(self) -> bool:
        """Whether the cheap tier is likely to do as well."""
        return self.familiar and self.loss < self.threshold


class Inputs(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All that a decision is made of. Tiers are named by their place in `options`, the cheapest first."""

    alias: str
    options: list[Option] = []
    dearest: bool = True
    task_type: str | None = None
    task_tier: str | None = None
    complex_words: list[str] = []
    simple_words: list[str] = []
    reasoning: bool = False
    least: list[tuple[str, str]] = []
    """(tier, why): no cheaper one."""
    before: str | None = None
    """The tier that this conversation is on."""
    learned: Learned | None = None
    most_nanodollars: int | None = None
    cheap_answers: Literal["agreed", "differed"] | None = None
    """What two answers of the cheapest tier to a closed question were, where they were asked for."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """One thing that decided, and the tier that stood after it."""

    what: str
    tier: str


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The outcome. `tier` is `None` where none can take the call; then the last step says why."""

    tier: str | None
    model: str | None
    because: str
    steps: list[Step]


def decide(inputs: Inputs) -> Decision:
    """The decision on these inputs; the same inputs give the same decision."""
    order = [option.tier for option in inputs.options]
    tier, because = _plain(inputs)
    at = order.index(tier)
    steps = [Step(because, tier)]

    def move(to: int, why: str) -> None:
        nonlocal at, because
        at, because = to, why
        steps.append(Step(why, order[to]))

    for least, why in inputs.least:
        if order.index(least) > at:
            move(order.index(least), why)
    if at > 0 and _may_go_down(inputs):
        move(0, "learned")
    if inputs.before in order and order.index(inputs.before) > at:
        move(order.index(inputs.before), "conversation")
    takers = [place for place, option in enumerate(inputs.options) if option.refuses is None]
    if not takers:
        return Decision(None, None, "refused_by_all", [*steps, Step("refused_by_all", order[at])])
    if at not in takers:  # the next dearer one that takes it, else the dearest that does
        move(next((place for place in takers if place > at), takers[-1]), "refused_by_model")
    free = _no_dearer(inputs, takers, at)
    if free != at:
        move(free, "warm_or_cheaper")
    if inputs.most_nanodollars is not None:
        fitting = [place for place in takers if _fits(inputs.options[place], inputs.most_nanodollars)]
        if not fitting:
            return Decision(None, None, "max_cost", [*steps, Step("max_cost", order[at])])
        reach = at if inputs.task_tier is not None or not inputs.dearest else len(order)
        to = max((place for place in fitting if place <= reach), default=fitting[0])
        if to != at:
            move(to, "max_cost")
    if inputs.cheap_answers is not None and at > 0:
        agreed = inputs.cheap_answers == "agreed"
        move(0 if agreed else at, "agreement" if agreed else "disagreement")
    return Decision(order[at], inputs.options[at].model, because, steps)


def _plain(inputs: Inputs) -> tuple[str, str]:
    if inputs.task_tier is not None:
        return inputs.task_tier, "task_type"
    if inputs.complex_words:
        return "complex", "complex_words"
    if inputs.simple_words:
        return "simple", "simple_words"
    if inputs.reasoning:
        return "complex", "requires_reasoning"
    return "balanced", "balanced"


def _may_go_down(inputs: Inputs) -> bool:
    if inputs.task_tier is not None or inputs.reasoning or inputs.least:
        return False
    return inputs.learned is not None and inputs.learned.says_down


def _no_dearer(inputs: Inputs, takers: list[int], at: int) -> int:
    """A dearer tier that is likely to cost no more than this one: its cache is warm, or this one's price has a step."""
    price = inputs.options[at].expected
    if price is None:
        return at
    for place in reversed(takers):
        expected = inputs.options[place].expected
        if place > at and expected is not None and expected <= price:
            return place
    return at


def _fits(option: Option, most: int) -> bool:
    return option.most is not None and option.most <= most


_SAID = {
    "task_type": "The client named the task type {task_type!r}, which belongs to the tier {tier}.",
    "complex_words": "The prompt has words of hard tasks ({complex_words}), so the tier {tier}.",
    "simple_words": "The prompt has words of easy tasks ({simple_words}), so the tier {tier}.",
    "requires_reasoning": "The request says that it needs reasoning, so the tier {tier}.",
    "balanced": "Nothing in it speaks for another tier, so the tier {tier}.",
    "long_prompt": "The prompt is long, so the tier {tier} at least.",
    "many_tools": "There are many tools, so the tier {tier} at least.",
    "images": "There are images, so the tier {tier} at least.",
    "learned": "Learned from this route's own traffic: the tier {tier} is likely to do as well (its chance to be worse "
    "is {loss:.2f}, taken up to {threshold:.2f}).",
    "conversation": "The conversation is on the tier {tier} and stays there.",
    "refused_by_model": "The model of that tier would refuse the request, so the tier {tier}.",
    "refused_by_all": "No model of this name takes the request.",
    "warm_or_cheaper": "The tier {tier} is likely to cost no more here, for what is warm in its cache or for a step in "
    "the price of the other.",
    "agreement": "Two answers of the cheapest model were the same, so its answer was taken: the tier {tier}.",
    "disagreement": "Two answers of the cheapest model differed, so the tier {tier}.",
    "max_cost": "`x-freehold-max-cost-usd` decides: the tier {tier}.",
}


def explain(inputs: Inputs, decision: Decision) -> list[str]:
    """The decision in sentences, from its record alone."""
    learned = inputs.learned or Learned(0.0, 0.0, False)
    told = [
        _SAID[step.what].format(
            tier=step.tier,
            task_type=inputs.task_type,
            complex_words=", ".join(inputs.complex_words),
            simple_words=", ".join(inputs.simple_words),
            loss=learned.loss,
            threshold=learned.threshold,
        )
        for step in decision.steps
    ]
    for option in inputs.options:
        if option.refuses:
            told.append(f"{option.model} was left out: {option.refuses}.")
        if option.above_step:
            told.append(f"The prompt of about {option.prompt_tokens:,} tokens is above a price step of {option.model}.")
    if inputs.learned is not None and not inputs.learned.familiar:
        told.append("What was learned was not used: the prompts of late are not like those it was learned from.")
    if decision.model is not None:
        told.append(f"{decision.model} answered.")
    return told
