"""A Debian system for boxes, built once by `mmdebstrap`: they then do not stand on what the server has installed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freehold.environments.base import BoxFailed
from freehold.environments.images.archives import Blob
from freehold.environments.images.manifest import LayerBlob, Manifest
from freehold.environments.launcher import find_program

PROGRAMS = (
    *("ca-certificates", "curl", "git", "jq", "less", "procps", "python3", "python3-pip", "python3-venv"),
    *("ripgrep", "unzip", "zstd"),
)
"""What an agent finds in it, besides the essential packages and apt."""
_WORDS = 2000
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Debian:
    """Which one. `mirror`: where it comes from, if not from where `mmdebstrap` would take it."""

    suite: str = "bookworm"
    mirror: str | None = None


def build(debian: Debian, tar: Path, tell: Callable[[str], None]) -> None:
    """Build it as a tar. Takes half a minute and 300 MB; `tell` hears what mmdebstrap says, line by line.

    Raises:
        BoxFailed: there is no mmdebstrap here, or it failed; its words.
    """
    program = find_program("mmdebstrap")
    if program is None:
        raise BoxFailed(
            "mmdebstrap is not installed (apt install mmdebstrap); boxes stand on the host's /usr until then"
        )
    command = [program, "--variant=apt", f"--include={','.join(PROGRAMS)}", debian.suite, str(tar)]
    if debian.mirror is not None:
        command.append(debian.mirror)
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        words = ""
        for line in process.stderr:
            words = (words + line)[-_WORDS:]
            tell(line.rstrip())
    if process.returncode != 0:
        raise BoxFailed(f"mmdebstrap failed: {words.strip()}")


def manifest_of(tar: Path, name: str) -> Manifest:
    """The image whose one layer is that tar."""
    digest = hashlib.sha256()
    with tar.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    diff_id = f"sha256:{digest.hexdigest()}"
    config = {"name": name, "machine": os.uname().machine, "rootfs": {"diff_ids": [diff_id]}}
    own = hashlib.sha256(json.dumps(config).encode()).hexdigest()
    return Manifest(f"sha256:{own}", config, [LayerBlob(Blob(tar, 0, tar.stat().st_size), None, diff_id)])
