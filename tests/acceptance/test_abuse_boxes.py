"""What a hostile agent tries, run in a real box beside planted secrets. Each attempt says `GOT …` if it got through.

The attempts that only look are also run without isolation, where they must succeed: an attempt that cannot succeed
anywhere would prove nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.environments import seccomp
from freehold.environments.base import Boxes, Limits
from tests.environments.backends import LOCAL, PODMAN, WALLED, WALLED_IN_EVERY_WAY, Backend, name_of
from tests.environments.live import Agent, agent, processes_with, spec, text, until

_PROLOGUE = """
import ctypes, glob, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def attempt(act):
    try:
        print("GOT", act())
    except (OSError, ValueError) as error:
        print("stopped:", error)
"""


@dataclass(frozen=True)
class Planted:
    """Secrets of the host, and where they are."""

    secret: str
    file: Path
    port: int
    abstract: str
    pid: int


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    secret = f"secret-{secrets.token_hex(8)}"
    file = tmp_path / "host-secret"
    file.write_text(secret)
    abstract = f"abstract-{secrets.token_hex(4)}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind("\0" + abstract)
        hidden.listen()
        command = [sys.executable, "-c", "input()", secret]
        with subprocess.Popen(command, env={"KEY": secret}, stdin=subprocess.PIPE) as victim:
            yield Planted(secret, file, server.getsockname()[1], abstract, victim.pid)
            victim.kill()


@pytest.fixture(params=WALLED, ids=name_of)
def kind(request: pytest.FixtureRequest) -> Backend:
    """Each kind of boxes that claims to isolate; containers in the soak only, but for one test of all attempts."""
    found: Backend = request.param
    return found


@pytest.fixture
async def walled(
    kind: Backend, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Planted
) -> AsyncIterator[Boxes]:
    monkeypatch.setenv("FREEHOLD_TEST_SECRET", planted.secret)
    boxes = kind.boxes(tmp_path / "boxes", request)
    yield boxes
    await boxes.close()


@pytest.fixture
async def inmate(walled: Boxes, tmp_path: Path) -> Agent:
    return await agent(walled, spec(tmp_path / "boxes"))


@pytest.fixture
async def outside(request: pytest.FixtureRequest, tmp_path: Path, planted: Planted) -> AsyncIterator[Agent]:
    boxes = LOCAL.boxes(tmp_path / "local", request)
    yield await agent(boxes, spec(tmp_path / "local"))
    await boxes.close()


def program(act: str, planted: Planted | None = None) -> str:
    if planted is None:
        return _PROLOGUE + textwrap.dedent(act)
    filled = (
        act.replace("FILE", str(planted.file))
        .replace("FOLDER", str(planted.file.parent))
        .replace("PORT", str(planted.port))
        .replace("ABSTRACT", planted.abstract)
        .replace("VICTIM", str(planted.pid))
    )
    return _PROLOGUE + textwrap.dedent(filled)


LOOKS = {
    "a host file by its path": "attempt(lambda: open('FILE').read())",
    "a host file by dots": "attempt(lambda: open('../' * 30 + 'FILE'[1:]).read())",
    "a host file by a link": "os.symlink('FILE', 'leak'); attempt(lambda: open('leak').read())",
    "a host file by a process's root": """
        for path in glob.glob('/proc/[0-9]*/root'): attempt(lambda: open(path + 'FILE').read())
        """,
    "a host file by a process's directory": """
        for path in glob.glob('/proc/[0-9]*/cwd'): attempt(lambda: open(path + '/..' * 20 + 'FILE').read())
        """,
    "the environments of processes": """
        for path in glob.glob('/proc/[0-9]*/environ'):
            attempt(lambda: b'KEY=' in (data := open(path, 'rb').read()) and data or '-')
        """,
    "the command lines of processes": """
        for path in glob.glob('/proc/[0-9]*/cmdline'): attempt(lambda: open(path, 'rb').read())
        """,
    "the server's port": "attempt(lambda: socket.create_connection(('127.0.0.1', PORT), 2))",
    "an abstract socket of the host": """
        attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0ABSTRACT') or 'connected')
        """,
    "a process of the host": "attempt(lambda: os.kill(VICTIM, 0) or 'it is there')",
}
PROOF = {
    "the server's port": "GOT <socket",
    "an abstract socket of the host": "GOT connected",
    "a process of the host": "GOT it is there",
}
"""What shows that the attempt succeeds where nothing stops it; for the others it is the secret itself."""


@pytest.mark.parametrize("name", LOOKS)
async def test_a_look_at_the_host_is_stopped(name: str, inmate: Agent, planted: Planted) -> None:
    said = await inmate.python(program(LOOKS[name], planted))
    assert planted.secret not in said
    assert PROOF.get(name, planted.secret) not in said
    assert "stopped" in said or "GOT" in said, "the attempt did not run"


@pytest.mark.parametrize("name", LOOKS)
async def test_the_same_look_succeeds_without_isolation(name: str, outside: Agent, planted: Planted) -> None:
    source = outside.spec.workdir / "workspace" / "look.py"
    source.write_text(program(LOOKS[name], planted))
    said = text(await outside.call("bash", command="python3 look.py | cut -c 1-500 | tail -n 2000"))
    assert PROOF.get(name, planted.secret) in said


# ruff: noqa: E501
TRIES = {
    "write to the system": """
        for path in ('/usr/x', '/etc/x', '/x', '/bin/x', '/opt/x', '/dev/x', '/var/x', '/mnt/x', '/home/x', '/proc/x', '/sys/x'):
            attempt(lambda: open(path, 'w'))
        for path in ('/etc/passwd', '/usr/bin/python3', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/proc/sys/vm/overcommit_memory'):
            attempt(lambda: open(path, 'r+'))
        """,
    "write to the uploads": "attempt(lambda: open('/mnt/session/uploads/x', 'w'))",
    "devices": """
        for path in ('/dev/kvm', '/dev/vda', '/dev/sda', '/dev/mem', '/dev/kmsg', '/dev/fuse', '/dev/net/tun', '/dev/loop0', '/dev/vsock'):
            attempt(lambda: open(path, 'rb'))
        attempt(lambda: os.mknod('disk', 0o60600, os.makedev(254, 0)))
        """,
    "control groups and kernel settings": """
        def listed(path):
            found = set(os.listdir(path)) - {'fs', 'cgroup'}
            if not found:
                raise OSError(path + ' is empty')
            return found
        for path in ('/sys', '/sys/fs', '/sys/fs/cgroup'):
            attempt(lambda: listed(path))
        """,
    "become another user": """
        attempt(lambda: os.setuid(0))
        attempt(lambda: os.setgroups([0]))
        attempt(lambda: os.setresuid(2, 2, 2))
        attempt(lambda: os.chown('/tmp', 0, 0))
        """,
    "sockets past the namespace": """
        for family, kind, protocol in ((40, 1, 0), (17, 3, 0), (38, 5, 0), (16, 3, 15), (2, 3, 1), (2, 3, 255), (10, 3, 58), (29, 3, 1), (31, 1, 3), (44, 3, 0)):
            if family != 16: attempt(lambda: socket.socket(family, kind, protocol))
        attempt(lambda: syscall(53, 40, 1, 0, 0))
        """,
    "addresses outside": """
        for address in ('169.254.169.254', '10.0.2.2', '192.0.2.1', '8.8.8.8', '100.100.100.200', 'fd00:ec2::254'):
            attempt(lambda: socket.create_connection((address, 80), 2))
        attempt(lambda: socket.getaddrinfo('example.com', 80))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        attempt(lambda: udp.sendto(b'x', ('8.8.8.8', 53)))
        """,
    "an interface of one's own": """
        import fcntl
        s = socket.socket()
        attempt(lambda: fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0)))
        attempt(lambda: fcntl.ioctl(s, 0x89a0, b'br0' + bytes(40)))
        """,
    "the supervisor's descriptors": """
        attempt(lambda: os.listdir('/proc/1/fd'))
        for number in range(16): attempt(lambda: open(f'/proc/1/fd/{number}', 'wb').write(b'{}\\n'))
        """,
    "the supervisor's memory": """
        attempt(lambda: open('/proc/1/mem', 'rb').read(1))
        attempt(lambda: open('/proc/1/maps').read(1))
        attempt(lambda: open('/proc/1/environ').read())
        attempt(lambda: os.readlink('/proc/1/exe'))
        attempt(lambda: os.listdir('/proc/1/map_files'))
        attempt(lambda: open('/proc/1/oom_score_adj', 'w').write('1000') and open('/proc/1/oom_score_adj', 'w').flush())
        """,
    "the program that is process 1": """
        attempt(lambda: open('/proc/1/exe', 'r+b'))
        attempt(lambda: open('/proc/self/exe', 'r+b'))
        attempt(lambda: os.listdir('/proc/1/cwd/../..'))
        attempt(lambda: syscall(438, syscall(434, 1, 0), 0, 0))
        """,
    "the firewall of the kernel": """
        def table():
            s = socket.socket(16, 3, 12)
            s.settimeout(5)
            s.send(struct.pack('IHHIIBBH', 20, 0x0a00, 5, 1, 0, 2, 0, 0))
            code = struct.unpack('i', s.recv(4096)[16:20])[0]
            if code:
                raise OSError(-code, os.strerror(-code))
        attempt(table)
        """,
    "words for a terminal": """
        import fcntl, pty
        attempt(lambda: os.open('/dev/tty', os.O_RDWR))
        master, slave = pty.openpty()
        attempt(lambda: fcntl.ioctl(slave, 0x5412, b'x'))
        attempt(lambda: fcntl.ioctl(slave, 0x541c, b'x'))
        """,
    "more priority and more room": """
        import resource
        attempt(lambda: os.nice(-5))
        attempt(lambda: resource.setrlimit(resource.RLIMIT_NPROC, (100000, 100000)))
        attempt(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 50, 1 << 50)))
        attempt(lambda: open('/proc/self/oom_score_adj', 'w', buffering=1).write('-1000\\n'))
        """,
    "namespaces by every call": """
        for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x08000000, 0x04000000, 0x02000000, 0x80):
            attempt(lambda: syscall(272, flag))
            attempt(lambda: syscall(56, flag | 17, 0, 0, 0, 0))
        attempt(lambda: syscall(435, ctypes.create_string_buffer(88), 88))
        attempt(lambda: syscall(308, os.open('/proc/self/ns/user', os.O_RDONLY), 0))
        """,
    "calls of another size": """
        attempt(lambda: syscall(0x40000000 + 39))
        attempt(lambda: syscall(0x40000000 + 101, 0, 1, 0, 0))
        """,
    "handles past every path": """
        attempt(lambda: syscall(304, -100, ctypes.create_string_buffer(64), 0))
        attempt(lambda: syscall(303, -100, b'/', ctypes.create_string_buffer(256), ctypes.create_string_buffer(8), 0))
        """,
}


@pytest.mark.parametrize("name", TRIES)
async def test_an_attempt_is_stopped(name: str, inmate: Agent, planted: Planted) -> None:
    said = await inmate.python(program(TRIES[name], planted))
    assert "stopped:" in said, said
    assert "GOT" not in said, said
    assert "Traceback" not in said, said


@pytest.mark.parametrize("kind", [PODMAN], ids=name_of, indirect=True)
async def test_all_of_these_attempts_are_stopped_in_one_container(inmate: Agent, planted: Planted) -> None:
    """What the soak tries one by one: containers take long to open."""
    for name, act in LOOKS.items():
        said = await inmate.python(program(act, planted))
        assert planted.secret not in said, name
        assert PROOF.get(name, planted.secret) not in said, name
    for name, act in TRIES.items():
        said = await inmate.python(program(act, planted))
        assert "stopped:" in said, (name, said)
        assert "GOT" not in said, (name, said)


async def test_every_refused_system_call_is_refused_inside(inmate: Agent) -> None:
    machine = seccomp.this_machine()
    assert machine is not None
    numbers = seccomp.numbers(machine)
    said = await inmate.python(
        _PROLOGUE + f"for number in {numbers}:\n"
        "    assert libc.syscall(number, 0, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, number\n"
        "print('all refused')"
    )
    assert said == "all refused"


async def test_the_box_sees_no_variable_of_the_server(inmate: Agent, planted: Planted) -> None:
    said = await inmate.bash("env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
    assert planted.secret not in said
    assert "PYTEST" not in said
    assert {line.split("=")[0] for line in said.splitlines()} <= {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"),
    }


async def test_the_box_sees_only_its_own_processes(inmate: Agent) -> None:
    said = await inmate.bash("cat /proc/[0-9]*/comm | sort | uniq")
    assert set(said.splitlines()) <= {
        "python3",
        "python3.11",
        "python3.12",
        "python3.13",
        "bash",
        "cat",
        "sort",
        "uniq",
    }


async def test_a_command_has_no_descriptor_but_its_own(inmate: Agent) -> None:
    said = await inmate.bash("for fd in /proc/self/fd/*; do readlink $fd; done; ls /proc/$$/fd")
    assert "socket" not in said
    assert "memfd" not in said
    assert "journal" not in said


async def test_a_command_cannot_pretend_to_have_ended(inmate: Agent) -> None:
    said = await inmate.bash("echo 0 >&250; printf '0\\n' > /proc/self/fd/250; sleep 0.2; echo really ended")
    assert said.endswith("really ended")


async def test_noise_on_the_way_of_the_status_harms_only_its_own_command(inmate: Agent) -> None:
    await inmate.call("bash", command="trap 'echo nonsense >&250' DEBUG; true")
    await inmate.call("bash", command="true")
    await inmate.call("bash", command="trap 'head -c 3000000 /dev/zero >&250 2>/dev/null' DEBUG; true", timeout_ms=5000)
    await inmate.call("bash", command="true", timeout_ms=5000)
    assert inmate.box.alive
    assert not (await inmate.call("bash", restart=True)).is_error
    assert await inmate.bash("echo alive") == "alive"


async def test_what_prints_in_the_background_for_ever_is_bounded(inmate: Agent) -> None:
    await inmate.bash("yes & echo started")
    outcome = await inmate.call("bash", command="echo one; sleep 0.3; echo two", timeout_ms=30_000)
    assert len(text(outcome)) < 200_000
    assert "left out" in text(outcome)
    assert not (await inmate.call("bash", restart=True)).is_error
    assert await inmate.bash("echo alive") == "alive"


async def test_a_command_of_any_bytes_and_any_length_is_answered(inmate: Agent) -> None:
    for command in ("echo \0 zero", "\x1b[2J\r\n", "echo '\ud800'", "a" * 3_000_000, "(" * 5000, "echo \u202e"):
        outcome = await inmate.call("bash", command=command, timeout_ms=20_000)
        assert outcome.content
    assert (await inmate.bash("echo alive")).endswith("alive")


def number(inmate: Agent, kind: Backend) -> str:
    """The number that the agent's user has inside."""
    return "1000" if kind.same_user else str((inmate.spec.workdir / "workspace").stat().st_uid)


