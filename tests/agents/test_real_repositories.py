"""Sessions with git repositories: cloned over HTTP from a server on this machine, whose token no agent ever sees."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import BadRequestError, NotFoundError

from freehold import testing
from tests.agents.house import Script, calls, text
from tests.agents.stage import Play, another
from tests.contract.manifest import proves, shows_difference
from tests.environments.conftest import require_bubblewrap
from tests.git_server import HOST, GitServer, git_server

TOKEN = "ghp_planted0123456789"


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    require_bubblewrap()
    with git_server(tmp_path / "git", monkeypatch) as server:
        yield server


@asynccontextmanager
async def serving(git: GitServer, script: Script | None = None, **more: Any) -> AsyncIterator[testing.Running]:
    settings = {"repository_hosts": ["github.com", git.origin], "egress_private_hosts": [HOST]}
    async with testing.server(upstream=script, settings=settings, strict=True, **more) as running:
        yield running


def repository(git: GitServer, **more: Any) -> Any:
    return {"type": "github_repository", "url": f"{git.origin}/owner/name.git", **more}


def commands(*lines: str) -> Script:
    turns: list[Any] = []
    for line in lines:
        turns += [calls(("bash", {"command": line})), text("done")]
    return Script(turns)


LOOK = (
    "cat name/one.txt; echo; cd name; git log --oneline | wc -l; git status --short; cat .git/config; env; "
    f"grep -rsl {TOKEN[:8]} / --exclude-dir=proc --exclude-dir=usr --exclude-dir=sys || echo nowhere"
)


def command_lines() -> str:
    """Of every process of this machine, with its variables where they can be read."""
    said = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            said += path.read_bytes()
    return said.decode("latin1")


def holding(folder: Path, word: str) -> list[Path]:
    """The files below that folder that hold the word."""
    return [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@proves("beta.sessions.resources.update")
async def test_a_repository_is_cloned_with_a_token_that_is_nowhere_to_be_found(
    git: GitServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    git.commit("one.txt", "1")
    git.publish()
    git.token = TOKEN
    seen: list[str] = []
    git.watch = lambda: seen.append(command_lines())
    caplog.set_level(logging.DEBUG, "freehold")
    async with serving(git, commands("cat name/one.txt", LOOK), data=tmp_path / "data") as running:
        session = await another(running, resources=[repository(git, authorization_token="wrong-at-first")])
        (refused,) = await session.turn(1)
        assert "could not be cloned" in refused and "Authentication failed" in refused and "wrong-at" not in refused
        resources = running.client.beta.sessions.resources
        (resource,) = (await resources.list(session.session)).data
        assert resource.type == "github_repository" and resource.mount_path == "/workspace/name"
        assert resource.url == f"{git.origin}/owner/name.git" and resource.checkout is None
        changed = await resources.update(resource.id, session_id=session.session, authorization_token=TOKEN)
        assert changed.type == "github_repository" and changed.updated_at >= resource.updated_at
        assert not {"authorization_token", "token"} & changed.model_dump().keys()
        said = (await session.turn(2))[1]
        assert said.startswith("1\n1\n") and f"url = {git.origin}/owner/name.git" in said
        assert said.endswith("nowhere"), said
        assert TOKEN not in said and TOKEN not in str(await session.events())
    assert TOKEN not in caplog.text and "wrong-at" not in caplog.text
    assert ("/owner/name.git/info/refs?service=git-upload-pack", True) in git.asked
    assert "clone" in str(seen) and TOKEN not in str(seen) and "wrong-at" not in str(seen)
    assert holding(tmp_path / "data", TOKEN) == [], "it is sealed at rest, and the clone left nothing"
    assert not list((tmp_path / "data" / "sessions").glob("cloning-*"))


async def test_branches_commits_and_places_are_as_asked_for_and_a_fork_has_them_too(git: GitServer) -> None:
    first = git.commit("one.txt", "1")
    git.git("checkout", "-qb", "feature/x")
    git.commit("two.txt", "2")
    git.publish()
    git.token = TOKEN
    look = "cat main/one.txt deep/er/x/two.txt; git -C main rev-parse HEAD; git -C deep/er/x branch --show-current"
    write = "cd deep/er/x && echo 3 > three.txt && git -c user.name=A -c user.email=a@b add . && ls ../../../main"
    async with serving(git, commands(look, write, "cat deep/er/x/three.txt; ls")) as running:
        at = {"commit": {"type": "commit", "sha": first}, "branch": {"type": "branch", "name": "feature/x"}}
        wanted = [
            repository(git, authorization_token=TOKEN, checkout=at["commit"], mount_path="/workspace/main"),
            repository(git, authorization_token=TOKEN, checkout=at["branch"], mount_path="deep/er/x"),
        ]
        session = await another(running, resources=wanted)
        assert (await session.turn(1))[0] == f"12{first}\nfeature/x"
        asked = len(git.asked)
        assert (await session.turn(2))[1] == "one.txt"
        forked = await running.client.post(
            f"/freehold/v1/sessions/{session.session}/fork", body={}, cast_to=dict[str, Any]
        )
        fork = Play(running, forked["id"])
        assert (await fork.turn(3))[2].endswith("\n3\ndeep\nmain")
        assert len(git.asked) == asked, "nothing is cloned twice"
        shown = [one.model_dump() for one in (await running.client.beta.sessions.retrieve(forked["id"])).resources]
        assert [one["checkout"] for one in shown] == list(at.values())
        assert TOKEN not in str(shown)


@shows_difference("repositories-below-the-workspace")
async def test_what_cannot_be_cloned_is_refused_or_told(git: GitServer) -> None:
    git.commit("one.txt", "1")
    git.publish()
    good = repository(git)
    sha, name = {"type": "commit", "sha": "abc"}, {"type": "branch", "name": "--upload-pack=x"}
    refused: list[tuple[list[Any], str]] = [
        ([{**good, "url": "https://evil.example/owner/name"}], "are cloned from https://github.com, http://git.test"),
        ([{**good, "url": "https://user:pass@github.com/a/b"}], "must not hold a name or a password"),
        ([{**good, "url": "file:///etc/passwd"}], "must be such as|are cloned from"),
        ([{**good, "url": f"{git.origin}/../../etc"}], "must be such as"),
        ([{**good, "url": "https://github.com/a/b?x=1"}], "must be such as"),
        ([{**good, "checkout": sha}], "full SHA"),
        ([{**good, "checkout": name}], "no name of a branch"),
        ([{**good, "mount_path": "/etc/x"}], "must lie below /workspace"),
        ([{**good, "mount_path": "/workspace/../x"}], "without '..'"),
        ([{**good, "mount_path": "skills"}], "not at /workspace/skills"),
        ([good, good], "clashes"),
        ([{**good, "authorization_token": "two words"}], "authorization_token"),
        ([{**good, "mount_path": f"r{n}"} for n in range(21)], "at most 20"),
    ]
    async with serving(git, commands("ls")) as running:
        client = running.client
        session = await another(running, resources=[{**good, "checkout": {"type": "branch", "name": "none"}}])
        (said,) = await session.turn(1)
        assert "Remote branch none not found" in said
        (agent,) = [one.id async for one in client.beta.agents.list()]
        (environment,) = [one.id async for one in client.beta.environments.list()]
        for resources, complaint in refused:
            with pytest.raises(BadRequestError, match=complaint):
                await client.beta.sessions.create(agent=agent, environment_id=environment, resources=resources)
        assert [one.id async for one in client.beta.sessions.list()] == [session.session]
        with pytest.raises(NotFoundError):
            await client.beta.sessions.resources.update(
                "sesrsc_none", session_id=session.session, authorization_token=TOKEN
            )
