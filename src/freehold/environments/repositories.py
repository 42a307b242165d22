"""Git repositories cloned in a box of their own, which then move whole into the files of a session.

The box reaches the repository's host and nothing else. A token goes into it over its own socket, lies in memory there,
and goes with it: the agent's box never holds it, nor does a command line, a log, or the clone's configuration.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from freehold.config import setting
from freehold.environments.base import Box, BoxDied, BoxFailed, BoxSpec, Limits
from freehold.environments.command import Fittings
from freehold.environments.users import user_of
from freehold.environments.workdirs import WORKSPACE, Workdir
from freehold.errors import InvalidRequest

CLONED = f"{WORKSPACE}/repository"
_CLONE_MS = 1_800_000
_WORDS = 2000
_MOST_CHARACTERS = 2000
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){2,8}/?")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)|/\.|[./]$))[A-Za-z0-9_][A-Za-z0-9._/+@#=-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ASKPASS = '#!/bin/sh\ncase "$1" in Username*) echo x-access-token;; *) cat /tmp/token;; esac\n'
_PORTS = {"https": 443, "http": 80}

OpenBox = Callable[[BoxSpec, Fittings], Awaitable[Box]]


class CloneFailed(BoxFailed):
    """A repository could not be cloned; the message holds git's own words."""


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """Where repositories may come from."""

    repository_hosts: tuple[str, ...] = setting(
        ("github.com",),
        "Hosts that repositories of sessions are cloned from, as `github.example.com`; one without TLS as "
        "`http://git.example.com:8080`. A host with a private address must stand in egress_private_hosts too.",
    )


@dataclass(frozen=True, slots=True)
class Repository:
    """What to clone, and where below `/workspace` it goes."""

    url: str
    path: str
    branch: str | None = None
    commit: str | None = None
    token: str | None = field(default=None, repr=False)


def check_url(url: str, settings: RepositorySettings) -> None:
    """Whether a repository may be cloned from there.

    Raises:
        InvalidRequest: what about it will not do.
    """
    if not url.isascii() or not url.isprintable() or len(url) > _MOST_CHARACTERS:
        raise InvalidRequest("url: must be a plain address of a repository, such as https://github.com/owner/name")
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("url: must not hold a name or a password; send authorization_token")
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
        raise InvalidRequest(f"url: {url[:200]!r} must be such as https://github.com/owner/name")
    if f"{parts.scheme}://{parts.netloc}" not in _origins(settings):
        raise InvalidRequest(
            f"url: repositories are cloned from {', '.join(_origins(settings))} on this server (repository_hosts)"
        )


def check_checkout(branch: str | None, commit: str | None) -> None:
    """Whether these can be the names of a branch or a commit. Raises `InvalidRequest`."""
    if branch is not None and not _BRANCH.fullmatch(branch):
        raise InvalidRequest(f"checkout.name: {branch[:200]!r} is no name of a branch")
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise InvalidRequest("checkout.sha: must be the full SHA of a commit, in lower case")


def name_of(url: str) -> str:
    """What the folder of a clone is called, if nobody says."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2].removesuffix(".git") or "repository"


def _origins(settings: RepositorySettings) -> list[str]:
    return [host if "://" in host else f"https://{host}" for host in settings.repository_hosts]


class Repositories:
    """Clones. `builds`: the folder of the sessions' workdirs, so that a clone can be moved into one."""

    def __init__(self, builds: Path, open_box: OpenBox) -> None:
        self._builds = builds
        self._open_box = open_box

    async def clone(self, workdir: Workdir, wanted: Repository, limits: Limits) -> None:
        """Clone it and move it to its place; where something of that name is there already, that stays.

        Raises:
            CloneFailed: in git's own words.
            BoxFailed: no box could be made for it.
        """
        cloning = Workdir(self._builds / f"cloning-{os.urandom(6).hex()}")
        try:
            await asyncio.to_thread(_same_user, cloning, workdir)
            box = await self._open_box(_spec(cloning, wanted, limits), Fittings())
            try:
                await _clone(box, wanted)
            finally:
                await box.close()
            place = wanted.path.removeprefix(f"{WORKSPACE}/").split("/")
            await asyncio.to_thread(workdir.adopt, cloning.workspace / CLONED.rpartition("/")[2], place)
        except BoxDied as error:
            raise CloneFailed(f"{wanted.url} could not be cloned: its box went away: {error}") from error
        except OSError as error:
            raise CloneFailed(f"{wanted.url} could not be put to {wanted.path}: {error.strerror}") from error
        finally:
            await asyncio.to_thread(cloning.delete)


def _same_user(cloning: Workdir, workdir: Workdir) -> None:
    workdir.make()
    cloning.make()
    user = user_of(workdir)
    workdir.prepare(user)
    if user is not None:
        cloning.remember(uid=user)


def _spec(cloning: Workdir, wanted: Repository, limits: Limits) -> BoxSpec:
    parts = urlsplit(wanted.url)
    host = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    networking = {"type": "limited", "allowed_hosts": [host]}
    return BoxSpec(cloning.path.name, cloning.path, 1, limits, {"networking": networking})


async def _clone(box: Box, wanted: Repository) -> None:
    if wanted.token:
        for path, content in (("/tmp/token", wanted.token), ("/tmp/askpass", _ASKPASS)):
            await box.call("write", {"file_path": path, "content": content}, key=path, epoch=1)
    arguments = {"command": _script(wanted), "timeout_ms": _CLONE_MS}
    outcome = await box.call("bash", arguments, key="clone", epoch=1)
    if outcome.is_error:
        said = _without(str(outcome.content[0]["text"]), wanted.token)
        raise CloneFailed(f"{wanted.url} could not be cloned: {said[-_WORDS:]}")


def _script(wanted: Repository) -> str:
    scheme = urlsplit(wanted.url).scheme
    git = (
        "git -c credential.helper= -c core.hooksPath=/dev/null -c protocol.allow=never "
        f"-c protocol.{scheme}.allow=always -c core.fsmonitor=false"
    )
    lines = [
        "command -v git >/dev/null || { echo 'git is not installed on this server (apt install git)'; exit 1; }",
        "export GIT_TERMINAL_PROMPT=0 GIT_LFS_SKIP_SMUDGE=1",
        *(["chmod 700 /tmp/askpass && export GIT_ASKPASS=/tmp/askpass"] if wanted.token else []),
        f"{git} clone --quiet {_branch(wanted)} -- {shlex.quote(wanted.url)} {CLONED}",
    ]
    if wanted.commit:
        inside = f"{git} -C {CLONED}"
        lines += [
            f"{{ {inside} cat-file -e '{wanted.commit}^{{commit}}' 2>/dev/null "
            f"|| {inside} fetch --quiet origin {wanted.commit}; }}",
            f"{inside} checkout --quiet --detach {wanted.commit}",
        ]
    return " && ".join(lines)


def _branch(wanted: Repository) -> str:
    return f"--branch {shlex.quote(wanted.branch)}" if wanted.branch else ""


def _without(said: str, token: str | None) -> str:
    """What git or the server has said, should it have repeated the token."""
    if not token:
        return said
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return said.replace(token, "[token]").replace(basic, "[token]")
