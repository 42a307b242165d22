"""Environments from the command line, against a real server with real boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from anthropic import Anthropic

from freehold.launch import ServerProcess
from tests.cli.commands import freehold
from tests.environments.conftest import require_bubblewrap


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    require_bubblewrap()
    index = {"FREEHOLD_LAYER_PIP_INDEX": "http://nowhere.invalid/simple/"}
    data, arguments = tmp_path_factory.mktemp("data"), ["--upstream", "simulator"]
    with ServerProcess(data, arguments=arguments, environment=index) as process:
        yield process


@pytest.fixture(scope="module")
def client(running: ServerProcess) -> Iterator[Anthropic]:
    key = (Path(running.data) / "admin-key").read_text().strip()
    address = json.loads((Path(running.data) / "server.json").read_text())["address"]
    with Anthropic(base_url=address, api_key=key) as made:
        yield made


def environment(client: Anthropic, name: str, **config: object) -> str:
    body = {"config": {"type": "cloud", **config}}
    return client.beta.environments.create(name=name, extra_body=body).id


def test_a_shell_in_a_box_keeps_directory_and_variables_and_leaves_nothing(
    running: ServerProcess, client: Anthropic
) -> None:
    made = environment(client, "plain", limits={"command_s": 2})
    typed = "cd /tmp; NAME=box\npwd; echo $NAME; id -un\nsleep 100\nls /root\nexit\necho unseen\n"
    said = freehold("env", "shell", made, "--data", running.data, stdin=typed)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.split("\n")
    assert lines[:1] != ["unseen"] and "/tmp\nbox\nagent" in said.stdout
    assert "timed out after 2 s" in said.stdout and "unseen" not in said.stdout
    assert not list((Path(running.data) / "sessions").glob("shell_*"))


def test_what_is_in_a_box_is_shown(running: ServerProcess, client: Anthropic) -> None:
    hosts = {"type": "limited", "allowed_hosts": ["api.example.com"]}
    said = freehold("env", "show", environment(client, "shown", networking=hosts), "--data", running.data)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("base: the host's /usr, read-only\nnetwork: api.example.com\n")
    assert "\npython3  Python 3." in said.stdout and "\nbash  GNU bash" in said.stdout


def test_environments_are_listed_with_what_they_have(running: ServerProcess, client: Anthropic) -> None:
    made = environment(client, "listed", packages={"pip": ["nothing==1"]}, limits={"processes": 32})
    said = freehold("env", "list", "--data", running.data)
    (line,) = [line for line in said.stdout.splitlines() if made in line]
    assert "pip: nothing==1" in line and "package registries" in line and "processes=32" in line
    assert "Nothing is installed." in freehold("env", "list", "--layers", "--data", running.data).stdout


def test_a_build_says_what_it_does_and_fails_in_the_managers_words(running: ServerProcess, client: Anthropic) -> None:
    made = environment(client, "broken", packages={"pip": ["nothing==1"]})
    said = freehold("env", "build", made, "--data", running.data)
    assert said.returncode == 1
    assert "1/1 pip installing: nothing==1" in said.stderr
    assert "pip could not install nothing==1" in said.stderr and "No matching distribution" in said.stderr
    plain = freehold("env", "build", environment(client, "none"), "--data", running.data)
    assert plain.stdout == "It has no packages to install.\n"


def test_there_is_nothing_to_remove_and_never_what_is_in_use(running: ServerProcess) -> None:
    assert freehold("env", "gc", "--data", running.data).stdout == "There was nothing to remove.\n"
    assert freehold("env", "gc", "--unused-days", "0", "--data", running.data).returncode == 2
