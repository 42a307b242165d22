"""What is particular to bubblewrap: users, closed folders, the server's death, what is missing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path

import pytest

from freehold.environments import bubblewrap, kit
from freehold.environments.base import BoxFailed, BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import Agent, agent, processes_with, spec, text, until

SERVER = """
import asyncio, sys
from pathlib import Path
from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap

async def main():
    root = Path(sys.argv[1])
    boxes = Bubblewrap(root)
    box = await boxes.open(BoxSpec("sesn_1", root / "sesn_1", epoch=1))
    outcome = await box.call("bash", {"command": sys.argv[2]}, key="k", epoch=1)
    print(outcome.content[0]["text"], flush=True)
    if len(sys.argv) > 3:
        await boxes.close()
    else:
        await asyncio.sleep(1000)

asyncio.run(main())
"""


def server(
    root: Path, command: str, *more: str, python: str = sys.executable, **options: object
) -> subprocess.Popen[str]:
    argv = [python, "-c", textwrap.dedent(SERVER), str(root), command, *more]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


async def test_the_agent_is_a_user_of_its_own_in_a_room_of_its_own(inmate: Agent) -> None:
    assert (
        await inmate.bash("whoami; id -u; hostname; pwd; echo $HOME") == "agent\n1000\nsandbox\n/workspace\n/home/agent"
    )
    owner = (inmate.spec.workdir / "workspace").stat().st_uid
    assert owner == (os.geteuid() or owner)
    assert (owner >= 20_000) == (os.geteuid() == 0)


async def test_ordinary_work_can_be_done(inmate: Agent) -> None:
    program = """
        import json, multiprocessing, sqlite3, tempfile, threading, socket, ssl, subprocess
        with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
        sqlite3.connect('a.db').execute('create table t (x)')
        threading.Thread(target=print, args=('thread',)).start()
        server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname())
        ssl.create_default_context()
        print(subprocess.run(['git', 'init', '-q', 'repo']).returncode)
        """
    assert await inmate.python(textwrap.dedent(program)) == "thread\n0"


def test_a_killed_server_leaves_no_process_and_every_file(tmp_path: Path) -> None:
    require_bubblewrap()
    marker = f"31540{time.monotonic_ns() % 10**9}"
    with server(tmp_path / "boxes", f"echo kept > a; setsid sleep {marker} & echo begun") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert processes_with(marker)
        process.send_signal(signal.SIGKILL)
    until(lambda: not processes_with(marker))
    with server(tmp_path / "boxes", "cat a", "close") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        assert process.wait(60) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_server_without_root_opens_boxes_too(tmp_path: Path) -> None:
    require_bubblewrap()
    root = tmp_path / "boxes"
    root.mkdir()
    os.chown(root, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    house = Path(bubblewrap.__file__).parents[2]
    if not _others_may_enter(house) or not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip(f"another user cannot enter {house}")
    paths = {"PYTHONPATH": f"{house}:{sysconfig.get_path('platlib')}"}
    if subprocess.run(["/usr/bin/python3", "-c", "import msgspec"], env=paths, capture_output=True).returncode != 0:
        pytest.skip("/usr/bin/python3 cannot load what this environment has installed")
    become = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/", "env": paths}
    with server(root, "id -u; touch x", "close", python="/usr/bin/python3", **become) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "1000\n"
    assert (root / "sesn_1" / "workspace" / "x").stat().st_uid == 65534


async def test_a_box_opens_whatever_the_umask(tmp_path: Path) -> None:
    require_bubblewrap()
    before = os.umask(0o077)
    boxes = Bubblewrap(tmp_path / "a" / "b" / "boxes")
    try:
        inmate = await agent(boxes, spec(tmp_path / "a" / "b" / "boxes"))
        assert await inmate.bash("touch x; ls /mnt/session/uploads /etc/ssl >/dev/null && echo fine") == "fine"
    finally:
        os.umask(before)
        await boxes.close()


async def test_a_machine_without_bubblewrap_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "find_program", lambda name: None)
    boxes = Bubblewrap(tmp_path / "boxes")
    with pytest.raises(BoxFailed, match="apt install bubblewrap"):
        await boxes.open(spec(tmp_path / "boxes"))
    found = await boxes.probe()
    assert not found.isolated
    assert "apt install bubblewrap" in found.reason
    await boxes.close()


async def test_many_boxes_open_at_once(walled: Bubblewrap, root: Path) -> None:
    opened = await asyncio.gather(*(agent(walled, spec(root, f"sesn_{n}")) for n in range(20)))
    said = await asyncio.gather(*(box.bash(f"echo {n} > me; cat me") for n, box in enumerate(opened)))
    assert said == [str(n) for n in range(20)]


async def test_opening_twice_with_one_epoch_is_refused(
    walled: Bubblewrap, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.environments.leases._PATIENCE_S", 0.1)
    inmate = await agent(walled, spec(root))
    with pytest.raises(BoxFailed, match="another box holds"):
        await walled.open(spec(root))
    assert await inmate.bash("echo mine") == "mine"


async def test_a_workdir_outside_the_root_that_cannot_be_reached_is_named(walled: Bubblewrap, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    wanted = BoxSpec("sesn_x", tmp_path / "elsewhere" / "sesn_x", epoch=1)
    if os.geteuid() == 0:
        with pytest.raises(BoxFailed, match="only its owner may enter"):
            await walled.open(wanted)


async def test_a_broken_mount_fails_the_opening_in_bubblewraps_words(walled: Bubblewrap, root: Path) -> None:
    wanted = spec(root)
    inmate = await agent(walled, wanted)
    await inmate.box.close()
    (wanted.workdir / "workspace").rmdir()
    (wanted.workdir / "workspace").write_text("a file")
    with pytest.raises(BoxFailed, match="bwrap: "):
        await walled.open(wanted)


async def test_a_file_tool_killed_by_its_agent_is_an_error(inmate: Agent) -> None:
    await inmate.bash("(while :; do for p in $(pgrep -P 1 python3); do kill -9 $p; done; done) >/dev/null 2>&1 & echo")
    await inmate.call("write", file_path="a", content="x" * 1000)
    said = text(await inmate.call("bash", restart=True))
    assert "restarted" in said
    assert not (await inmate.call("write", file_path="a", content="x")).is_error


def _others_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.is_dir())
