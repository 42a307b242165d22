"""`freehold calls` against a real server: looked through, shown, made once more, forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic

from freehold.launch import ServerProcess
from tests.cli.commands import following, freehold


def test_calls_are_followed_as_they_end(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, arguments=["--upstream", "simulator"]) as process,
        anthropic.Anthropic(base_url=process.address, api_key=process.key, max_retries=0) as client,
    ):
        hello: Any = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
        client.messages.create(model="claude-haiku-4-5", **hello)
        with following("logs", "-f", "--json", "--data", tmp_path) as lines:
            assert json.loads(next(lines))["model_asked"] == "claude-haiku-4-5"
            for number in range(3):
                client.messages.create(model="claude-haiku-5-5", metadata={"user_id": f"u{number}"}, **hello)
            seen = [json.loads(next(lines)) for _ in range(3)]
        assert [call["user_id"] for call in seen] == ["u0", "u1", "u2"]
        assert len({call["id"] for call in seen}) == 3


def test_a_recorded_call_is_found_shown_made_again_and_forgotten(tmp_path: Path) -> None:
    environment = {"FREEHOLD_RECORD": "full"}
    with ServerProcess(tmp_path, arguments=["--upstream", "simulator"], environment=environment) as process:
        place = ("--data", str(tmp_path))
        assert "no such call" in freehold("calls", "list", *place).stdout
        asked: Any = {"max_tokens": 50, "messages": [{"role": "user", "content": "Count to three."}]}
        with (
            anthropic.Anthropic(base_url=process.address, api_key=process.key) as client,
            client.messages.stream(model="claude-haiku-4-5", metadata={"user_id": "ann"}, **asked) as stream,
        ):
            said = stream.get_final_text()
        (call,) = json.loads(freehold("calls", "list", "--recorded", "--user", "ann", "--json", *place).stdout)
        assert call["id"] in freehold("calls", "list", *place).stdout
        shown = freehold("calls", "show", call["id"], *place).stdout
        assert "Count to three." in shown
        assert "attempt 1: simulator, claude-haiku-4-5: 200" in shown
        again = json.loads(freehold("calls", "replay", call["id"], "--json", *place).stdout)
        assert said
        assert again["before"]["stop_reason"] == again["after"]["stop_reason"] == "max_tokens"
        assert again["before"]["input_tokens"] == again["after"]["input_tokens"] > 0
        other = freehold("replay", call["id"], "--model", "claude-opus-4-8", "--text", *place).stdout
        assert "stop_reason" in other and "claude-opus-4-8" in other and said[:20] in other
        told = freehold("logs", "-n", "2", *place).stdout.splitlines()
        assert ["claude-haiku" in told[0], "claude-opus" in told[1]] == [True, True]
        assert f"user=ann  {call['id']}" in freehold("logs", "--user", "ann", *place).stdout
        done = freehold("calls", "delete", "--user", "ann", *place)
        assert "recordings deleted" in done.stdout
        assert "Only these figures were kept" in freehold("calls", "show", call["id"], *place).stdout
        refused = freehold("calls", "replay", call["id"], *place)
        assert (refused.returncode, "was not recorded whole" in refused.stderr) == (2, True)