async def test_su_and_its_kind_give_nothing(inmate: Agent, kind: Backend) -> None:
    said = await inmate.bash(
        "for run in 'su -c id' 'sudo -n id' 'newgrp' 'pkexec id' 'mount -o remount,rw /'; do $run 2>&1 </dev/null; done; id -u"
    )
    assert "uid=0" not in said
    assert said.splitlines()[-1] == number(inmate, kind) != "0"


async def test_a_setuid_copy_of_a_shell_gives_nothing(inmate: Agent, kind: Backend) -> None:
    said = await inmate.bash("cp /bin/bash ./root-shell; chmod 6755 root-shell; ./root-shell -p -c 'id -u; id -G'")
    assert said == f"{number(inmate, kind)}\n{number(inmate, kind)}"


async def test_another_sessions_files_and_its_name_are_out_of_sight(
    inmate: Agent, walled: Boxes, tmp_path: Path
) -> None:
    other = await agent(walled, spec(tmp_path / "boxes", "sesn_other"))
    await other.bash("echo other-secret > mine; chmod 777 . mine")
    path = other.spec.workdir
    look = f"cat {path}/workspace/mine; cat {path.parent}/*/*/mine; ls /mnt /mnt/*; cat /proc/self/mountinfo /proc/*/cmdline"
    said = text(await inmate.call("bash", command=f"{{ {look}; }} 2>&1 | tr '\\0' '\\n'"))
    assert "other-secret" not in said
    assert "sesn_other" not in said.replace(str(path), "")
    if os.geteuid() == 0:
        owners = {box.spec.workdir.joinpath("workspace").stat().st_uid for box in (inmate, other)}
        assert len(owners) == 2
        assert 0 not in owners


