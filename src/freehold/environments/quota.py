"""What a session's files take on the disk, held by the kernel: the quota of the session's own user.

It takes a server that is root, and a file system that keeps quotas of users (ext4 or XFS, mounted with `usrquota`): a
write beyond the limit then fails at once, in a box of any kind. Elsewhere `disk.py` watches.

Numbers and structures: the kernel's `include/uapi/linux/quota.h` and `dqblk_xfs.h`; the call with a descriptor in place
of a device is there since Linux 5.14.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from freehold.environments import users
from freehold.environments.workdirs import Workdir

_QUOTACTL_FD = 443
"""Of x86_64 and aarch64 alike."""
_OF_USERS = 0
_SET, _STATE = 0x800008, (ord("X") << 8) + 5
_BLOCK_BYTES = 1024
_LIMITS = 1 | 4
"""Of `dqb_valid`: what is set are the limits of blocks and of inodes."""
_LIMIT = struct.Struct("=8QI4x")
_ENFORCED = 1 << 1
_STATE_BYTES = 256
_FILE_BYTES = 4096
"""There may be as many files as would fill the room with one block each: an empty one takes its inode and its name."""
REMEDY = "run the server as root, with the data folder on ext4 or XFS that is mounted with usrquota"


def kept(folder: Path) -> bool:
    """Whether the file system there holds users to their quotas, and this server may set them."""
    state = ctypes.create_string_buffer(b"\1", _STATE_BYTES)  # the version of the structure that is asked for
    there = os.geteuid() == 0 and folder.is_dir() and _call(folder, _STATE, 0, state)
    return there and bool(_flags(state.raw) & _ENFORCED)


def hold(workdir: Workdir, most_bytes: int) -> bool:
    """From now on the session's files take no more than that. False: the kernel does not hold them here."""
    user = users.user_of(workdir)
    return user is not None and kept(workdir.path) and _set(workdir.path, user, most_bytes)


def lift(workdir: Workdir) -> None:
    """Until `hold` is called again, there is no limit: files are about to stand there twice."""
    user = users.user_of(workdir)
    if user is not None and kept(workdir.path):
        _set(workdir.path, user, 0)


def how(by_quota: bool) -> str:
    """For whoever asks what holds a session's files to their limit."""
    return "quota" if by_quota else "watch"


def _set(folder: Path, user: int, most_bytes: int) -> bool:
    """0: no limit."""
    blocks, files = -(-most_bytes // _BLOCK_BYTES), -(-most_bytes // _FILE_BYTES)
    return _call(folder, _SET, user, _LIMIT.pack(blocks, 0, 0, files, 0, 0, 0, 0, _LIMITS))


def _flags(state: bytes) -> int:
    return int(struct.unpack_from("=H", state, 2)[0])


def _call(folder: Path, command: int, number: int, data: bytes | ctypes.Array[ctypes.c_char]) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return bool(libc.syscall(_QUOTACTL_FD, fd, (command << 8) | _OF_USERS, number, data) == 0)
    finally:
        os.close(fd)
