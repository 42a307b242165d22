"""Packages from an index of our own, installed in real boxes and shared by sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.clock import HandClock
from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Egress
from freehold.environments.launcher import find_program
from freehold.environments.layers import LayerFailed, Progress
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import Agent
from tests.package_index import Index, package_index, wheel


@pytest.fixture
async def index(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    async with package_index(monkeypatch) as found:
        yield found


@pytest.fixture
async def boxes(tmp_path: Path, index: Index) -> AsyncIterator[Bubblewrap]:
    require_bubblewrap()
    address = f"http://index.test:{index.port}"
    opened = Bubblewrap(
        tmp_path / "boxes",
        egress=Egress(EgressSettings(egress_private_hosts=("index.test",))),
        layers=LayerSettings(
            layer_pip_index=f"{address}/simple/",
            layer_npm_registry=f"{address}/",
            layer_apt_sources=(f"deb [trusted=yes] {address}/apt ./",),
        ),
        clock=HandClock(),
    )
    yield opened
    await opened.close()


async def opened(boxes: Bubblewrap, root: Path, session_id: str = "sesn_1", **packages: list[str]) -> Agent:
    environment = {"packages": {"type": "packages", **packages}}
    wanted = BoxSpec(session_id, root / "boxes" / session_id, 1, environment=environment)
    return Agent(await boxes.open(wanted), wanted)


async def test_a_python_package_is_there_with_its_command(boxes: Bubblewrap, tmp_path: Path, index: Index) -> None:
    agent = await opened(boxes, tmp_path, pip=["greeting==1.0"])
    assert await agent.bash("greeting; python3 -c 'import greeting; greeting.main()'") == "\n".join(
        ["hello from the package"] * 2
    )
    assert "/files/greeting-1.0-py3-none-any.whl" in index.asked
    notes = list((tmp_path / "boxes" / ".layers").glob("*.json"))
    assert [json.loads(note.read_text())["resolved"] for note in notes] == [["greeting==1.0"]]


async def test_a_session_has_the_package_and_not_the_network(boxes: Bubblewrap, tmp_path: Path) -> None:
    agent = await opened(boxes, tmp_path, pip=["greeting==1.0"])
    assert await agent.bash("env | grep -ic proxy || true") == "0"
    outcome = await agent.call("bash", command="touch /opt/env/x || rm -rf /opt/env/lib")
    assert outcome.is_error
    assert await agent.bash("greeting") == "hello from the package"


async def test_the_second_session_installs_nothing(boxes: Bubblewrap, tmp_path: Path, index: Index) -> None:
    await opened(boxes, tmp_path, "sesn_1", pip=["greeting==1.0"])
    asked = len(index.asked)
    agent = await opened(boxes, tmp_path, "sesn_2", pip=["greeting==1.0", "greeting==1.0"])
    assert await agent.bash("greeting") == "hello from the package"
    assert len(index.asked) == asked


async def test_sessions_at_once_build_once(boxes: Bubblewrap, tmp_path: Path, index: Index) -> None:
    wanted = (opened(boxes, tmp_path, f"sesn_{n}", pip=["greeting==1.0"]) for n in range(5))
    for agent in await asyncio.gather(*wanted):
        assert await agent.bash("greeting") == "hello from the package"
    assert index.asked.count("/files/greeting-1.0-py3-none-any.whl") == 1


async def test_a_package_of_node_is_there(boxes: Bubblewrap, tmp_path: Path) -> None:
    if find_program("npm") is None:
        pytest.skip("npm is not installed")
    agent = await opened(boxes, tmp_path, npm=["greeter@1.2.3"], pip=["greeting"])
    assert (
        await agent.bash("node -e \"console.log(require('greeter')())\"; greeting")
        == "hello from npm\nhello from the package"
    )


async def test_what_cannot_be_installed_is_told_in_the_managers_words(boxes: Bubblewrap, tmp_path: Path) -> None:
    with pytest.raises(LayerFailed, match=r"(?s)pip could not install nothing-like-it.*No matching distribution"):
        await opened(boxes, tmp_path, pip=["nothing-like-it==1"])
    left = [path.name for path in (tmp_path / "boxes" / ".layers").iterdir()]
    assert all(name.endswith(".lock") for name in left), left


def require_apt() -> None:
    if find_program("apt-get") is None:
        pytest.skip("this is no Debian")


async def test_a_debian_package_and_what_it_needs_lie_over_the_system_which_nobody_touches(
    boxes: Bubblewrap, tmp_path: Path, index: Index
) -> None:
    require_apt()
    agent = await opened(boxes, tmp_path, apt=["waver"], pip=["greeting==1.0"])
    assert await agent.bash("waver; greeting") == "data\nconfigured\nhello from the package"
    assert await agent.bash("command -v waver; ls /usr/bin/bash /etc/passwd; id -un") == (
        "/usr/bin/waver\n/etc/passwd\n/usr/bin/bash\nagent"
    )
    outcome = await agent.call("bash", command="touch /usr/bin/waver || rm /etc/words.conf || touch /usr/x")
    assert outcome.is_error
    assert find_program("waver") is None
    (kept,) = [layer for layer in await boxes.layers() if layer["manager"] == "apt"]
    assert kept["resolved"] == ["waver=1.0", "words=2.0"] and kept["packages"] == ["waver"]
    asked = len(index.asked)
    await opened(boxes, tmp_path, "sesn_2", apt=["waver"], pip=["greeting==1.0"])
    assert len(index.asked) == asked


async def test_a_box_with_debian_packages_is_as_closed_as_any(boxes: Bubblewrap, tmp_path: Path) -> None:
    require_apt()
    agent = await opened(boxes, tmp_path, apt=["words"])
    status = await agent.bash("grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'")
    assert status.splitlines() == ["CapEff:0000000000000000", "NoNewPrivs:1", "Seccomp:2"]
    assert (await agent.call("bash", command="unshare -Ur true")).is_error
    assert await agent.bash("cat /proc/1/environ 2>/dev/null | wc -c; ls /sys /root 2>/dev/null | wc -l") == "0\n0"


async def test_what_apt_cannot_find_is_told_in_its_words(boxes: Bubblewrap, tmp_path: Path) -> None:
    require_apt()
    with pytest.raises(LayerFailed, match=r"(?s)apt could not install no-such-thing.*Unable to locate package"):
        await opened(boxes, tmp_path, apt=["no-such-thing"])


async def test_progress_is_told_manager_by_manager(boxes: Bubblewrap) -> None:
    seen: list[Progress] = []
    environment = {"packages": {"npm": ["greeter@1.2.3"], "pip": ["greeting==1.0"]}}
    if find_program("npm") is None:
        pytest.skip("npm is not installed")
    await boxes.install(environment, seen.append)
    await boxes.install(environment, seen.append)
    assert [(one.manager, one.state, one.place, one.parts) for one in seen] == [
        *(("npm", "installing", 1, 2), ("npm", "installed", 1, 2)),
        *(("pip", "installing", 2, 2), ("pip", "installed", 2, 2)),
        *(("npm", "ready", 1, 2), ("pip", "ready", 2, 2)),
    ]
    assert seen[1].detail == ("greeter@1.2.3",) and seen[3].detail == ("greeting==1.0",)


async def test_what_has_no_version_is_resolved_anew_after_some_days(tmp_path: Path, index: Index) -> None:
    require_bubblewrap()
    clock = HandClock()
    boxes = Bubblewrap(
        tmp_path / "boxes",
        egress=Egress(EgressSettings(egress_private_hosts=("index.test",))),
        layers=LayerSettings(layer_pip_index=f"http://index.test:{index.port}/simple/"),
        clock=clock,
    )
    try:
        await opened(boxes, tmp_path, "sesn_1", pip=["greeting"])
        index.pages["/simple/greeting/"] += (
            b'<a href="/files/greeting-2.0-py3-none-any.whl">greeting-2.0-py3-none-any.whl</a>'
        )
        index.pages["/files/greeting-2.0-py3-none-any.whl"] = wheel("greeting", "2.0", "def main(): print('two')\n")
        same = await opened(boxes, tmp_path, "sesn_2", pip=["greeting"])
        assert await same.bash("greeting") == "hello from the package"
        await clock.advance(8 * 86_400)
        newer = await opened(boxes, tmp_path, "sesn_3", pip=["greeting"])
        assert await newer.bash("greeting") == "two"
        await clock.advance(86_400)
        gone = await boxes.collect_layers(unused_days=5)
        assert len(gone) == 1
        assert await newer.bash("greeting") == "two"
    finally:
        await boxes.close()
