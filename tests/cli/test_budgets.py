"""Limits set from the command line against a real server: a key that stops, what is left, and what was used."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest

from freehold.launch import ServerProcess
from tests.cli.commands import freehold


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), arguments=["--upstream", "simulator"]) as process:
        yield process


def ask(address: str, key: str, max_tokens: int) -> anthropic.types.Message:
    with anthropic.Anthropic(base_url=address, api_key=key, max_retries=2) as client:
        return client.messages.create(
            model="claude-haiku-4-5", max_tokens=max_tokens, messages=[{"role": "user", "content": "Hello"}]
        )


def test_a_key_with_a_limit_is_stopped_by_402_and_shows_what_is_left(running: ServerProcess, tmp_path: Path) -> None:
    data = ["--data", str(running.data)]
    made = freehold("keys", "create", "till", "--limit-usd", "0.01", "--limit-tokens", "9000", "--period", "day", *data)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    message = ask(running.address, key, 100)
    with pytest.raises(anthropic.APIStatusError) as caught:
        ask(running.address, key, 5_000)
    assert caught.value.status_code == 402
    assert isinstance(caught.value.body, dict) and caught.value.body["error"]["type"] == "billing_error"
    assert "$0.01 a day" in caught.value.message

    budgets = json.loads(freehold("budgets", "show", "--json", *data).stdout)
    (money,) = [budget for budget in budgets if budget["unit"] == "nanodollars"]
    (tokens,) = [budget for budget in budgets if budget["unit"] == "tokens"]
    used = message.usage.input_tokens + message.usage.output_tokens
    assert tokens["accounts"][0]["settled"] == used and tokens["accounts"][0]["reserved"] == 0
    assert money["accounts"][0]["remaining"] == 10_000_000 - money["accounts"][0]["settled"]
    shown = freehold("budgets", "show", *data).stdout
    assert "$0.01" in shown and "9,000 tokens" in shown and "resets_at" in shown


def test_a_limit_is_set_and_raised(running: ServerProcess) -> None:
    data = ["--data", str(running.data)]
    first = freehold("budgets", "set", "user", "ann", "--limit-usd", "1", "--period", "month", *data)
    again = freehold("budgets", "set", "user", "ann", "--limit-usd", "2.5", "--period", "month", *data)
    assert first.stdout.partition(":")[0] == again.stdout.partition(":")[0]
    assert "$2.50 for user ann" in again.stdout
    wrong = freehold("budgets", "set", "user", "ann", "--limit-usd", "a lot", *data)
    assert wrong.returncode == 2 and "not an amount of dollars" in wrong.stderr
    assert freehold("budgets", "set", "user", "ann", *data).returncode == 2
    assert (
        "no time zone"
        in freehold("budgets", "set", "workspace", "--limit-usd", "1", "--timezone", "Mars/Base", *data).stderr
    )


def test_a_key_whose_limit_is_refused_is_not_handed_out(running: ServerProcess) -> None:
    data = ["--data", str(running.data)]
    made = freehold("keys", "create", "bad", "--limit-usd", "1", "--timezone", "Mars/Base", *data)
    assert made.returncode == 2 and made.stdout == ""
    keys = json.loads(freehold("keys", "list", "--json", *data).stdout)
    assert [key["revoked_at"] is not None for key in keys if key["name"] == "bad"] == [True]


def test_usage_is_shown_as_a_table_as_csv_and_as_json(running: ServerProcess) -> None:
    data = ["--data", str(running.data)]
    key = freehold("keys", "create", "counted", *data).stdout.strip()
    for _ in range(3):
        ask(running.address, key, 50)
    answer = json.loads(freehold("usage", "--by", "day,key,model", "--json", *data).stdout)
    assert answer["total"]["calls"] == sum(row["calls"] for row in answer["data"]) >= 3
    rows = list(csv.DictReader(freehold("usage", "--by", "day,key,model", "--csv", *data).stdout.splitlines()))
    assert [int(row["cost_nanodollars"]) for row in rows] == [row["cost_nanodollars"] for row in answer["data"]]
    table = freehold("usage", "--by", "model", *data).stdout
    assert "claude-haiku-4-5" in table and "total" in table
    assert freehold("usage", "--by", "colour", *data).returncode == 2
