"""A session's files as they were: snapshots that hold only what changed, restored whole; and archives to take away.

A snapshot is a manifest (every path, with what its inode said) and a pack, a `tar.zst` of the files that changed since
the snapshot before it. Files whose inode number, size and change time are as they were are not read again; an agent can
set a modification time, but not a change time. Links are kept as links; sockets, FIFOs and devices are left out.

Packing and unpacking run as chores, in boxes of their own: nothing here opens a file of an agent by its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from freehold.environments.base import BoxFailed
from freehold.environments.chores import Chore, ChoreFailed
from freehold.environments.command import Mount
from freehold.environments.launcher import sealed_file
from freehold.environments.workdirs import Workdir, make_folder
from freehold.errors import InvalidRequest, NotFound

TOPS = ("workspace", "home", "outputs")
NOTHING = ""
MOST_FILES = 200_000
MOST_IMPORT_BYTES = 2 << 30
"""Unpacked."""
_ATTEMPTS = 3
"""Files may go away between the look and the packing, when something still runs in the box."""
_LONGEST_CHAIN = 16
"""Packs that a restore reads; after so many a snapshot holds everything again."""
_PACK = (
    '{ tar -C /from --null --no-recursion --no-unquote -T "/proc/self/fd/$1" --sparse -cf - || [ $? -eq 1 ]; }'
    " | zstd -q -1"
)
"""tar ends with 1 when a file changed while it was read, and with 2 when one has gone since the look."""
_UNPACK = (
    'zstd -q -dc | tar -C /to --null --no-recursion --no-unquote -T "/proc/self/fd/$1" --no-same-owner -xpf - '
    "2>/tmp/said || if grep -qv -e 'Not found in archive$' -e 'Exiting with failure' /tmp/said; "
    "then cat /tmp/said >&2; exit 2; fi"
)
"""A file that went in the very moment of its packing is not in the pack; that is how it was then."""
_IMPORT = f"zstd -q -dc --memory=256MB | head -c {MOST_IMPORT_BYTES} "
_IMPORT += "| tar -C /to --no-same-owner --no-same-permissions -xf -"


class Chores(Protocol):
    """Whoever can run a chore on a session's files; `Bubblewrap` does."""

    async def do(self, workdir: Workdir, chore: Chore) -> None:
        """Run it to its end, or raise `ChoreFailed`."""
        ...


class Entry(NamedTuple):
    """One path of a manifest. `kind`: `f`, `d` or `l`; `pack`: the snapshot whose pack holds it."""

    kind: str
    inode: int
    size: int
    changed_ns: int
    pack: str

    def same(self, other: Entry) -> bool:
        """Whether the file has not changed between the two."""
        return self[:4] == other[:4]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was taken: how many paths there are, how many went into its pack, and how large that is."""

    name: str
    files: int
    packed: int
    pack_bytes: int


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. `what`: `added`, `removed` or `changed`; sizes in bytes, where it was a file."""

    path: str
    what: str
    bytes_before: int | None
    bytes_after: int | None


