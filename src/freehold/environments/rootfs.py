"""What a box sees of a file system: the host's `/usr`, read-only, and an `/etc` that we make; nothing else of the host.

The host's own `/etc`, `/var`, `/home` and `/root` stay out of sight: they hold the host's secrets and names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freehold.environments.base import BoxFailed
from freehold.environments.workdirs import make_folder

AGENT_UID = 1000
_ETC_FOLDERS = (
    "alternatives",
    "fonts",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "ssl/certs",
)
"""Bound as they are; what programs need and what tells nothing of this host. Private keys are not among them."""
_ETC_FILES = (
    "ld.so.cache",
    "localtime",
    "magic",
    "mime.types",
    "protocols",
    "services",
    "ssl/openssl.cnf",
    "timezone",
)
"""Copied, links as links."""
_ETC = {
    "passwd": (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"agent:x:{AGENT_UID}:{AGENT_UID}:agent:/home/agent:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": f"root:x:0:\nagent:x:{AGENT_UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "hostname": "sandbox\n",
    "resolv.conf": "# a box resolves no names\n",
    "gitconfig": "[safe]\n\tdirectory = *\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


@dataclass(frozen=True, slots=True)
class Base:
    """The read-only part of a box: what is mounted where, which links stand at the top, and its Python."""

    name: str
    binds: tuple[tuple[Path, str], ...]
    links: tuple[tuple[str, str], ...]
    python: str
    """As the box calls it; for this base it is also the host's path."""
    identity: str
    """What packages are built for: the same name means that they fit."""
    runs: tuple[str, ...] = ()
    """How a box starts its Python, where that is not just by its name."""
    shell: tuple[str, ...] = ()
    """The bash for a base that has none of its own."""
    user: tuple[int, int] = (AGENT_UID, AGENT_UID)
    """Whom programs see themselves as: number and group."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What its programs are given besides what every box gives."""
    directory: str = ""
    """Where the shell begins, if not in the workspace."""
    folders: tuple[str, ...] = ("/opt", "/var/lib", "/mnt/session")
    """Made in the root of the box, for what is mounted below."""


def host_base(folder: Path) -> Base:
    """The host's programs. `folder`: where the `/etc` for boxes is put together (a new one when the host's changed).

    Raises:
        BoxFailed: there is no Python 3 that a box could run.
    """
    folders = [Path("/etc", name) for name in _ETC_FOLDERS if Path("/etc", name).is_dir()]
    etc = _make_etc(folder, folders)
    python, prefixes = _python()
    binds = [(Path("/usr"), "/usr"), (etc, "/etc")]
    binds += [(path.resolve(), str(path)) for path in folders] + [(prefix, str(prefix)) for prefix in prefixes]
    links = [*_links(), ("/tmp", "/var/tmp"), ("/run", "/var/run")]
    return Base("the host's /usr", tuple(binds), tuple(links), python, f"host {Path(python).resolve()}")


def _links() -> list[tuple[str, str]]:
    """`/bin -> usr/bin` and so on, as on the host; where `/lib` is a folder of its own, `/usr` alone will not do."""
    found = []
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        path = Path("/", name)
        if path.is_symlink():
            found.append((os.readlink(path).lstrip("/"), f"/{name}"))
        elif path.exists():
            raise BoxFailed(f"/{name} is not a link into /usr on this machine; boxes need a merged /usr")
    return found


def _python() -> tuple[str, list[Path]]:
    for name in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(name, os.X_OK) and Path(name).resolve().is_relative_to("/usr"):
            return name, []
    prefix = Path(sys.base_prefix).resolve()
    python = prefix / "bin" / "python3"
    if prefix.is_relative_to("/usr") or not os.access(python, os.X_OK):
        raise BoxFailed("no Python 3 that a box could run: install it as /usr/bin/python3 (apt install python3)")
    return str(python), [prefix]


def _make_etc(folder: Path, mount_points: Sequence[Path]) -> Path:
    """Named by its content: servers that share the folder share it, and a box that is open keeps what it has."""
    fresh = folder / f".etc.{os.getpid()}~"
    shutil.rmtree(fresh, ignore_errors=True)
    make_folder(folder, 0o755)
    make_folder(fresh, 0o755)
    for point in mount_points:
        (fresh / point.relative_to("/etc")).mkdir(parents=True)
    for name in _ETC_FILES:
        _copy(Path("/etc", name), fresh / name)
    for name, text in _ETC.items():
        (fresh / name).write_text(text, "utf-8")
        (fresh / name).chmod(0o644)
    for inner in filter(Path.is_dir, fresh.rglob("*")):
        inner.chmod(0o755)  # whatever the umask
    etc = folder / f"etc-{_digest(fresh)}"
    try:
        fresh.rename(etc)
    except OSError:  # it is there already
        shutil.rmtree(fresh)
    return etc


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(os.fsencode(path.relative_to(root)) + b"\0")
        digest.update(os.fsencode(os.readlink(path)) if path.is_symlink() else b"")
        digest.update(path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
    return digest.hexdigest()[:16]


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink() or (source.is_file() and source.stat().st_mode & 0o004):
        make_folder(target.parent, 0o755)
        shutil.copy2(source, target, follow_symlinks=False)
