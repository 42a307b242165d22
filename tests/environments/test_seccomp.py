"""The filter, run instruction by instruction on system calls made up for it, and its table against the headers."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from freehold.environments import seccomp
from freehold.environments.seccomp import AARCH64, X86_64, Architecture

ALLOW, KILL = 0x7FFF0000, 0x80000000


def run(program: bytes, number: int, arch: int, *arguments: int) -> int:
    """What the kernel would answer: the classic BPF machine, as far as the filter uses it."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = place = 0
    while True:
        operation, if_so, if_not, value = code[place]
        place += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x06:
            return int(value)
        else:
            tests = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
            place += if_so if tests[operation] else if_not


def errno(value: int) -> int:
    return value & 0xFFFF if value & 0xFFFF0000 == 0x50000 else 0


both = pytest.mark.parametrize("machine", [X86_64, AARCH64], ids=lambda machine: machine.name)


@both
def test_every_call_of_the_table_is_refused_and_its_neighbours_are_not(machine: Architecture) -> None:
    program = seccomp.program(machine)
    refused = set(seccomp.numbers(machine))
    looked_at = {machine.clone, machine.clone3, machine.socket, machine.socketpair, machine.ioctl, machine.fallocate}
    for number in range(520):
        if number not in looked_at:
            expected = seccomp.EPERM if number in refused else 0
            assert errno(run(program, number, machine.audit)) == expected, number


@both
def test_another_architectures_calls_kill(machine: Architecture) -> None:
    other = AARCH64 if machine is X86_64 else X86_64
    assert run(seccomp.program(machine), 0, other.audit) == KILL
    assert run(seccomp.program(machine), 0, 0x40000003) == KILL


def test_calls_of_the_x32_size_are_not_known() -> None:
    assert errno(run(seccomp.program(X86_64), 0x40000000 + 39, X86_64.audit)) == seccomp.ENOSYS


@both
@pytest.mark.parametrize(
    "flag", [0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000], ids=hex
)
def test_a_clone_with_a_namespace_is_refused_and_a_thread_is_not(machine: Architecture, flag: int) -> None:
    program = seccomp.program(machine)
    assert errno(run(program, machine.clone, machine.audit, flag | 17)) == seccomp.EPERM
    thread = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000 | 0x1000000
    assert run(program, machine.clone, machine.audit, thread) == ALLOW
    assert errno(run(program, machine.clone3, machine.audit)) == seccomp.ENOSYS


@both
def test_only_four_families_of_sockets_exist(machine: Architecture) -> None:
    program = seccomp.program(machine)
    for call in (machine.socket, machine.socketpair):
        for family in range(50):
            expected = 0 if family in (1, 2, 10, 16) else seccomp.EAFNOSUPPORT
            assert errno(run(program, call, machine.audit, family)) == expected, family


@both
def test_terminals_cannot_be_typed_into(machine: Architecture) -> None:
    program = seccomp.program(machine)
    assert errno(run(program, machine.ioctl, machine.audit, 0, 0x5412)) == seccomp.EPERM
    assert errno(run(program, machine.ioctl, machine.audit, 0, 0x541C)) == seccomp.EPERM
    assert run(program, machine.ioctl, machine.audit, 0, 0x5401) == ALLOW


@both
def test_room_on_the_disk_cannot_be_had_without_writing(machine: Architecture) -> None:
    program = seccomp.program(machine)
    assert errno(run(program, machine.fallocate, machine.audit, 3, 0, 0, 1 << 40)) == seccomp.EOPNOTSUPP
    for request in (0x40305828, 0x4030582A, 0x40305839):
        assert errno(run(program, machine.ioctl, machine.audit, 3, request)) == seccomp.EPERM


@pytest.mark.parametrize(
    ("header", "column"),
    [("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0), ("/usr/include/asm-generic/unistd.h", 1)],
)
def test_the_table_agrees_with_the_kernels_headers(header: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    checked = 0
    for name, row in seccomp.REFUSED.items():
        if row[column] is not None and name in known:
            assert int(known[name]) == row[column], name
            checked += 1
    assert checked > 50
