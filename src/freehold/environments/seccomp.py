"""The system calls a box may not make, as a BPF program built from one table; no libseccomp.

Numbers: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h` (aarch64).
Refused calls answer EPERM, so that programs see an ordinary error; `clone3` answers ENOSYS, so that the C library falls
back to `clone`, whose flags a filter can see; `fallocate` answers EOPNOTSUPP, as many a file system does, so that
nothing takes a gigabyte of the disk in a millisecond (`disk.py`). Another architecture's calls kill the process.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

EPERM, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 38, 95, 97

# BPF: classes and modes of linux/bpf_common.h, actions of linux/seccomp.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_SET, _JUMP_ABOVE = 0x15, 0x45, 0x35
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
# struct seccomp_data: nr, arch, instruction pointer, six arguments of 8 bytes (the low half first: little endian)
_NUMBER, _ARCH, _ARGUMENT0, _ARGUMENT1 = 0, 4, 16, 24
_X32 = 0x40000000

_NAMESPACES = 0x02000000 | 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x80
"""CLONE_NEWCGROUP, NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME."""
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
"""The only kinds of socket. Above all not AF_VSOCK, which a network namespace does not confine."""
_TTY_REQUESTS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""Both put words into the mouth of a terminal's user."""
_ROOM_REQUESTS = {"FS_IOC_RESVSP": 0x40305828, "FS_IOC_RESVSP64": 0x4030582A, "FS_IOC_ZERO_RANGE": 0x40305839}
"""`fallocate` under other names (linux/falloc.h)."""

# name: (x86_64, aarch64); None: that architecture does not have it.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # mounts, roots and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    # other processes' memory and descriptors
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    # wide kernel surfaces that a program seldom needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "vmsplice": (278, 75),
    "nfsservctl": (180, 42),
    # keys
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # files by handle, past every path
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "personality": (135, 92),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "_sysctl": (156, None),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "set_mempolicy": (238, 237),
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What differs: the audit number, the column of the table, and the calls whose arguments are looked at."""

    name: str
    audit: int
    column: int
    clone: int
    clone3: int
    fallocate: int
    ioctl: int
    socket: int
    socketpair: int


X86_64 = Architecture("x86_64", 0xC000003E, 0, clone=56, clone3=435, fallocate=285, ioctl=16, socket=41, socketpair=53)
AARCH64 = Architecture(
    "aarch64", 0xC00000B7, 1, clone=220, clone3=435, fallocate=47, ioctl=29, socket=198, socketpair=199
)
ARCHITECTURES = {"x86_64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}

_Instruction = tuple[int, int, int, int]


def this_machine() -> Architecture | None:
    """The architecture of this machine; `None` when there is no table for it."""
    return ARCHITECTURES.get(platform.machine())


def numbers(architecture: Architecture) -> list[int]:
    """The refused calls as numbers of that architecture, ascending."""
    return sorted(row[architecture.column] or 0 for row in REFUSED.values() if row[architecture.column] is not None)


def program(architecture: Architecture) -> bytes:
    """The filter as `bwrap --seccomp` reads it: an array of `struct sock_filter`."""
    code = _head(architecture)
    code += _masked(architecture.clone, _ARGUMENT0, _NAMESPACES)
    for call, answer in ((architecture.clone3, ENOSYS), (architecture.fallocate, EOPNOTSUPP)):
        code += [_equal(call, 0, 1), _refuse(answer)]
    code += _one_of(architecture.ioctl, _ARGUMENT1, [*_TTY_REQUESTS.values(), *_ROOM_REQUESTS.values()])
    for call in (architecture.socket, architecture.socketpair):
        code += _none_but(call, _ARGUMENT0, list(_FAMILIES.values()))
    for number in numbers(architecture):
        code += [_equal(number, 0, 1), _refuse(EPERM)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _head(architecture: Architecture) -> list[_Instruction]:
    head = [
        (_LOAD, 0, 0, _ARCH),
        _equal(architecture.audit, 1, 0),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture is X86_64:
        head += [(_JUMP_ABOVE, 0, 1, _X32), _refuse(ENOSYS)]
    return head


def _equal(value: int, if_so: int, if_not: int) -> _Instruction:
    return (_JUMP_EQUAL, if_so, if_not, value)


def _refuse(errno: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | errno)


def _masked(call: int, argument: int, mask: int) -> list[_Instruction]:
    """Refuse the call when any bit of `mask` is set in its argument."""
    return [
        _equal(call, 0, 4),
        (_LOAD, 0, 0, argument),
        (_JUMP_SET, 0, 1, mask),
        _refuse(EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]


def _one_of(call: int, argument: int, values: Sequence[int]) -> list[_Instruction]:
    """Refuse the call when its argument is one of `values`."""
    tests: list[_Instruction] = []
    for value in values:
        tests += [_equal(value, 0, 1), _refuse(EPERM)]
    return [_equal(call, 0, len(tests) + 2), (_LOAD, 0, 0, argument), *tests, (_LOAD, 0, 0, _NUMBER)]


def _none_but(call: int, argument: int, values: Sequence[int]) -> list[_Instruction]:
    """Refuse the call unless its argument is one of `values`."""
    tests = [_equal(value, len(values) - place, 0) for place, value in enumerate(values)]
    return [
        _equal(call, 0, len(tests) + 3),
        (_LOAD, 0, 0, argument),
        *tests,
        _refuse(EAFNOSUPPORT),
        (_LOAD, 0, 0, _NUMBER),
    ]