async def test_file_tools_leak_nothing_through_links(inmate: Agent, planted: Planted) -> None:
    await inmate.bash(f"ln -s {planted.file} leak; ln -s / top; ln -s /proc/1/environ env")
    for path in ("leak", f"top{planted.file}", "env", "/proc/1/root/etc/shadow"):
        for said in (
            text(await inmate.call("read", file_path=path)),
            text(await inmate.call("grep", pattern=".", path=path)),
            text(await inmate.call("edit", file_path=path, old_string="s", new_string="t")),
        ):
            assert planted.secret not in said
    assert planted.secret not in text(await inmate.call("grep", pattern="secret"))
    assert planted.file.read_text() == planted.secret


async def test_killing_everything_spares_the_supervisor(inmate: Agent) -> None:
    await inmate.call("bash", command="kill -9 -1; kill -STOP 1; kill -9 1; kill -TERM 1; kill -SEGV 1")
    await inmate.call("bash", command="kill -9 -1 $$")
    assert (await inmate.bash("echo alive")).endswith("alive")
    assert inmate.box.alive


async def test_a_box_wrecked_by_its_agent_answers_with_errors_and_goes_on(inmate: Agent) -> None:
    await inmate.call(
        "bash", command="cd /; rm -rf /workspace/* /workspace/.[a-z]* /home/agent/* /tmp/* /run/*; chmod 000 /workspace"
    )
    outcome = await inmate.call("read", file_path="a")
    assert outcome.is_error
    await inmate.call(
        "bash", command="eval() { :; }; builtin() { :; }; printf() { :; }; set -e; false", timeout_ms=2000
    )
    assert "alive" in await inmate.bash("echo alive; chmod 700 /workspace", timeout_ms=5000)
    assert not (await inmate.call("write", file_path="b", content="x")).is_error


