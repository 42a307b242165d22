"""The price table against its source, against worked examples by hand, and in every odd corner of Claude's pricing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import get_args

import pytest
from anthropic.types.model_param import ModelParam
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price, data_snapshot

from freehold.ledger.compile_rates import RATES, as_text, compile_rates
from freehold.ledger.rates import Rates
from freehold.wire.facts import Iteration, Usage

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
IDS = get_args(get_args(ModelParam)[0])
WITHOUT_GENAI_PRICE = {"claude-mythos-5", "claude-mythos-5-1", "claude-mythos-preview"}
GENAI_IDS = [m.id for p in data_snapshot.get_snapshot().providers if p.id == "anthropic" for m in p.models]
USAGES = [
    Usage(input_tokens=1),
    Usage(input_tokens=25, output_tokens=30),
    Usage(1000, 2000, cache_write_5m_tokens=3000, cache_write_1h_tokens=4000, cache_read_tokens=50_000),
    Usage(100_000, 7),
    Usage(100_001, 7),
    Usage(20_000, 7, cache_write_5m_tokens=40_000, cache_read_tokens=40_000),
    Usage(20_000, 7, cache_write_5m_tokens=40_000, cache_read_tokens=40_001),
    Usage(300_000, 70_000, cache_read_tokens=500_000),
    Usage(10, 10, web_searches=3),
]


@pytest.fixture(scope="module")
def rates() -> Rates:
    return Rates.load()


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def by_the_library(model: str, usage: Usage, moment: datetime, **context: str) -> int:
    """`genai-prices` counts cached tokens as part of the input; Claude does not: here the whole is put together."""
    writes = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    foreign = GenaiUsage(
        input_tokens=usage.input_tokens + writes + usage.cache_read_tokens,
        cache_write_tokens=writes,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        output_tokens=usage.output_tokens,
    )
    price = calc_price(
        foreign, model, provider_id="anthropic", genai_request_timestamp=moment, price_context=context or None
    ).total_price
    searches = usage.web_searches * 10_000_000
    return int((price * 10**9).to_integral_value(ROUND_CEILING)) + searches


def test_the_table_in_the_package_is_what_its_sources_give() -> None:
    assert RATES.read_text("utf-8") == as_text(compile_rates())


@pytest.mark.parametrize("model", IDS)
def test_every_model_the_sdk_names_has_a_price(rates: Rates, model: str) -> None:
    assert rates.cost(model, Usage(input_tokens=1, output_tokens=1), NOW_US)


@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("model", [*sorted(set(IDS) - WITHOUT_GENAI_PRICE), *GENAI_IDS])
def test_a_cost_is_what_the_library_says(rates: Rates, model: str, usage: Usage) -> None:
    assert rates.cost(model, usage, NOW_US) == by_the_library(model, usage, NOW)


@pytest.mark.parametrize("usage", USAGES[:-1])
@pytest.mark.parametrize("model", sorted(set(IDS) - WITHOUT_GENAI_PRICE))
def test_a_batch_costs_half_as_the_library_says(rates: Rates, model: str, usage: Usage) -> None:
    assert rates.cost(model, usage, NOW_US, batch=True) == by_the_library(model, usage, NOW, processing="batch")


@pytest.mark.parametrize("model", ["claude-fable-5-2", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5"])
def test_fast_mode_costs_twice_as_the_library_says(rates: Rates, model: str) -> None:
    fast = Usage(1000, 2000, 3000, 4000, 5000, speed="fast")
    slow = Usage(1000, 2000, 3000, 4000, 5000, speed="standard")
    cost = rates.cost(model, fast, NOW_US)
    assert cost == by_the_library(model, fast, NOW, speed="fast")
    standard = rates.cost(model, slow, NOW_US)
    assert standard is not None
    assert cost == 2 * standard


def test_fast_mode_without_a_known_price_has_no_cost(rates: Rates) -> None:
    assert rates.cost("claude-sonnet-5-5", Usage(1, 1, speed="fast"), NOW_US) is None


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        # By hand, from the prices page: dollars a million times tokens.
        ("claude-opus-5-5", Usage(1_000_000), "4"),
        ("claude-opus-5-5", Usage(cache_read_tokens=1_000_000), "0.20"),
        ("claude-sonnet-5-5", Usage(cache_read_tokens=1_000_000), "0.10"),
        ("claude-fable-5-1", Usage(cache_read_tokens=1_000_000), "0.25"),
        ("claude-mythos-5-1", Usage(cache_read_tokens=1_000_000), "0.25"),
        ("claude-mythos-5", Usage(0, 1_000_000), "50"),
        ("claude-haiku-5-5", Usage(100_000), "0.01"),
        ("claude-haiku-5-5", Usage(100_001), "0.0500005"),
        ("claude-haiku-5-5", Usage(cache_read_tokens=1), "0.00000001"),
        ("claude-haiku-4-5-20251001", Usage(cache_write_1h_tokens=1_000_000), "2"),
        ("claude-sonnet-4-5", Usage(10, web_searches=1000), "10.00003"),
    ],
)
def test_a_worked_example(rates: Rates, model: str, usage: Usage, dollars: str) -> None:
    assert rates.cost(model, usage, NOW_US) == int(Decimal(dollars) * 10**9)


def test_one_token_more_than_100_000_multiplies_the_bill_of_haiku_by_five(rates: Rates) -> None:
    below = rates.cost("claude-haiku-5-5", Usage(1, 1000, cache_read_tokens=99_999), NOW_US)
    above = rates.cost("claude-haiku-5-5", Usage(2, 1000, cache_read_tokens=99_999), NOW_US)
    assert below is not None and above is not None
    assert above == 5 * below + 500


def test_american_inference_costs_a_tenth_more_on_tokens_but_not_on_searches(rates: Rates) -> None:
    usage = Usage(1_000_000, web_searches=1, inference_geo="us")
    assert rates.cost("claude-opus-5-5", usage, NOW_US) == 4_400_000_000 + 10_000_000


def test_a_service_tier_of_batch_halves_the_price_once(rates: Rates) -> None:
    usage = Usage(1_000_000, service_tier="batch")
    assert rates.cost("claude-opus-5-5", usage, NOW_US, batch=True) == 2_000_000_000


def test_a_fraction_of_a_nanodollar_is_rounded_up_once(rates: Rates) -> None:
    # Half of 125 nanodollars a token: one token 62.5, two 125.
    assert rates.cost("claude-haiku-5-5", Usage(cache_write_5m_tokens=1), NOW_US, batch=True) == 63
    assert rates.cost("claude-haiku-5-5", Usage(cache_write_5m_tokens=2), NOW_US, batch=True) == 125


def test_a_price_holds_from_its_date(rates: Rates) -> None:
    usage = Usage(cache_read_tokens=1_000_000)
    assert rates.cost("claude-sonnet-5-5", usage, at("2026-10-06T23:59:59")) == 200_000_000
    assert rates.cost("claude-sonnet-5-5", usage, at("2026-10-07T00:00:00")) == 100_000_000
    long = Usage(1_000_000)
    assert rates.cost("claude-opus-4-6", long, at("2026-03-12T12:00:00")) == 10_000_000_000
    assert rates.cost("claude-opus-4-6", long, at("2026-03-13T12:00:00")) == 5_000_000_000


def test_iterations_are_priced_each_at_its_own_model(rates: Rates) -> None:
    # A compaction pass is not in the top-level numbers; an advisor has a model of its own.
    usage = Usage(
        input_tokens=1_000_000,
        iterations=(
            Iteration("compaction", None, 1_000_000, 0, 0, 0, 0),
            Iteration("message", None, 1_000_000, 0, 0, 0, 0),
            Iteration("advisor_message", "claude-opus-5-5", 1_000_000, 0, 0, 0, 0),
        ),
    )
    assert rates.cost("claude-sonnet-5-5", usage, NOW_US) == 2_000_000_000 + 2_000_000_000 + 4_000_000_000


def test_an_iteration_of_an_unknown_model_has_no_cost(rates: Rates) -> None:
    usage = Usage(iterations=(Iteration("advisor_message", "llama", 1, 0, 0, 0, 0),))
    assert rates.cost("claude-sonnet-5-5", usage, NOW_US) is None


@pytest.mark.parametrize("model", [None, "", "llama3.1", "gpt-9", "x" * 100_000])
def test_an_unknown_model_has_no_cost(rates: Rates, model: str | None) -> None:
    assert rates.cost(model, Usage(1, 1), NOW_US) is None


def test_names_from_strangers_do_not_fill_the_memory(rates: Rates) -> None:
    for number in range(10_000):
        assert rates.card(f"m-{number}") is None
    assert len(rates._found) <= 4096


def test_the_version_fits_its_column(rates: Rates) -> None:
    assert rates.version.startswith("genai-prices ")
    assert len(rates.version) <= 64
