"""The interpreter and the shell that a box brings along where its base has none: the host's own, at a private place.

Everything they need lies together (the dynamic loader, its libraries, the standard library) and is found there by that
loader alone, so that it runs over any base: one with other libraries, with other C libraries, or with none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.environments.base import BoxFailed
from freehold.environments.workdirs import make_folder

PLACE = "/.freehold"
_LOOK = """
import base64, fnmatch, json, mimetypes, os, re, resource, select, shutil, subprocess, sys, zlib, _ctypes, _socket
maps = open("/proc/self/maps").read().split()
own = sorted({word for word in maps if word.startswith("/") and ".so" in word and "lib-dynload" in word})
print(json.dumps([os.path.realpath(sys.executable), os.path.dirname(os.__file__), sys.platlibdir, own]))
"""
_LINE = re.compile(r"\s*(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x[0-9a-f]+\)")


@dataclass(frozen=True, slots=True)
class Runtime:
    """`python` and `bash`: how a box starts them."""

    binds: tuple[tuple[Path, str], ...]
    python: tuple[str, ...]
    bash: tuple[str, ...]


def host_runtime(folder: Path, python: str) -> Runtime:
    """Put together under `folder` from the host's `python` and bash; a new one when one of them has changed.

    Raises:
        BoxFailed: what they need cannot be found out.
    """
    found = json.loads(_said([python, "-I", "-S", "-c", _LOOK]))
    interpreter, library, platlib, modules = Path(found[0]), Path(found[1]), str(found[2]), list(found[3])
    shell = Path("/bin/bash").resolve()
    needed, loader = _libraries([str(interpreter), str(shell), *modules])
    programs = {"bin/python3": interpreter, "bin/bash": shell, f"lib/{loader.name}": loader}
    files = {**programs, **{f"lib/{name}": path for name, path in needed.items()}}
    made = _put_together(folder, files, [f"{platlib}/{library.name}"])
    start = (f"{PLACE}/lib/{loader.name}", "--library-path", f"{PLACE}/lib")
    return Runtime(
        ((made, PLACE), (library, f"{PLACE}/{platlib}/{library.name}")),
        (*start, f"{PLACE}/bin/python3"),
        (*start, f"{PLACE}/bin/bash"),
    )


def _libraries(programs: Sequence[str]) -> tuple[dict[str, Path], Path]:
    """By the name under which the loader looks for each; and the loader itself."""
    needed: dict[str, Path] = {}
    loader: Path | None = None
    for line in _said(["ldd", *programs]).splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        path = Path(found["path"]).resolve()
        if found["name"] and not found["name"].startswith("/"):
            needed[found["name"]] = path
        else:
            loader = Path(found["path"])
    if loader is None:
        raise BoxFailed("the loader of this machine's programs was not found (by `ldd`), which images need")
    return needed, loader


def _put_together(folder: Path, files: dict[str, Path], points: Sequence[str]) -> Path:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        kept = path.stat()
        digest.update(f"{name} {path} {kept.st_size} {kept.st_mtime_ns}\n".encode())
    made = folder / f"runtime-{digest.hexdigest()[:16]}"
    if made.exists():
        return made
    fresh = folder / f".runtime.{os.urandom(6).hex()}~"
    make_folder(folder, 0o755)
    for name in ("", "bin", "lib", *{point.split("/")[0] for point in points}, *points):
        make_folder(fresh / name, 0o755)
    for name, path in files.items():
        shutil.copyfile(path, fresh / name)
        (fresh / name).chmod(0o755)
    try:
        fresh.rename(made)
    except OSError:  # another was first
        shutil.rmtree(fresh)
    return made


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False)
    except OSError as error:
        raise BoxFailed(f"{command[0]}: {error.strerror}; boxes on an image need it") from error
    if done.returncode != 0 and not done.stdout:
        raise BoxFailed(f"{command[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout
