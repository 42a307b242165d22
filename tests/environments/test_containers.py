"""Boxes that are containers of a real Podman daemon. `make soak` runs the whole conformance suite against them too."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.app.sections import sections
from freehold.app.trialbox import trial_box
from freehold.app.worker import Post, make_worker
from freehold.config import load
from freehold.environments.base import BoxDied, BoxFailed, BoxSpec, Limits
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.containers.containers import Containers
from freehold.environments.containers.daemon import Daemon
from freehold.environments.egress import Egress
from freehold.environments.images.images import ImageSettings
from freehold.environments.networking import EgressSettings
from tests.environments.live import Agent, agent, processes_with, spec, text, until
from tests.images import Image, entry, layer, system


@pytest.fixture
async def boxes(podman: Path, tmp_path: Path) -> AsyncIterator[Containers]:
    (tmp_path / "images").mkdir()
    walled = Bubblewrap(
        tmp_path / "boxes",
        warm=0,
        egress=Egress(EgressSettings()),
        image_settings=ImageSettings(image_folder=tmp_path / "images"),
    )
    opened = Containers(tmp_path / "boxes", Daemon(podman), walled)
    yield opened
    await opened.close()


async def test_a_container_is_a_box_with_walls_and_every_tool(boxes: Containers, root: Path) -> None:
    found = await boxes.probe()
    assert found.isolated, found.reason
    assert found.backend.startswith("docker (Podman Engine")
    assert {one.name for one in found.protections if one.present} >= {
        "seccomp filter",
        "sealed supervisor",
        "no network",
    }
    model = await agent(boxes, spec(root))
    await model.call("write", file_path="a.txt", content="one\n")
    await model.call("edit", file_path="a.txt", old_string="one", new_string="two")
    assert text(await model.call("grep", pattern="tw")) == "/workspace/a.txt:1:two"
    assert "wrote" in text(await model.call("write", file_path="/tmp/b", content="x"))
    assert await model.bash(
        "touch /run/c /dev/shm/d; cat a.txt; whoami; pwd; env | grep -ci -e container -e podman || true"
    ) == ("two\nagent\n/workspace\n0")
    outcome = await model.call("bash", command="touch /usr/x || touch /etc/x || touch /x || unshare -Ur true")
    assert outcome.is_error
    assert await model.bash("ls /.box 2>/dev/null; ls /sys; cat /proc/1/environ 2>/dev/null | wc -c") == "fs\n0"
    vsock = "import socket; socket.socket(40, socket.SOCK_STREAM)"
    assert "Address family not supported" in text(await model.call("bash", command=f"python3 -c '{vsock}'"))


async def test_a_container_is_held_to_its_limits_and_goes_with_all_that_runs_in_it(
    boxes: Containers, root: Path
) -> None:
    small = Limits(memory_bytes=128 << 20, processes=40)
    model = await agent(boxes, spec(root, limits=small))
    hungry = 'python3 -c "x = bytearray(400 << 20)"'
    assert (await model.call("bash", command=hungry)).is_error
    assert (await model.call("bash", command="for n in $(seq 100); do sleep 60 & done", timeout_ms=2_000)) is not None
    assert "alive" in text(await model.call("bash", restart=True)) + await model.bash("echo alive")
    marker = f"31540{os.getpid()}"
    await model.bash(f"setsid sleep {marker} & true")
    until(lambda: bool(processes_with(marker)))
    await model.box.close()
    until(lambda: not processes_with(marker))
    with pytest.raises(BoxDied):
        await model.bash("true")


async def test_a_container_reaches_what_its_environment_allows_and_stands_on_its_image(
    boxes: Containers, tmp_path: Path
) -> None:
    Image([system(), layer(entry("etc/answer", "42\n"))], {"Env": ["PATH=/bin"]}).as_folder(
        tmp_path / "images" / "mine"
    )
    networking = {"type": "limited", "allowed_hosts": ["allowed.test"]}
    wanted = BoxSpec("sesn_1", tmp_path / "boxes" / "sesn_1", 1, environment={"networking": networking})
    limited = Agent(await boxes.open(wanted), wanted)
    denied = "curl -s -o /dev/null -w '%{http_code}' http://other.test/ || true"
    assert await limited.bash(denied) == "403"
    on_image = BoxSpec("sesn_2", tmp_path / "boxes" / "sesn_2", 1, environment={"image": "mine"})
    imaged = Agent(await boxes.open(on_image), on_image)
    assert await imaged.bash("cat /etc/answer; command -v python3 || echo bare") == "42\nbare"


async def test_nothing_of_a_container_outlives_its_server(podman: Path, tmp_path: Path) -> None:
    """A server that is killed: its end of the line is gone, and what it left is taken away by the next."""
    program = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from freehold.environments.bubblewrap import Bubblewrap
        from freehold.environments.containers.containers import Containers
        from freehold.environments.containers.daemon import Daemon
        from freehold.environments.base import BoxSpec
        async def main():
            root = Path({str(tmp_path / "boxes")!r})
            boxes = Containers(root, Daemon(Path({str(podman)!r})), Bubblewrap(root, warm=0))
            box = await boxes.open(BoxSpec("sesn_1", root / "sesn_1", 1))
            await box.call("bash", {{"command": "echo kept > a; sleep 31541{os.getpid()} &"}}, key="k", epoch=1)
            print("ready", flush=True)
            await asyncio.sleep(600)
        asyncio.run(main())
    """)
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    assert (await server.stdout.readline()) == b"ready\n"
    server.send_signal(signal.SIGKILL)
    await server.wait()
    until(lambda: not processes_with(f"31541{os.getpid()}"), 30)
    root = tmp_path / "boxes"
    boxes = Containers(root, Daemon(podman), Bubblewrap(root, warm=0))
    try:
        again = await agent(boxes, BoxSpec("sesn_1", root / "sesn_1", 2))
        assert await again.bash("cat a") == "kept"
    finally:
        await boxes.close()
    daemon = Daemon(podman)
    assert await daemon.ended("freehold") == []
    await daemon.close()


async def test_a_worker_and_a_box_to_try_things_in_are_made_by_the_backend_that_is_set(
    podman: Path, tmp_path: Path
) -> None:
    flags = {"data": tmp_path / "data", "box_backend": "docker", "docker_socket": podman}
    chosen = load(sections(), flags=flags, environment={})
    async with trial_box(chosen, {"type": "cloud"}) as box:
        assert text(await box.run("ls -d /.box")) == "/.box"
        assert box.base.startswith("the host's /usr")
    async with make_worker(chosen, Post("http://127.0.0.1:9", "env_1", "sk-none"), lambda *_: None) as worker:
        assert worker.house.boxes.name == "docker"


async def test_a_daemon_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    boxes = Containers(tmp_path, Daemon(tmp_path / "no.sock"), Bubblewrap(tmp_path, warm=0))
    found = await boxes.probe()
    assert not found.isolated and "docker_socket" in found.reason
    with pytest.raises(BoxFailed, match="daemon of containers does not answer"):
        await boxes.open(spec(tmp_path))
    await boxes.close()
