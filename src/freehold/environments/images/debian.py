"""A Debian system for boxes, built once by `mmdebstrap` or `debootstrap`: they do not stand on the server's then."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
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
_LEFT_OUT = ("--one-file-system", "--exclude=./dev/*", "--exclude=./var/cache/apt/archives/*.deb")
_WORDS = 2000
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Debian:
    """Which one. `mirror`: where it comes from, if not from where `mmdebstrap` would take it."""

    suite: str = "bookworm"
    mirror: str | None = None


def build(debian: Debian, tar: Path, tell: Callable[[str], None]) -> None:
    """Build it as a tar. Takes half a minute and 300 MB; `tell` hears what the program says, line by line.

    `debootstrap` takes root, and twice as long.

    Raises:
        BoxFailed: neither program is here, or it failed; its words.
    """
    wanted = [debian.suite, str(tar), *([] if debian.mirror is None else [debian.mirror])]
    if (program := find_program("mmdebstrap")) is not None:
        _run("mmdebstrap", [program, "--variant=apt", f"--include={','.join(PROGRAMS)}", *wanted], tell)
    elif (program := find_program("debootstrap")) is not None and os.geteuid() == 0:
        folder = tar.with_suffix("")
        wanted[1] = str(folder)
        try:  # what it mounts in there is seen by nobody else, and goes with it
            options = ["--variant=minbase", f"--include={','.join(PROGRAMS)}"]
            _run("debootstrap", ["unshare", "-m", program, *options, *wanted], tell)
            _run("tar", ["tar", "-C", str(folder), *_LEFT_OUT, "-cf", str(tar), "."], tell)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        raise BoxFailed(
            "mmdebstrap is not installed (apt install mmdebstrap), nor debootstrap with a server that is root; "
            "boxes stand on the host's /usr until then"
        )


def _run(name: str, command: Sequence[str], tell: Callable[[str], None]) -> None:
    words = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = (words + line)[-_WORDS:]
            tell(line.rstrip())
    if process.returncode != 0:
        raise BoxFailed(f"{name} failed: {words.strip()}")


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
