"""Settings of routing, checked once at the start: names that may be asked for, their tiers, the words of the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from freehold.config import setting
from freehold.errors import Misconfigured

TIERS = ("simple", "balanced", "complex")
"""From the cheapest to the dearest."""
_MODELS = {"simple": "claude-haiku-5-5", "balanced": "claude-sonnet-5-5", "complex": "claude-opus-5-5"}
_COMPLEX = (
    "analyse analyze analysis analyses design optimise optimize optimisation optimization compare comparison reasoning "
    "deduce prove proof strategy strategies architecture architect refactor derive 分析 设计 优化 比较 推理 策略 架构"
)
_SIMPLE = (
    "translate translation summarise summarize summary format reformat classify classification extract extraction "
    "翻译 摘要 格式化 分类 提取"
)


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Who answers a call whose model is `auto`, or another name that is made here."""

    routing_aliases: dict[str, Any] = setting(
        {"auto": {}},
        "names that leave the choice of a model to this server, each with its tiers: `[routing_aliases.auto]` with "
        '`simple = "claude-haiku-5-5"`, `balanced = …`, `complex = …`; what is left out is as in this example',
    )
    routing_complex_words: list[str] = setting(_COMPLEX.split(), "words in a prompt that ask for the `complex` tier")
    routing_simple_words: list[str] = setting(
        _SIMPLE.split(), "words that ask for the `simple` tier, where there is none of the others"
    )
    routing_task_types: dict[str, Any] = setting(
        {},
        'the tier of task types in `x-freehold-task-type`, such as `review = "complex"`; the tiers\' own names and all '
        "words of the two lists are known",
    )
    routing_long_prompt_tokens: int = setting(
        150_000, "a longer prompt gets the `balanced` tier at least", unit="tokens", least=1
    )
    routing_many_tools: int = setting(20, "so many tools get the `balanced` tier at least", least=1)
    routing_image_tier: Literal["simple", "balanced", "complex"] = setting(
        "simple", "the least tier of a request with images"
    )
    routing_shadow_share: float = setting(
        0.0,
        "of the answers to such calls, this part (0 to 1) is judged: the other model is asked too, in the background, "
        "and closed answers are compared. It is what the learner learns from, and it costs those calls",
    )
    routing_most_loss: float = setting(
        0.02, "with what was learned, at most this part of the answers may be worse, with 95 % confidence"
    )
    routing_agreement: bool = setting(
        False,
        "for closed questions (forced tool calls, JSON formats, very short answers), ask the cheapest model twice and "
        "the dearer one only where the two differ",
    )
    routing_max_cost: Literal["dearest", "cap"] = setting(
        "dearest",
        "what `x-freehold-max-cost-usd` means for such a call: `dearest`, the dearest tier that fits; or `cap`, the "
        "tier of the rule, and a cheaper one only where that does not fit",
    )


class Phrases(NamedTuple):
    """Words that are not of Latin letters, or several of them: they are searched for in the text."""

    all: tuple[bytes, ...]
    ascii: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The settings as the rule reads them."""

    aliases: Mapping[str, tuple[tuple[str, str], ...]]
    """(tier, model) from the cheapest to the dearest, by the name that is asked for."""
    complex_words: frozenset[bytes]
    simple_words: frozenset[bytes]
    complex_phrases: Phrases
    simple_phrases: Phrases
    task_types: Mapping[str, str]
    long_prompt_tokens: int
    many_tools: int
    image_tier: str
    dearest: bool


def rulebook(settings: RoutingSettings) -> Rulebook:
    """The rules of these settings.

    Raises:
        Misconfigured: a tier, a list of words or a task type is not what it should be.
    """
    for name in ("routing_shadow_share", "routing_most_loss"):
        if not getattr(settings, name) <= 1:
            raise Misconfigured(f"{name}: must be a part, from 0 to 1")
    hard, easy = settings.routing_complex_words, settings.routing_simple_words
    complex_words, complex_phrases = _split(hard)
    simple_words, simple_phrases = _split(easy)
    known = {**dict.fromkeys(hard, "complex"), **dict.fromkeys(easy, "simple"), **{tier: tier for tier in TIERS}}
    given = {
        _task(name): _tier(f"routing_task_types.{name}", tier) for name, tier in settings.routing_task_types.items()
    }
    return Rulebook(
        {name: _tiers(name, tiers) for name, tiers in settings.routing_aliases.items()},
        complex_words,
        simple_words,
        complex_phrases,
        simple_phrases,
        {_task(name): tier for name, tier in known.items()} | given,
        settings.routing_long_prompt_tokens,
        settings.routing_many_tools,
        settings.routing_image_tier,
        settings.routing_max_cost == "dearest",
    )


def _task(name: str) -> str:
    return name.strip().lower()


def _tier(place: str, tier: object) -> str:
    if tier not in TIERS:
        raise Misconfigured(f"{place}: must be one of {', '.join(TIERS)}, not {str(tier)[:40]!r}")
    return str(tier)


def _tiers(alias: str, given: object) -> tuple[tuple[str, str], ...]:
    place = f"routing_aliases.{alias}"
    if not isinstance(given, dict) or not all(isinstance(model, str) and model for model in given.values()):
        raise Misconfigured(f'{place}: must be a table of tiers and models, such as simple = "claude-haiku-5-5"')
    for tier in given:
        _tier(place, tier)
    models = {**_MODELS, **given}
    return tuple((tier, models[tier]) for tier in TIERS)


def _split(words: Sequence[str]) -> tuple[frozenset[bytes], Phrases]:
    lower = [word.strip().lower() for word in words if word.strip()]
    plain = frozenset(word.encode() for word in lower if word.isascii() and word.isalpha())
    phrases = tuple(word.encode() for word in lower if word.encode() not in plain)
    return plain, Phrases(phrases, tuple(phrase for phrase in phrases if phrase.isascii()))
