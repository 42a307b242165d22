"""`freehold calls` against a real server: looked through, shown, made once more, forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic

from freehold.launch import ServerProcess
from tests.cli.commands import freehold


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
        assert "stop_reason" in freehold("calls", "replay", call["id"], *place).stdout
        done = freehold("calls", "delete", "--user", "ann", *place)
        assert "recordings deleted" in done.stdout
        assert "Only these figures were kept" in freehold("calls", "show", call["id"], *place).stdout
        refused = freehold("calls", "replay", call["id"], *place)
        assert (refused.returncode, "was not recorded whole" in refused.stderr) == (2, True)
