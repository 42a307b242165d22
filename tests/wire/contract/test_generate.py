"""The generated contract: complete, and compared with what is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from freehold.wire.contract import generate, surface


def test_what_is_committed_is_what_the_sdk_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0
    assert "is what the SDK says" in capsys.readouterr().out


def test_a_drift_is_shown_line_by_line(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    shutil.copytree(generate.FOLDER, folder)
    requests = folder / "requests.json"
    requests.write_text(requests.read_text().replace('"max_tokens": "integer"', '"max_tokens": "number"', 1))
    (folder / "surface.json").unlink()
    lines = generate.drift(folder)
    assert any(line.startswith("-") and '"max_tokens": "number"' in line for line in lines)
    assert any(line.startswith("+") and "/v1/sessions/{session_id}" in line for line in lines)


def test_every_method_of_the_sdk_is_there_with_its_route() -> None:
    methods = surface.methods()
    assert len(methods) == 151
    assert len({(method.verb, method.path) for method in methods}) == 122
    assert all(method.path.startswith("/v1/") for method in methods)
    by_name = {method.name: method for method in methods}
    send = by_name["beta.sessions.events.send"]
    assert (send.verb, send.path, list(send.body)) == ("POST", "/v1/sessions/{session_id}/events", ["events"])
    assert send.betas == ("managed-agents-2026-04-01",)
    assert by_name["beta.sessions.list"].answer == "SyncBidirectionalPageCursor[BetaManagedAgentsSession]"
    assert "created_at[gte]" in by_name["beta.sessions.list"].query
    assert by_name["files.upload"].multipart and by_name["messages.create"].required == {
        "max_tokens",
        "messages",
        "model",
    }


def test_session_events_are_sorted_by_who_sends_them() -> None:
    kinds = surface.session_event_types()
    assert set(kinds["sent"]) <= set(kinds["logged"])
    assert kinds["stream_only"] == ["event_delta", "event_start"]
    assert "session.status_idle" in kinds["logged"]