@pytest.mark.parametrize("kind", WALLED_IN_EVERY_WAY, ids=name_of, indirect=True)
async def test_a_fork_bomb_ends_with_its_command(inmate: Agent) -> None:
    outcome = await inmate.call("bash", command="bomb() { bomb | bomb & }; bomb; sleep 30", timeout_ms=2000)
    assert outcome.is_error
    assert "alive" in await inmate.bash("echo alive")
    assert int((await inmate.bash("ls -d /proc/[0-9]* | wc -l")).split()[-1]) < 10


@pytest.mark.parametrize("kind", WALLED_IN_EVERY_WAY, ids=name_of, indirect=True)
async def test_a_memory_bomb_ends_its_command_and_not_the_box(walled: Boxes, kind: Backend, tmp_path: Path) -> None:
    limits = Limits(memory_bytes=256 << 20)
    inmate = await agent(walled, spec(tmp_path / "boxes", limits=limits))
    outcome = await inmate.call("bash", command="python3 -c 'x = bytearray(1 << 30); print(len(x))'")
    assert outcome.is_error
    if kind.bounded:
        many = "for n in 1 2 3 4 5 6; do python3 -c 'x = bytearray(100 << 20); input()' < <(sleep 3) & done; wait"
        await inmate.call("bash", command=many, timeout_ms=10_000)
    assert "alive" in await inmate.bash("echo alive")