class Snapshots:
    """Takes and restores snapshots of workdirs; each lies in its session's folder, outside every mount."""

    def __init__(self, chores: Chores) -> None:
        self._chores = chores

    async def take(self, workdir: Workdir, name: str) -> Snapshot:
        """Keep the files as they are now, under a new name. Costs a look at each file, and reading what changed.

        Raises:
            BoxFailed: there are too many files, or packing failed; nothing is kept then.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return await self._take(workdir, name)
            except ChoreFailed:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def take_if_changed(self, workdir: Workdir, name: str, note: Callable[[str], None]) -> None:
        """`take` where anything has changed since the latest. `note` gets, in a thread, the name that holds the files.

        Raises:
            BoxFailed: as `take`.
        """
        manifest = await asyncio.to_thread(_changed, workdir, name, note)
        if manifest is None:
            return
        try:
            taken = await self._keep(workdir, name, manifest)
        except ChoreFailed:
            taken = await self.take(workdir, name)
        await asyncio.to_thread(note, taken.name)

    async def diff(self, workdir: Workdir, old: str, new: str | None) -> list[Change]:
        """What differs between two snapshots, by path; `NOTHING` is no files at all, `None` the files as they are now.

        Told from sizes and from whether a file was written again, so a file written with what it held is `changed`.

        Raises:
            NotFound: there is no snapshot of that name.
        """
        folder = _folder(workdir)
        before = {} if old == NOTHING else await asyncio.to_thread(_read_manifest, folder, old)
        if new == NOTHING:
            return _differences(before, {})
        if new is None:
            after = await asyncio.to_thread(_manifest, workdir, "", before)
        else:
            after = await asyncio.to_thread(_read_manifest, folder, new)
        return _differences(before, after)

    async def _take(self, workdir: Workdir, name: str) -> Snapshot:
        folder = _folder(workdir)
        before = await asyncio.to_thread(_latest, folder)
        return await self._keep(workdir, name, await asyncio.to_thread(_manifest, workdir, name, before))

    async def _keep(self, workdir: Workdir, name: str, manifest: Mapping[str, Entry]) -> Snapshot:
        folder = _folder(workdir)
        changed = [path for path, entry in manifest.items() if entry.pack == name]
        pack = folder / f"{name}.tar.zst"
        await self._pack(workdir, changed, pack)
        await asyncio.to_thread(_write_manifest, folder, name, manifest)
        return Snapshot(name, len(manifest), len(changed), os.stat(pack).st_size)

    def names(self, workdir: Workdir) -> list[str]:
        """The snapshots there are, oldest first."""
        return _names(_folder(workdir))

    async def restore(self, source: Workdir, name: str, target: Workdir) -> None:
        """Make the files of `target` (the same session or a fork) those of the snapshot. No box may be open on it.

        Raises:
            NotFound: there is no snapshot of that name.
            BoxFailed: unpacking failed; the files of `target` are as they were.
        """
        folder = _folder(source)
        manifest = await asyncio.to_thread(_read_manifest, folder, name)
        fresh = await self._staged(target)
        try:
            for pack in sorted({entry.pack for entry in manifest.values()}):
                wanted = [path for path, entry in manifest.items() if entry.pack == pack]
                await self._unpack(target, folder / f"{pack}.tar.zst", wanted, fresh)
            await asyncio.to_thread(_swap, target, fresh)
        finally:
            await asyncio.to_thread(_remove, fresh)

    async def prune(self, workdir: Workdir, keep: Sequence[str]) -> None:
        """Forget every snapshot but those; packs that one of them still needs stay."""
        await asyncio.to_thread(_prune, _folder(workdir), set(keep))

    async def export(self, workdir: Workdir, archive: Path) -> None:
        """Write all files as one `tar.zst`, which `import_archive` and any tar can read.

        Raises:
            BoxFailed: packing failed; there is no archive then.
        """
        manifest = await asyncio.to_thread(_manifest, workdir, "", {})
        await self._pack(workdir, list(manifest), archive)

    async def import_archive(self, workdir: Workdir, archive: Path) -> None:
        """Make the files of `workdir` those of an archive that anyone may have made. No box may be open on it.

        Raises:
            InvalidRequest: it holds links, devices, paths that lead out, other top folders, too much, or is no archive.
        """
        fresh = await self._staged(workdir)
        try:
            with _opened(archive, os.O_RDONLY) as file:
                mounts = [Mount(fresh, "/to", writable=True)]
                await self._chores.do(workdir, Chore(_IMPORT, mounts, stdin=file))
            await asyncio.to_thread(_check_import, fresh)
            await asyncio.to_thread(_swap, workdir, fresh)
        except ChoreFailed as error:
            raise InvalidRequest(f"the archive cannot be unpacked: {error}") from error
        finally:
            await asyncio.to_thread(_remove, fresh)

    async def _pack(self, workdir: Workdir, paths: Sequence[str], pack: Path) -> None:
        mounts = [Mount(workdir.path / top, f"/from/{top}") for top in TOPS]
        with _named(paths) as names, _written(pack) as out:
            await self._chores.do(workdir, Chore(_PACK, mounts, ["{names}"], stdout=out, fds={"names": names}))

    async def _unpack(self, workdir: Workdir, pack: Path, paths: Sequence[str], fresh: Path) -> None:
        mounts = [Mount(fresh, "/to", writable=True)]
        with _named(paths) as names, _opened(pack, os.O_RDONLY) as file:
            await self._chores.do(workdir, Chore(_UNPACK, mounts, ["{names}"], stdin=file, fds={"names": names}))

    async def _staged(self, workdir: Workdir) -> Path:
        """An empty folder beside the session's own, with the same owner."""
        await self._chores.do(workdir, Chore("true", []))  # the session's folders and its user exist from here on
        return await asyncio.to_thread(_stage, workdir)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[int]:
    """A new file, which is there whole or not at all."""
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        try:
            yield fd
        except BaseException:
            path.unlink()
            raise


@contextlib.contextmanager
def _named(paths: Sequence[str]) -> Iterator[int]:
    """The names as `tar --null -T` reads them."""
    fd = sealed_file("names", b"".join(os.fsencode(path) + b"\0" for path in paths))
    try:
        yield fd
    finally:
        os.close(fd)


def _stage(workdir: Workdir) -> Path:
    owner = workdir.workspace.stat()
    fresh = workdir.path / f".fresh-{os.urandom(6).hex()}"
    for folder in (fresh, *(fresh / top for top in TOPS)):
        make_folder(folder, 0o700)
        if os.geteuid() == 0:
            os.chown(folder, owner.st_uid, owner.st_gid)
    return fresh


def _swap(workdir: Workdir, fresh: Path) -> None:
    for top in TOPS:
        current = workdir.path / top
        if current.exists():
            current.rename(fresh / f"{top}.old")
        (fresh / top).rename(current)
        current.chmod(0o700)


