"""Unpacks one layer of an image into a folder, without following anything out of it. Runs in a box of its own.

It stands alone, as its text is handed to a Python in that box: only the standard library is imported. Whiteouts stay
as the empty files that they are in a layer (`.wh.NAME`, `.wh..wh..opq`); they take effect when layers are put together.
Devices, FIFOs and extended attributes are left out, set-user-ID bits are dropped, and everybody may read everything.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import zlib

_PIECE = 1 << 20
_MOST_MEMORY = 1 << 30
_DEEPEST = 100
_MOST_HOPS = 40
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Refused(Exception):
    """The layer cannot be unpacked; the message says why."""


class Raw:
    """`size` bytes of a descriptor, hashed as they go by."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._left = size
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many."""
        piece = os.read(self._fd, min(size, self._left))
        if not piece and self._left:
            raise Refused("it was cut off")
        self._left -= len(piece)
        self.hash.update(piece)
        return piece


class Again:
    """The same after its first bytes were looked at."""

    def __init__(self, raw: Raw, first: bytes) -> None:
        self._raw = raw
        self._first = first

    def read(self, size: int) -> bytes:
        """See `Raw`."""
        piece, self._first = self._first[:size], self._first[size:]
        return piece or self._raw.read(size)


class Gunzip:
    """What is in gzip members, one after the other; never much more at once than was asked for."""

    def __init__(self, raw: Again) -> None:
        self._raw = raw
        self._unread = b""
        self._inner = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """See `Raw`."""
        while True:
            if self._inner.eof:
                self._unread = self._inner.unused_data
                self._inner = zlib.decompressobj(wbits=31)
            if not self._unread:
                self._unread = self._raw.read(_PIECE)
                if not self._unread:
                    return b""
            piece = self._inner.decompress(self._unread, size)
            self._unread = b"" if self._inner.eof else self._inner.unconsumed_tail
            if piece:
                return piece


class Unzstd:
    """The same by the program `zstd`, fed by a thread."""

    def __init__(self, raw: Again) -> None:
        if shutil.which("zstd") is None:
            raise Refused("it is compressed with zstd, and there is no `zstd` on this server (apt install zstd)")
        command = ["zstd", "-q", "-dc", "--memory=256MB"]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._feed, args=(raw,), daemon=True).start()

    def _feed(self, raw: Again) -> None:
        assert self._program.stdin is not None
        with self._program.stdin as into:
            try:
                while piece := raw.read(_PIECE):
                    into.write(piece)
            except (OSError, Refused):
                self._program.kill()

    def read(self, size: int) -> bytes:
        """See `Raw`."""
        assert self._program.stdout is not None
        if self._program.stdout.closed:
            return b""
        piece = os.read(self._program.stdout.fileno(), size)
        if not piece:
            self._program.stdout.close()
            if self._program.wait() != 0:
                raise Refused("zstd cannot read it")
        return piece


Source = Again | Gunzip | Unzstd


class Tarred:
    """The bytes of the tar: hashed, and no more of them than are allowed."""

    def __init__(self, inner: Source, most: int) -> None:
        self._inner = inner
        self._left = most
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """See `Raw`."""
        piece = self._inner.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise Refused("it is larger unpacked than is allowed")
        self.hash.update(piece)
        return piece


class Unpacker:
    """Puts the members of a tar below `root`. `most`: bytes of files, and how many paths."""

    def __init__(self, root: str, most_bytes: int, most_paths: int) -> None:
        self._root = root
        self._bytes = most_bytes
        self._paths = most_paths

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """One of them."""
        parts = _parts(member.name)
        if not parts:
            return
        name = parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(parts)
        elif member.isdir():
            self._folder_at(parts, member)
        elif member.issym():
            os.symlink(_linked(member.linkname), self._place(parts))
        elif member.islnk():
            self._hard_link(parts, _parts(member.linkname))
        elif member.isreg():
            self._file(tar, member, parts)

    def _whiteout(self, parts: list[str]) -> None:
        name = parts[-1]
        if name != _OPAQUE and (name.startswith(".wh..wh.") or name[len(_WHITEOUT) :] in ("", ".", "..")):
            return  # notes that AUFS left for itself
        with open(self._place(parts), "xb"):
            pass

    def _folder_at(self, parts: list[str], member: tarfile.TarInfo) -> None:
        path = os.path.join(self._inside(parts[:-1]), parts[-1])
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                return
        except FileNotFoundError:
            pass
        self._make(self._place(parts))

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parts: list[str]) -> None:
        self._bytes -= member.size
        if member.size < 0 or self._bytes < 0:
            raise Refused("it is larger unpacked than is allowed")
        source = tar.extractfile(member)
        path = self._place(parts)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            if source is not None:
                shutil.copyfileobj(source, file, _PIECE)
            os.fchmod(fd, 0o755 if member.mode & 0o111 else 0o644)
        try:
            os.utime(path, (member.mtime, member.mtime))
        except (OSError, OverflowError, ValueError):
            return  # a time that cannot be kept; the file was written all the same

    def _hard_link(self, parts: list[str], to: list[str]) -> None:
        source = os.path.join(self._inside(to[:-1]), to[-1]) if to else self._root
        try:
            kind = os.lstat(source).st_mode
        except FileNotFoundError:
            raise Refused(
                f"{'/'.join(parts)!r} is a hard link to {'/'.join(to)!r}, which is not in the layer"
            ) from None
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise Refused(f"{'/'.join(parts)!r} is a hard link to a folder")
        if to != parts:
            os.link(source, self._place(parts), follow_symlinks=False)

    def _place(self, parts: list[str]) -> str:
        """Where that path goes; what an earlier member has put there is taken away."""
        path = os.path.join(self._inside(parts[:-1]), parts[-1])
        self._count()
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            pass
        return path

    def _inside(self, parts: list[str]) -> str:
        """That folder, made where it is missing. Links are followed as if `root` were the root of everything."""
        at: list[str] = []
        waiting = list(parts)
        hops = 0
        while waiting:
            part = waiting.pop(0)
            if part in ("", ".", ".."):
                at = at[:-1] if part == ".." else at
                continue
            if part.startswith(_WHITEOUT):
                raise Refused(f"{'/'.join(parts)[:200]!r} lies below a whiteout, which is a file and never a folder")
            path = os.path.join(self._root, *at, part)
            try:
                kind = os.lstat(path).st_mode
            except FileNotFoundError:
                self._count()
                self._make(path)
                kind = stat.S_IFDIR
            if stat.S_ISLNK(kind):
                hops += 1
                target = os.readlink(path)
                at = [] if target.startswith("/") else at
                waiting = target.split("/") + waiting
            elif stat.S_ISDIR(kind):
                at.append(part)
            else:
                raise Refused(f"{'/'.join(parts)!r} lies below a file")
            if hops > _MOST_HOPS or len(at) > _DEEPEST:
                raise Refused(f"{'/'.join(parts)[:200]!r} leads through too many links or folders")
        return os.path.join(self._root, *at)

    def _make(self, path: str) -> None:
        os.mkdir(path)
        os.chmod(path, 0o755)

    def _count(self) -> None:
        self._paths -= 1
        if self._paths < 0:
            raise Refused("it has more files than are allowed")


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"{name[:200]!r} has a '..' in it")
    if len(parts) > _DEEPEST or any(len(os.fsencode(part)) > 255 for part in parts):
        raise Refused(f"{name[:200]!r} is too long or too deep")
    return parts


def _linked(target: str) -> str:
    if not target or len(os.fsencode(target)) > 4095:
        raise Refused("a link in it leads to a name that cannot be")
    return target


def unpack(fd: int, size: int, digest: str, diff_id: str, root: str, most_bytes: int, most_paths: int) -> None:
    """Unpack the layer that is the next `size` bytes of `fd`. `digest` may be empty: it was not told.

    Raises:
        Refused: it is not what its digests say, or not to be unpacked.
    """
    raw = Raw(fd, size)
    tarred = Tarred(_opened(raw), 2 * most_bytes + (1 << 30))
    unpacker = Unpacker(root, most_bytes, most_paths)
    try:
        with tarfile.open(fileobj=tarred, mode="r|", errors="surrogateescape") as tar:  # type: ignore[call-overload]
            for member in tar:
                unpacker.take(tar, member)
                tar.members = []  # it remembers them all, else
        while tarred.read(_PIECE):
            pass  # what stands behind the end counts for the digest
        while raw.read(_PIECE):
            pass
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise Refused(f"it cannot be read: {error}") from error
    for told, hashed in ((diff_id, tarred.hash), (digest, raw.hash)):
        if told and told != f"sha256:{hashed.hexdigest()}":
            raise Refused(f"it is not what its digest says ({told})")


def _opened(raw: Raw) -> Source:
    """By its first bytes, as descriptions are not always right about it."""
    first = raw.read(4)
    while len(first) < 4 and (more := raw.read(4 - len(first))):
        first += more
    again = Again(raw, first)
    if first[:2] == b"\x1f\x8b":
        return Gunzip(again)
    return Unzstd(again) if first == b"\x28\xb5\x2f\xfd" else again


def main(arguments: list[str]) -> int:
    """`SIZE DIGEST DIFF_ID ROOT MOST_BYTES MOST_PATHS`, the layer on standard input; complaints on standard error."""
    size, digest, diff_id, root, most_bytes, most_paths = arguments
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    os.umask(0o022)
    try:
        unpack(0, int(size), digest, diff_id, root, int(most_bytes), int(most_paths))
    except MemoryError:
        print("unpacking it takes more memory than is allowed", file=sys.stderr)
        return 1
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
