"""Commands against a real server: the doctor's look at a folder, workspaces and keys of a running one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest

from freehold.launch import NotStarted, ServerProcess
from tests.cli.commands import freehold


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), arguments=["--upstream", "simulator"]) as process:
        yield process


def works(address: str, key: str) -> bool:
    with anthropic.Anthropic(base_url=address, api_key=key, max_retries=0) as client:
        return client.beta.environments.list().data == []


def test_workspaces_and_keys_are_made_listed_and_revoked(running: ServerProcess) -> None:
    data = ["--data", str(running.data)]
    made = json.loads(freehold("workspaces", "create", "tea shop", "--json", *data).stdout)
    listed = freehold("workspaces", "list", *data).stdout
    assert made["id"] in listed
    assert "tea shop" in listed

    key = freehold("keys", "create", "till", "--workspace", made["id"], *data)
    secret = key.stdout.strip()
    assert key.returncode == 0
    assert "member" in key.stderr
    assert works(running.address, secret)

    entries = json.loads(freehold("keys", "list", "--json", *data).stdout)
    mine = next(entry for entry in entries if entry["name"] == "till")
    assert mine["workspace_id"] == made["id"]
    assert secret not in json.dumps(entries)
    assert freehold("keys", "revoke", mine["id"], *data).returncode == 0
    with pytest.raises(anthropic.AuthenticationError):
        works(running.address, secret)


def test_a_member_s_key_cannot_make_keys(running: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(freehold("keys", "create", "small", "--data", running.data).stdout, "utf-8")
    done = freehold("keys", "create", "more", "--data", running.data, "--key-file", tmp_path / "key")
    assert done.returncode == 2
    assert "answered 403" in done.stderr


def test_the_server_s_own_error_is_passed_on(running: ServerProcess) -> None:
    done = freehold("keys", "revoke", "apikey_none", "--data", running.data)
    assert done.returncode == 2
    assert "answered 404: There is no key apikey_none." in done.stderr


def test_the_doctor_opens_a_real_box_and_says_what_it_has(tmp_path: Path) -> None:
    done = freehold("doctor", "--json", "--data", tmp_path / "data", "--upstream", "simulator")
    found = {entry["subject"].strip(): entry for entry in json.loads(done.stdout)}
    assert found["data folder"]["level"] == "ok"
    assert found["database"]["level"] == "ok"
    assert found["upstream"]["level"] == "ok"
    assert found["box"]["level"] in ("ok", "bad")
    assert done.returncode == (1 if found["box"]["level"] == "bad" else 0)
    if found["box"]["level"] == "ok":
        assert found["no network"]["level"] == "ok"


def test_the_doctor_changes_nothing(running: ServerProcess, tmp_path: Path) -> None:
    assert freehold("doctor", "--data", tmp_path / "data").returncode in (0, 1)
    assert list(tmp_path.iterdir()) == []
    before = sorted(path.name for path in running.data.iterdir())
    looked = freehold("doctor", "--data", running.data)
    assert "sqlite answers, its schema is up to date" in looked.stdout
    assert sorted(path.name for path in running.data.iterdir()) == before
    (tmp_path / "freehold.db").write_bytes(b"no database " * 1000)
    broken = freehold("doctor", "--data", tmp_path)
    assert broken.returncode == 1
    assert "BAD   database" in broken.stdout


def test_the_doctor_says_what_is_bad_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    folder = freehold("doctor", "--data", tmp_path / "file" / "data")
    assert folder.returncode == 1
    assert "BAD   data folder" in folder.stdout
    assert "→ Choose another one with --data." in folder.stdout
    dead = freehold("doctor", "--data", tmp_path / "data", "--upstream", "http://127.0.0.1:9")
    assert dead.returncode == 1
    assert "BAD   upstream" in dead.stdout


def test_a_taken_port_is_told_with_what_to_do(running: ServerProcess, tmp_path: Path) -> None:
    port = running.address.rsplit(":", 1)[1]
    done = freehold("serve", "--port", port, "--data", tmp_path)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port 0" in done.stderr


def test_a_killed_server_starts_again_at_its_address_and_a_stopped_one_ends_well(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, arguments=["--upstream", "simulator"]) as server:
        address, first = server.address, server.pid
        server.kill()
        assert server.start() == address
        assert server.pid != first
        assert works(address, server.key)
        assert server.stop() == 0
        assert "has stopped" in server.output


def test_a_server_that_does_not_come_up_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"none\.py: there is no such Python file"):
        ServerProcess(tmp_path, tools=[Path("none.py")]).start()
