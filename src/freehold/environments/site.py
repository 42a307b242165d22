"""Which place a folder of sessions' files is: servers that see the same name there reach the same files.

A name is made once in the folder itself, so it is the same for processes of one machine and for machines that share the
folder, and another for a machine with a folder of its own. It begins with the name of the host that made it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path

MOST_CHARACTERS = 80


def site_of(folder: Path) -> str:
    """The name of that folder; made now if it has none."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    file = folder / ".site"
    if not file.exists():
        host = "".join(c if c.isalnum() or c in "-." else "-" for c in socket.gethostname())[:40] or "host"
        fresh = folder / f".site.{secrets.token_hex(8)}"
        fresh.write_text(f"{host}/{secrets.token_hex(6)}", "utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(fresh, file)  # of several that start at once, one name wins
        fresh.unlink()
    return file.read_text("utf-8")[:MOST_CHARACTERS]


def site_in(folder: Path) -> str | None:
    """The name of that folder, if it has one; nothing is made."""
    try:
        return (folder / ".site").read_text("utf-8")[:MOST_CHARACTERS]
    except OSError:
        return None


def host_of(site: str) -> str:
    """The host in the name of a place, for people."""
    return site.partition("/")[0]
