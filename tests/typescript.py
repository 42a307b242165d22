"""The official TypeScript SDK for tests: a folder with it, installed once into the user's cache, then offline."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

VERSION = "1.12.0"


def sdk_folder() -> Path:
    """Where scripts that import `@anthropic-ai/sdk` can be put. Skips where node is missing; fails in CI."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        _missing("node and npm are not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freehold-tests"
    folder = cache / f"anthropic-ts-{VERSION}"
    if not (folder / "node_modules" / "@anthropic-ai" / "sdk" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        wanted = [
            str(npm),
            "install",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(folder),
            f"@anthropic-ai/sdk@{VERSION}",
        ]
        done = subprocess.run(wanted, capture_output=True, text=True, timeout=100, check=False, env=_trusting())
        if done.returncode:
            _missing(f"npm could not install the SDK: {done.stderr[-500:]}")
    return folder


def _missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _trusting() -> dict[str, str]:
    """Our environment, in which npm trusts what the system trusts; by itself it has a list of its own."""
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    own = {"NODE_EXTRA_CA_CERTS": str(system)} if system.exists() else {}
    return {**own, **os.environ}
