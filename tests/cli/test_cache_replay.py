"""`freehold cache replay` against a real server: what it recorded, with other breakpoints, and kept in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic

from freehold.gateway.caching.recorded import load
from freehold.launch import ServerProcess
from tests.cli.commands import freehold

_RULES = "The archive opens at nine. Visitors leave their bags at the door. " * 120
_MARKED: Any = [{"type": "text", "text": _RULES, "cache_control": {"type": "ephemeral"}}]


def test_what_a_server_has_recorded_is_replayed_with_other_breakpoints(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl.xz"
    with (
        ServerProcess(
            tmp_path / "data", arguments=["--upstream", "simulator"], environment={"FREEHOLD_RECORD": "full"}
        ) as process,
        anthropic.Anthropic(base_url=process.address, api_key=process.key, max_retries=0) as client,
    ):
        place = ("--data", tmp_path / "data")
        assert "No recorded call" in freehold("cache", "replay", *place).stdout
        billed = [_ask(client, model, question) for model in ("auto", "claude-haiku-5-5") for question in "abc"]
        found = json.loads(freehold("cache", "replay", "--json", "--save", file, *place).stdout)
        assert (found["calls"], found["left_out"]) == (6, 0)
        ways = found["nanodollars"]
        assert ways["clients_marks"] == sum(billed), "as the simulator has billed it"
        assert ways["bound"] <= ways["clients_marks"] < ways["no_cache"]
        assert "as it was sent" in freehold("cache", "replay", *place).stdout
        one = json.loads(freehold("cache", "replay", "--model", "claude-haiku-5-5", "--json", *place).stdout)
        assert one["calls"] == 3
    assert json.loads(freehold("cache", "replay", file, "--json").stdout) == found
    assert load(file)[0].request["model"] != "auto", "the model that was asked in the end"


def test_what_cannot_be_replayed_is_told(tmp_path: Path) -> None:
    asked = {"model": "gpt-9", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    file = tmp_path / "traffic.jsonl"
    file.write_text(json.dumps({"at_us": 1_795_000_000_000_000, "request": asked}) + "\n")
    told = freehold("cache", "replay", file).stdout
    assert "No recorded call" in told and "1 left out: model: gpt-9" in told
    file.write_text("{}\n")
    refused = freehold("cache", "replay", file)
    assert (refused.returncode, "line 1 is no request" in refused.stderr) == (2, True)


def _ask(client: anthropic.Anthropic, model: str, question: str) -> int:
    """Ask; nanodollars of input by the usage that came back."""
    asked: Any = [{"role": "user", "content": question}]
    with client.messages.stream(model=model, max_tokens=20, system=_MARKED, messages=asked) as stream:
        usage = stream.get_final_message().usage
    rates = {"auto": (2_000, 2_500, 100)}.get(model, (100, 125, 10))
    tokens = (usage.input_tokens, usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0)
    return sum(count * rate for count, rate in zip(tokens, rates, strict=True))
