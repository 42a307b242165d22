"""The base of a box that stands on an image: what of its root is mounted where, as whom, and with which variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freehold.environments.images.archives import ImageRefused
from freehold.environments.images.assemble import inside, table, tops
from freehold.environments.images.runtime import PLACE, Runtime
from freehold.environments.rootfs import AGENT_UID, Base

_OURS = frozenset(("proc", "sys", "dev", "tmp", "run", "workspace", PLACE.lstrip("/")))
"""What a box has of its own there; an image's is not seen."""
_SHARED = {"opt": (), "home": ("agent",), "mnt": ("session", "memory")}
"""Where a box mounts beside what the image has: each of its folders is mounted by itself, without the named."""
_MOST_MOUNTS = 200
_MOST_VARIABLES = 200
_MOST_VARIABLE_BYTES = 32 << 10
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEPT = frozenset(("HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TERM", "PWD", "OLDPWD", "SHLVL", "HOSTNAME"))
"""Variables that a box sets itself."""
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_WRITABLE = ("/workspace", "/home/agent")


@dataclass(frozen=True, slots=True)
class User:
    """Whom the programs of a box see themselves as. It is a name only: on the host they are the session's user."""

    uid: int
    gid: int
    name: str


def image_base(root: Path, identity: str, config: Mapping[str, Any], runtime: Runtime, name: str) -> Base:
    """`config`: the image's own description of how it is run.

    Raises:
        ImageRefused: there is too much at its top.
    """
    binds, links = [], []
    for source, target in _places(root):
        if source.is_symlink():
            links.append((os.readlink(source), target))
        else:
            binds.append((source, target))
    if len(binds) + len(links) > _MOST_MOUNTS:
        raise ImageRefused(f"there are more than {_MOST_MOUNTS} entries at the top of it")
    user = user_of(root, str(config.get("User") or ""))
    return Base(
        name,
        (*binds, *runtime.binds),
        tuple(links),
        runtime.python[-1],
        identity,
        runs=runtime.python,
        shell=runtime.bash,
        user=(user.uid, user.gid),
        variables={**variables_of(config), "USER": user.name, "LOGNAME": user.name},
        directory=directory_of(config),
        folders=("/opt", "/home", "/mnt/session"),
    )


def trusting(base: Base, root: Path) -> Base:
    """The same base, which believes the authorities that the host believes: for one that we built, not for an image."""
    if not _AUTHORITIES.is_file() or inside(root, str(_AUTHORITIES)) is None:
        return base
    return replace(base, binds=(*base.binds, (_AUTHORITIES, str(_AUTHORITIES))))


def user_of(root: Path, wanted: str) -> User:
    """The image's `User` (`name`, `uid`, `name:group`, `uid:gid`); root and nobody named are the box's own user.

    Raises:
        ImageRefused: the image does not know that user or group.
    """
    asked, _, group = wanted.partition(":")
    people = {row[0]: row for row in table(root, "passwd") if len(row) >= 4 and row[2].isdigit() and row[3].isdigit()}
    numbered = {row[2]: row for row in people.values()}
    if asked in ("", "0", "root"):
        return User(AGENT_UID, AGENT_UID, numbered.get(str(AGENT_UID), ["agent"])[0])
    row = people.get(asked) or numbered.get(asked)
    if row is None and not asked.isdigit():
        raise ImageRefused(f"it is to run as {asked[:100]!r}, whom its /etc/passwd does not know")
    uid = _number(row[2] if row else asked)
    gid = _group(root, group) if group else _number(row[3]) if row else uid
    return User(uid or AGENT_UID, gid or AGENT_UID, row[0] if row else asked)


def _group(root: Path, wanted: str) -> int:
    found = {row[0]: row[2] for row in table(root, "group") if len(row) >= 3 and row[2].isdigit()}
    if wanted not in found and not wanted.isdigit():
        raise ImageRefused(f"it is to run in the group {wanted[:100]!r}, which its /etc/group does not know")
    return _number(found.get(wanted, wanted))


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) >= 2**31:
        raise ImageRefused(f"{text[:100]!r} is no number of a user")
    return int(text)


def variables_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The image's `Env`, without what a box sets itself.

    Raises:
        ImageRefused: there are too many of them.
    """
    given = config.get("Env") or []
    lines = [line for line in given if isinstance(line, str) and "\0" not in line] if isinstance(given, list) else []
    if len(lines) > _MOST_VARIABLES or sum(map(len, lines)) > _MOST_VARIABLE_BYTES:
        raise ImageRefused(f"it sets more than {_MOST_VARIABLES} variables, or long ones")
    pairs = (line.partition("=")[::2] for line in lines)
    return {name: value for name, value in pairs if _VARIABLE.fullmatch(name) and name not in _KEPT}


def directory_of(config: Mapping[str, Any]) -> str:
    """Where the shell begins: the image's `WorkingDir` where the agent can write, else empty, as in any box."""
    wanted = os.path.normpath(str(config.get("WorkingDir") or "/"))
    fine = any(wanted == place or wanted.startswith(f"{place}/") for place in _WRITABLE)
    return wanted if fine and wanted.isprintable() and len(wanted) <= 1024 else ""


def _places(root: Path) -> Iterator[tuple[Path, str]]:
    for entry in tops(root):
        path = Path(entry.path)
        if entry.name in _SHARED and entry.is_dir(follow_symlinks=False):
            for inner in tops(path):
                if inner.name not in _SHARED[entry.name]:
                    yield Path(inner.path), f"/{entry.name}/{inner.name}"
        elif entry.name not in _OURS and entry.name not in _SHARED:
            yield path, f"/{entry.name}"