def _remove(fresh: Path) -> None:
    if fresh.exists():
        Workdir(fresh).delete()


def _folder(workdir: Workdir) -> Path:
    folder = workdir.path / "snapshots"
    make_folder(folder, 0o700)
    return folder


def _manifest(workdir: Workdir, name: str, before: Mapping[str, Entry]) -> dict[str, Entry]:
    """Every path, sorted, so that folders come before what is in them. Folders and links go into every pack."""
    found = {}
    whole = len({entry.pack for entry in before.values()}) >= _LONGEST_CHAIN
    for path, seen in _walk(workdir.path):
        kind = "f" if stat.S_ISREG(seen.st_mode) else "d" if stat.S_ISDIR(seen.st_mode) else "l"
        entry = Entry(kind, seen.st_ino, seen.st_size, seen.st_ctime_ns, name)
        old = before.get(path)
        unchanged = kind == "f" and not whole and old is not None and entry.same(old)
        found[path] = old if unchanged and old is not None else entry
        if len(found) > MOST_FILES:
            raise BoxFailed(f"the session has more than {MOST_FILES} files; a snapshot takes no more")
    return dict(sorted(found.items()))


def _same(before: Mapping[str, Entry], now: Mapping[str, Entry]) -> bool:
    return now.keys() == before.keys() and all(entry.same(before[path]) for path, entry in now.items())


def _changed(workdir: Workdir, name: str, note: Callable[[str], None]) -> dict[str, Entry] | None:
    """The manifest for a snapshot of that name; `None` where the latest holds the files as they are, which is noted."""
    folder = _folder(workdir)
    names = _names(folder)
    before = _read_manifest(folder, names[-1]) if names else {}
    manifest = _manifest(workdir, name, before)
    if not names or not _same(before, manifest):
        return manifest
    note(names[-1])
    return None


def _differences(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[Change]:
    found = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            found.append(Change(path, "added" if old is None else "removed", _bytes(old), _bytes(new)))
        elif old.kind != new.kind or (old.kind != "d" and not old.same(new)):
            found.append(Change(path, "changed", _bytes(old), _bytes(new)))
    return found


def _bytes(entry: Entry | None) -> int | None:
    return entry.size if entry is not None and entry.kind == "f" else None


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """By descriptors, so that a folder which becomes a link meanwhile leads nowhere."""
    for top in TOPS:
        if not (root / top).is_dir():
            continue
        for folder, folders, files, fd in os.fwalk(root / top, follow_symlinks=False):
            inside = os.path.relpath(folder, root)
            for name in (*folders, *files):
                try:
                    seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except OSError:
                    continue  # it went away
                if stat.S_IFMT(seen.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    yield f"{inside}/{name}", seen


def _names(folder: Path) -> list[str]:
    manifests = [path for path in folder.glob("*.json") if not path.name.startswith(".")]
    return [path.stem for path in sorted(manifests, key=lambda path: (path.stat().st_mtime_ns, path.name))]


def _latest(folder: Path) -> dict[str, Entry]:
    names = _names(folder)
    return _read_manifest(folder, names[-1]) if names else {}


def _read_manifest(folder: Path, name: str) -> dict[str, Entry]:
    try:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise FileNotFoundError
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no snapshot {name[:100]!r}; there are {', '.join(_names(folder)[-20:])}") from None
    return {path: Entry(*entry) for path, entry in found.items()}


def _write_manifest(folder: Path, name: str, manifest: Mapping[str, Entry]) -> None:
    fresh = folder / f".{name}.json~"
    fresh.write_bytes(json.dumps(manifest).encode("ascii"))
    fresh.replace(folder / f"{name}.json")


def _prune(folder: Path, keep: set[str]) -> None:
    for name in _names(folder):
        if name not in keep:
            (folder / f"{name}.json").unlink()
    needed = {entry.pack for name in _names(folder) for entry in _read_manifest(folder, name).values()}
    for pack in folder.glob("*.tar.zst"):
        if pack.name.removesuffix(".tar.zst") not in needed:
            pack.unlink()


def _check_import(fresh: Path) -> None:
    """What came out of a stranger's archive: plain files and folders under the three tops, nothing else.

    Raises:
        InvalidRequest: names the first thing that is something else.
    """
    strange = sorted({path.name for path in fresh.iterdir()} - set(TOPS))
    if strange:
        raise InvalidRequest(f"the archive has {strange[0]!r} at its top; there may be {', '.join(TOPS)}")
    for count, (path, seen) in enumerate(_walk_all(fresh)):
        plain = stat.S_ISDIR(seen.st_mode) or (stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1)
        if not plain:
            raise InvalidRequest(f"{path!r} in the archive is a link or a device; only files and folders are taken")
        if count > MOST_FILES:
            raise InvalidRequest(f"the archive holds more than {MOST_FILES} files")


def _walk_all(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, folders, files, fd in os.fwalk(root, follow_symlinks=False):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(folder, name), root), os.stat(name, dir_fd=fd, follow_symlinks=False)