async def test_the_folders_in_memory_are_small(inmate: Agent) -> None:
    for folder, most in (("/tmp", 64 << 20), ("/run", 16 << 20), ("/dev/shm", 64 << 20)):
        said = await inmate.bash(
            f"head -c 200000000 /dev/zero > {folder}/big 2>/dev/null || stat -c %s {folder}/big; rm {folder}/big"
        )
        assert 0 < int(said) <= most


async def test_one_file_has_a_hard_limit(walled: Boxes, tmp_path: Path) -> None:
    inmate = await agent(walled, spec(tmp_path / "boxes", limits=Limits(file_bytes=10 << 20)))
    outcome = await inmate.call("bash", command="head -c 50000000 /dev/zero > big")
    assert outcome.is_error
    assert (inmate.spec.workdir / "workspace" / "big").stat().st_size == 10 << 20


@pytest.mark.parametrize(("each", "most"), [(1_000_000, 20 << 20), (0, 1 << 19)], ids=["many", "many empty"])
async def test_what_is_written_in_many_files_is_stopped(walled: Boxes, tmp_path: Path, each: int, most: int) -> None:
    inmate = await agent(walled, spec(tmp_path / "boxes", limits=Limits(disk_bytes=most)))
    write = (
        f"head -c {each} /dev/zero > f$n; sleep 0.02"
        if each
        else "mkdir d$n; : > d$n/{1..99} 2>/dev/null; touch d$n/{1..99}"
    )
    outcome = await inmate.call("bash", command=f"for n in $(seq 1 100000); do {write}; done", timeout_ms=60_000)
    assert outcome.is_error
    assert "files take" in text(outcome)
    assert "alive" in await inmate.bash("rm -rf f* d*; echo alive", timeout_ms=60_000)


