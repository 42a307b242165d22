"""What a box is as a container: the image of mount points that it is made of, and the body with which it is created.

This module starts nothing and touches no file.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.environments import bundle
from freehold.environments.base import Limits
from freehold.environments.command import Mount
from freehold.environments.rootfs import Base

PLACE = "/.box"
"""Where the box finds its supervisor's code, its filter of system calls and the way to the server."""
_ENTER = f"""
import ctypes,os,socket,sys
_f=open("{PLACE}/filter","rb").read()
_c=os.open("{PLACE}/code",os.O_RDONLY)
_s=socket.socket(socket.AF_UNIX);_s.connect("{PLACE}/control")
class _P(ctypes.Structure):_fields_=[("n",ctypes.c_ushort),("f",ctypes.c_char_p)]
_l=ctypes.CDLL(None,use_errno=True)
if _l.prctl(22,2,ctypes.byref(_P(len(_f)//8,_f)),0,0):sys.exit("seccomp: "+os.strerror(ctypes.get_errno()))
sys.argv=["-c",str(_s.detach()),str(_c)]
exec({bundle.START!r})
"""
"""The filter is set by the supervisor on itself, before it does anything: the daemon's own stays beneath it."""
_POINTS = ("proc", "dev", "sys", "tmp", "run", "workspace", "home/agent", "mnt/session", "opt", PLACE.lstrip("/"))
_NOTHING = ("/sys", "/sys/fs/cgroup")
"""Where there is nothing: they tell of the host and of its control groups."""
_RUN_BYTES = 16 << 20
_SHM_BYTES = 64 << 20
_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One box. `user`: its number and group, on the host as inside."""

    image: str
    base: Base
    mounts: Sequence[Mount]
    limits: Limits
    user: tuple[int, int]
    label: str


def points(base: Base) -> tuple[str, bytes]:
    """The name and the tar of an image that holds nothing but mount points and the links of that base."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted({*_POINTS, *(path.lstrip("/") for path in base.folders)}):
            member = tarfile.TarInfo(name)
            member.type, member.mode = (
                tarfile.DIRTYPE,
                0o1777 if name in ("tmp", "run") else 0o755,
            )  # a tmpfs has it too
            tar.addfile(member)
        for target, name in base.links:
            member = tarfile.TarInfo(name.lstrip("/"))
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    data = packed.getvalue()
    return f"freehold-box-{hashlib.sha256(data).hexdigest()[:16]}", data


def body(frame: Frame) -> dict[str, Any]:
    """The body of `POST /containers/create`."""
    user = f"{frame.user[0]}:{frame.user[1]}"
    python = frame.base.runs or (frame.base.python,)
    return {
        "Image": frame.image,
        "Entrypoint": [*python, "-I", "-S", "-c", _ENTER],
        "Cmd": [],
        "Env": [],
        "User": user,
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "NetworkDisabled": True,
        "Labels": {"freehold": frame.label},
        "HostConfig": {
            "Tmpfs": _in_memory(frame.limits),
            "Mounts": [_mount(source, target, False) for source, target in frame.base.binds]
            + [_mount(mount.source, mount.target, mount.writable) for mount in frame.mounts],
            "NetworkMode": "none",
            "IpcMode": "private",
            "ReadonlyRootfs": False,  # it is root's; Podman lays an unbounded /tmp over ours where it is read-only
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            **_bounds(frame.limits),
        },
    }


def _mount(source: Path, target: str, writable: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": not writable}


def _in_memory(limits: Limits) -> dict[str, str]:
    """Memory that looks like a disk, each bounded, and nothing where the host would be told of."""
    scale = min(1.0, limits.memory_bytes / 2 / (limits.tmp_bytes + _RUN_BYTES + _SHM_BYTES))
    sizes = {"/tmp": limits.tmp_bytes, "/run": _RUN_BYTES, "/dev/shm": _SHM_BYTES}
    places = {place: f"rw,exec,nosuid,nodev,mode=1777,size={int(size * scale)}" for place, size in sizes.items()}
    return {**places, **dict.fromkeys(_NOTHING, "ro,noexec,nosuid,nodev,mode=555,size=4096")}


def _bounds(limits: Limits) -> dict[str, Any]:
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "PidsLimit": limits.processes,
        "NanoCpus": int(limits.cpu_cores * 1e9),
        "Ulimits": [
            {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
            {"Name": "nproc", "Soft": limits.processes, "Hard": limits.processes},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
    }
