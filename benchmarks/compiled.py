"""Freehold with its hot path compiled, as `make compiled` puts it beside the development install."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv" / "compiled"


def modules() -> list[str]:
    """Names of the modules that are compiled, from pyproject.toml: `freehold.ledger.purse`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    return [path.removeprefix("src/").removesuffix(".py").replace("/", ".") for path in listed]


def is_current() -> bool:
    """Whether what is there was made of the files that are here; `False` too where nothing is there."""
    return not subprocess.run([ROOT / "scripts" / "compiled.sh", "check"], check=False).returncode


def environment() -> dict[str, str]:
    """This process's, for a Python that is to run the compiled build; unchanged where there is none.

    Raises:
        SystemExit: there is one, of other files than are here: figures would be those of code that is gone.
    """
    if not PLACE.exists():
        return dict(os.environ)
    if not is_current():
        raise SystemExit(f"{PLACE} was made of other files than are here now: run `make compiled`, or remove it")
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part not in ("", str(PLACE))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLACE), *others])}


def run_compiled() -> None:
    """Start this program again as the compiled build, if there is one and this is not it."""
    wanted = environment()
    if wanted.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