async def test_room_on_the_disk_cannot_be_had_without_writing(inmate: Agent) -> None:
    said = await inmate.python(
        program(
            """
            import fcntl
            file = open('big', 'w')
            attempt(lambda: syscall(285, file.fileno(), 0, ctypes.c_long(0), ctypes.c_long(1 << 33)))
            for request in (0x40305828, 0x4030582a, 0x40305839):
                attempt(lambda: fcntl.ioctl(file, request, struct.pack('hhqqiI16x', 0, 0, 0, 1 << 33, 0, 0)))
            """
        )
    )
    assert "GOT" not in said, said
    assert said.count("stopped:") == 4, said
    assert (
        await inmate.bash(
            "stat -c %b big; python3 -c 'import os; os.posix_fallocate(1, 0, 9000)' > little; wc -c < little"
        )
        == "0\n9000"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "full", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_of_the_host_fails_calls_and_not_the_box(
    kind: Backend, request: pytest.FixtureRequest, small_disk: Path
) -> None:
    boxes = kind.boxes(small_disk / "boxes", request)
    try:
        inmate = await agent(boxes, spec(small_disk / "boxes"))
        assert "No space left" in text(await inmate.call("bash", command="head -c 60000000 /dev/zero > big"))
        outcome = await inmate.call("write", file_path="more", content="x" * 100_000)
        assert outcome.is_error and "no space left" in text(outcome)
        assert "alive" in await inmate.bash("rm big; echo alive")
        assert not (await inmate.call("write", file_path="more", content="x" * 100_000)).is_error
    finally:
        await boxes.close()


async def test_a_flood_of_output_is_counted_and_not_kept(inmate: Agent) -> None:
    before = _resident_bytes()
    said = await inmate.bash("head -c 500000000 /dev/zero; echo end", timeout_ms=60_000)
    assert "of 500000004 bytes" in said
    assert said.endswith("end")
    assert _resident_bytes() - before < 64 << 20


async def test_a_hostile_expression_is_ended(inmate: Agent) -> None:
    await inmate.call("write", file_path="a", content="a" * 2000 + "b\n")
    begun = time.monotonic()
    await inmate.call("grep", pattern="(a+)+$")
    assert time.monotonic() - begun < 90
    assert inmate.box.alive


@pytest.mark.parametrize("kind", WALLED_IN_EVERY_WAY, ids=name_of, indirect=True)
async def test_leftovers_of_a_timeout_are_gone(inmate: Agent) -> None:
    marker = f"31539{time.monotonic_ns() % 10**9}"
    hide = "trap '' TERM INT HUP QUIT; setsid setsid nohup"
    await inmate.call(
        "bash", command=f"({hide} sleep {marker} &) ; {hide} sleep {marker} & sleep {marker}", timeout_ms=500
    )
    until(lambda: not processes_with(marker))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
