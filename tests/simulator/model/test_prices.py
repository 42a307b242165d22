"""The simulator's own prices: worked examples by hand, and every tier against `genai-prices` to the nanodollar."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price

from freehold.clock import parse_rfc3339
from freehold.simulator.model.catalog import MODELS
from freehold.simulator.model.prices import TABLE, Tokens, bill, rates

_NOW = parse_rfc3339("2026-11-23T12:00:00Z")
_UNPRICED = {"claude-mythos-5", "claude-mythos-5-1", "claude-mythos-5-2", "claude-mythos-preview"}
"""Limited models that `genai-prices` 0.2.3 does not know."""


def _theirs(model: str, used: Tokens, at_us: int = _NOW, **context: str) -> Decimal:
    usage = Usage(
        input_tokens=used.prompt,
        output_tokens=used.output,
        cache_read_tokens=used.read,
        cache_write_tokens=used.write_5m + used.write_1h,
        cache_write_1h_tokens=used.write_1h,
    )
    when = datetime.fromtimestamp(at_us / 1e6, UTC)
    options: dict[str, Any] = {"price_context": context} if context else {}
    priced = calc_price(usage, model, provider_id="anthropic", genai_request_timestamp=when, **options)
    return priced.total_price * 1_000_000_000


def test_every_model_has_a_price() -> None:
    assert set(TABLE) == {model.id for model in MODELS}


def test_worked_examples_by_hand() -> None:
    # Opus 5.5: 1,000 in at 4 $/M, 500 out at 20, 2,000 written for 5 minutes at 5, 3,000 for an hour at 8, 10,000 read
    # at 0.20: 0.004 + 0.010 + 0.010 + 0.024 + 0.002 = 0.050 $.
    assert bill("claude-opus-5-5", Tokens(1_000, 500, 2_000, 3_000, 10_000), _NOW) == 50_000_000
    # Haiku 4.5: a million in and a million out is 1 + 5 $.
    assert bill("claude-haiku-4-5-20251001", Tokens(1_000_000, 1_000_000), _NOW) == 6_000_000_000
    # Fable 5.1 reads at a fortieth of its input price: a million is 0.25 $.
    assert bill("claude-fable-5-1", Tokens(0, 0, read=1_000_000), _NOW) == 250_000_000


def test_haiku_5_5_jumps_at_100_001_prompt_tokens_output_too() -> None:
    below = bill("claude-haiku-5-5", Tokens(100_000, 1_000), _NOW)
    above = bill("claude-haiku-5-5", Tokens(100_001, 1_000), _NOW)
    assert below == 100_000 * 100 + 1_000 * 500
    assert above == 100_001 * 500 + 1_000 * 2_500
    cached = Tokens(1, 1_000, 40_000, 20_000, 40_000)
    assert cached.prompt == 100_001
    assert bill("claude-haiku-5-5", cached, _NOW) == 500 + 2_500_000 + 40_000 * 625 + 20_000 * 1_000 + 40_000 * 50


def test_sonnet_5_5_read_for_twice_as_much_before_7_october() -> None:
    used = Tokens(0, 0, read=1_000_000)
    assert bill("claude-sonnet-5-5", used, parse_rfc3339("2026-10-06T23:59:59Z")) == 200_000_000
    assert bill("claude-sonnet-5-5", used, parse_rfc3339("2026-10-07T00:00:00Z")) == 100_000_000


def test_batches_are_half_the_us_a_tenth_more_and_fast_twice() -> None:
    used = Tokens(1_000, 1_000, 1_000, 1_000, 1_000)
    plain = bill("claude-opus-5-5", used, _NOW)
    assert bill("claude-opus-5-5", used, _NOW, batch=True) * 2 == plain
    assert bill("claude-opus-5-5", used, _NOW, geo="us") * 10 == plain * 11
    assert bill("claude-opus-5-5", used, _NOW, geo="global") == plain
    assert bill("claude-opus-5-5", used, _NOW, speed="fast") == plain * 2


_SIZES = (
    Tokens(1, 0),
    Tokens(0, 1),
    Tokens(1, 1, 1, 1, 1),
    Tokens(99_999, 1_000, 0, 0, 1),
    Tokens(100_000, 7),
    Tokens(100_001, 7),
    Tokens(1, 7, 50_000, 25_000, 25_000),
    Tokens(150_000, 30_000, 11, 13, 17),
)


@pytest.mark.parametrize("used", _SIZES, ids=lambda used: f"{used.prompt}-{used.output}")
@pytest.mark.parametrize("model", [model.id for model in MODELS if model.id not in _UNPRICED])
def test_every_model_and_kind_agrees_with_genai_prices_to_the_nanodollar(model: str, used: Tokens) -> None:
    assert bill(model, used, _NOW) == _theirs(model, used)


@pytest.mark.parametrize(
    "used", [Tokens(2, 0), Tokens(0, 2), Tokens(100_002, 1_000, 10, 20, 40), Tokens(10, 20, 30, 40, 50)]
)
@pytest.mark.parametrize("model", [model.id for model in MODELS if model.id not in _UNPRICED])
def test_batches_agree_with_genai_prices_to_the_nanodollar(model: str, used: Tokens) -> None:
    assert bill(model, used, _NOW, batch=True) == _theirs(model, used, processing="batch")


def test_the_limited_models_cost_what_their_open_siblings_do() -> None:
    for number in ("5", "5-1", "5-2"):
        assert rates(f"claude-mythos-{number}", 1, _NOW) == rates(f"claude-fable-{number}", 1, _NOW)
