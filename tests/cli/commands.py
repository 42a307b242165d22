"""Runs the real command in a process of its own, as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import programs


def freehold(
    *arguments: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """`freehold ARGUMENTS`, without the FREEHOLD_* and ANTHROPIC_* variables of whoever runs the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FREEHOLD_", "ANTHROPIC_"))}
    env = {**inherited, "COLUMNS": "80", "NO_COLOR": "1", **(environment or {})}
    return programs.run("-m", "freehold", *arguments, cwd=cwd, env=env, stdin=stdin)


@contextmanager
def following(*arguments: str | Path) -> Iterator[Iterator[str]]:
    """The lines of a command that goes on, as they come; it is ended with the block."""
    command = [sys.executable, "-m", "freehold", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
