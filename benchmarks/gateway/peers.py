"""Other gateways to measure beside ours, each in an environment of its own under `.venv/peers`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parents[2] / ".venv" / "peers"
INSTALL_S = 900


@dataclass(frozen=True, slots=True)
class Peer:
    """An installed peer."""

    program: Path
    version: str


def litellm() -> Peer | None:
    """LiteLLM with its proxy, whatever version installs; `None`, and a line that says why, where none does."""
    home = PEERS / "litellm"
    program = home / "bin" / "litellm"
    if not program.exists():
        print("installing LiteLLM (once, a few minutes) …", flush=True)
        install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "litellm[proxy]"]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
            subprocess.run(install, check=True, capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.CalledProcessError as error:
            _tell(str(error.stderr).strip().rpartition("\n")[2])
            return None
        except subprocess.TimeoutExpired:
            _tell(f"pip has not ended within {INSTALL_S} s")
            return None
    if not program.exists():
        _tell("it has brought no program `litellm`")
        return None
    asked = "from importlib.metadata import version; print(version('litellm'))"
    told = subprocess.run([str(home / "bin" / "python"), "-c", asked], check=True, capture_output=True, text=True)
    return Peer(program, told.stdout.strip())


def _tell(why: str) -> None:
    print(f"LiteLLM is left out, it cannot be installed: {why[:300]}", flush=True)
