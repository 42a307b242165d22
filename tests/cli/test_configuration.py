"""`freehold config`: every setting with its value and where that comes from; no secret."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import freehold


def test_values_are_told_with_their_sources_and_secrets_are_hidden(tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").write_text("port = 9999\nbox_idle_s = 5\n", "utf-8")
    secret = "sk-fh-" + "s" * 40
    environment = {"FREEHOLD_HOST": "127.0.0.9", "FREEHOLD_ADMIN_KEY": secret, "FREEHOLD_CONFIG": "freehold.toml"}
    done = freehold("config", "--json", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    told = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert (told["port"]["value"], told["port"]["source"]) == (9999, "file freehold.toml")
    assert (told["host"]["value"], told["host"]["source"]) == ("127.0.0.9", "environment FREEHOLD_HOST")
    assert (told["box_idle_s"]["value"], told["box_idle_s"]["unit"]) == (5.0, "s")
    assert told["data"]["source"] == "default"
    assert told["admin_key"]["value"] == "(hidden)"
    assert secret not in done.stdout
    assert all(entry["doc"] for entry in told.values())


def test_people_read_it_line_by_line(tmp_path: Path) -> None:
    done = freehold("config", cwd=tmp_path, environment={"FREEHOLD_PORT": "1234"})
    assert "port = 1234   (environment FREEHOLD_PORT)\n" in done.stdout
    assert "box_idle_s = 600.0 s\n" in done.stdout
