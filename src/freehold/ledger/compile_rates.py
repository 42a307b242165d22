"""Writes `rates.json` from the installed `genai-prices` and our overlay: `python -m freehold.ledger.compile_rates`.

A step of building, not of running: the library takes a quarter of a second and 25 MB to load and 80–170 µs a look-up,
and prices that change show up as a reviewed change of one file. A test fails when the file is not what this gives.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RATES = HERE / "rates.json"
KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "write_5m": "cache_write_mtok",
    "write_1h": "cache_write_1h_mtok",
    "read": "cache_read_mtok",
}
"""Our token kinds, in the order of a row of rates, and what `genai-prices` calls them."""
_CLAUSES = {"starts_with": "prefix", "equals": "equals", "contains": "contains", "regex": "regex"}


def compile_rates() -> dict[str, Any]:
    """The whole table: `{"version": …, "models": [{"id", "match", "standard", "fast", "web_search"}]}`.

    `standard` and `fast` are periods, newest first, each `{"from_us", "bands"}`; a period's bands are
    `[above_prompt_tokens, [five rates]]`, highest first. Rates are picodollars a token (half of 0.125 dollars a million
    is 62.5 nanodollars), web searches nanodollars each.
    """
    from genai_prices import data_snapshot

    provider = next(p for p in data_snapshot.get_snapshot().providers if p.id == "anthropic")
    overlay = yaml.safe_load((HERE / "overlay.yaml").read_text("utf-8"))
    models = [_model(info, Decimal(overlay["web_search"])) for info in provider.models]
    models += [_like(entry, models) for entry in overlay["models"]]
    for entry in overlay["before"]:
        _add_earlier(next(model for model in models if model["id"] == entry["id"]), entry)
    digest = hashlib.sha256(json.dumps(models).encode()).hexdigest()[:8]
    return {"version": f"genai-prices {version('genai-prices')} + {digest}", "models": models}


def as_text(table: Mapping[str, Any]) -> str:
    """One model a line, so that a changed price is a changed line."""
    lines = ",\n".join("  " + json.dumps(model) for model in table["models"])
    return f'{{"version": {json.dumps(table["version"])}, "models": [\n{lines}\n]}}\n'


def _model(info: Any, usual_web_search: Decimal) -> dict[str, Any]:
    standard = _periods(info.prices)
    fast = [
        _period(variant.prices, variant.constraint)
        for variant in info.price_variants or ()
        if variant.when == {"speed": "fast"}
    ]
    searches = getattr(_latest(info.prices), "web_searches_kcount", None) or usual_web_search
    return {
        "id": info.id,
        "match": _clauses(info.match),
        "standard": standard,
        "fast": fast,
        "web_search": int(searches * 1_000_000),
    }


def _latest(prices: Any) -> Any:
    return prices[-1].prices if isinstance(prices, list) else prices


def _periods(prices: Any) -> list[dict[str, Any]]:
    if not isinstance(prices, list):
        return [_period(prices, None)]
    return [_period(entry.prices, entry.constraint) for entry in reversed(prices)]


def _period(prices: Any, constraint: Any) -> dict[str, Any]:
    start = None if constraint is None else _midnight_us(constraint.start_date)
    values = [getattr(prices, name, None) for name in KINDS.values()]
    borders = sorted({tier.start for value in values for tier in getattr(value, "tiers", ())}, reverse=True)
    return {"from_us": start, "bands": [[above, [_rate(value, above) for value in values]] for above in [*borders, 0]]}


def _rate(value: Any, above: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, Decimal):
        return _picodollars(value)
    price = value.base
    for tier in value.tiers:
        if above >= tier.start:
            price = tier.price
    return _picodollars(price)


def _picodollars(dollars_per_million: Decimal) -> int:
    amount = Decimal(dollars_per_million) * 1_000_000
    if amount != amount.to_integral_value() or amount % 20:
        raise ValueError(f"{dollars_per_million} dollars a million are no multiple of 20 picodollars a token")
    return int(amount)


def _midnight_us(date: datetime.date) -> int:
    return int(datetime.datetime.combine(date, datetime.time(), datetime.UTC).timestamp()) * 1_000_000


def _clauses(match: Any) -> list[str]:
    if hasattr(match, "or_"):
        return [text for clause in match.or_ for text in _clauses(clause)]
    for attribute, kind in _CLAUSES.items():
        if hasattr(match, attribute):
            return [f"{kind} {getattr(match, attribute)}"]
    raise ValueError(f"a new kind of clause: {match}")


def _like(entry: Mapping[str, Any], models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    twin = next(model for model in models if model["id"] == entry["like"])
    return {**twin, "id": entry["id"], "match": entry["match"]}


def _add_earlier(model: dict[str, Any], entry: Mapping[str, Any]) -> None:
    """What is the oldest period now begins at that date; before it the rates named in `entry` were others."""
    oldest = model["standard"][-1]
    kinds = list(KINDS)
    changed = {kinds.index(kind): _picodollars(Decimal(str(value))) for kind, value in entry["rates"].items()}
    earlier = [[above, [changed.get(i, rate) for i, rate in enumerate(rates)]] for above, rates in oldest["bands"]]
    oldest["from_us"] = _midnight_us(entry["date"])
    model["standard"].append({"from_us": None, "bands": earlier})


if __name__ == "__main__":
    RATES.write_text(as_text(compile_rates()), "utf-8")
