"""What a build of apt packages is told: the sources and keys of the host (or of a setting), and what the base has.

A folder of copies, made anew when the host's change. Passwords of private sources never go in: sources that hold one
are left out, and so is `auth.conf`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.environments.managers import APT_SOURCES
from freehold.environments.workdirs import make_folder

_ADDRESS = re.compile(r"https?://(?P<secret>[^\s/@]*@)?(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>\d+))?")
_KEYS = ("keyrings", "trusted.gpg.d")
_ETC = Path("/etc/apt")
_STATUS = Path("/var/lib/dpkg/status")


@dataclass(frozen=True, slots=True)
class AptSources:
    """`folder`: to be mounted where builds look. `digest`: another one has other packages. `hosts`: with ports."""

    folder: Path
    digest: str
    hosts: tuple[str, ...]


def apt_sources(root: Path, lines: Sequence[str], etc: Path = _ETC, status: Path = _STATUS) -> AptSources:
    """Put the folder together under `root`. `lines`: instead of the host's sources, when there are any."""
    files = {"sources.list": "".join(f"{line}\n" for line in lines)} if lines else _of_host(etc)
    files["status"] = status.read_text("utf-8", "replace") if status.exists() else ""
    keys = [path for name in _KEYS for path in sorted((etc / name).glob("*")) if path.is_file()]
    digest = hashlib.sha256(repr((sorted(files.items()), [(key.name, key.read_bytes()) for key in keys])).encode())
    name = digest.hexdigest()[:16]
    folder = root / f"apt-{name}"
    if not folder.exists():
        _write(folder, files, keys)
    text = "\n".join(text for file, text in files.items() if file != "status")
    hosts = {f"{found['host']}:{found['port'] or _port(found[0])}" for found in _ADDRESS.finditer(text)}
    return AptSources(folder, name, tuple(sorted(hosts)))


def _port(address: str) -> int:
    return 443 if address.startswith("https:") else 80


def _of_host(etc: Path) -> dict[str, str]:
    paths = [etc / "sources.list", *(etc / "sources.list.d").glob("*")]
    texts = {str(path.relative_to(etc)): path.read_text("utf-8", "replace") for path in paths if path.is_file()}
    return {
        name: re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).replace(f"{etc}/keyrings", f"{APT_SOURCES}/keyrings")
        for name, text in texts.items()
        if not any(found["secret"] for found in _ADDRESS.finditer(text))
    }


def _write(folder: Path, files: dict[str, str], keys: Sequence[Path]) -> None:
    fresh = folder.with_name(f".{folder.name}~")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in ("", "sources.list.d", *_KEYS):
        make_folder(fresh / name, 0o755)
    for name, text in files.items():
        (fresh / name).write_text(text, "utf-8")
    for key in keys:
        shutil.copyfile(key, fresh / key.parent.name / key.name)
    for path in fresh.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    fresh.rename(folder)
