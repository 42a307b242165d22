"""A small file for its owner's eyes only: written whole or not at all, never readable by others for a moment."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from freehold.errors import Misconfigured


def read_private(path: Path) -> str | None:
    """The text of the file, or `None` if there is none.

    Raises:
        Misconfigured: others can read it, or it cannot be read; says what to do.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Misconfigured(f"{path} can be read by others (mode {mode:04o}). Run: chmod 600 {path}")
            return file.read().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from error


def keep_private(path: Path, text: str) -> str:
    """Write the file with mode 0600 unless it is there, and give what is in it then.

    Of several processes that do so at once, one wins and all get its text.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    kept = read_private(path)
    if not kept:
        raise Misconfigured(f"{path} is empty. Remove it and start again.")
    return kept


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
