"""Packages from an index of our own, installed in real boxes and shared by sessions."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import socket
import tarfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from freehold.clock import HandClock
from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Egress
from freehold.environments.launcher import find_program
from freehold.environments.layers import LayerFailed
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import Agent


def wheel(name: str, version: str, code: str) -> bytes:
    """A package of one module, with a command of its name."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return data.getvalue()


def npm_package(name: str, version: str, code: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, content in (
            ("package/package.json", json.dumps({"name": name, "version": version, "main": "index.js"})),
            ("package/index.js", code),
        ):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content.encode()))
    return data.getvalue()


@dataclass
class Index:
    """A package index of both kinds on loopback; `asked` are the paths that were asked for."""

    port: int
    pages: dict[str, bytes]
    asked: list[str] = field(default_factory=list)


GREETING = "def main(): print('hello from the package')\n"


@pytest.fixture
async def index(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        if host not in ("index.test", "127.0.0.1"):
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    found = Index(0, {})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            found.asked.append(path)
            page = found.pages.get(path)
            kind = b"text/html" if path.endswith("/") else b"application/json"
            status = b"200 OK" if page is not None else b"404 Not Found"
            head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            writer.write(head % (status, kind, len(page or b"")) + (page or b""))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    tarball = npm_package("greeter", "1.2.3", "module.exports = () => 'hello from npm'")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    address = f"http://index.test:{found.port}/greeter/-/greeter-1.2.3.tgz"
    version = {"name": "greeter", "version": "1.2.3", "dist": {"tarball": address, "integrity": integrity}}
    found.pages = {
        "/simple/greeting/": b'<a href="/files/greeting-1.0-py3-none-any.whl">greeting-1.0-py3-none-any.whl</a>',
        "/files/greeting-1.0-py3-none-any.whl": wheel("greeting", "1.0", GREETING),
        "/greeter": json.dumps(
            {"name": "greeter", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": version}}
        ).encode(),
        "/greeter/-/greeter-1.2.3.tgz": tarball,
    }
    yield found
    server.close()


@pytest.fixture
async def boxes(tmp_path: Path, index: Index) -> AsyncIterator[Bubblewrap]:
    require_bubblewrap()
    address = f"http://index.test:{index.port}"
    opened = Bubblewrap(
        tmp_path / "boxes",
        egress=Egress(EgressSettings(egress_private_hosts=("index.test",))),
        layers=LayerSettings(layer_pip_index=f"{address}/simple/", layer_npm_registry=f"{address}/"),
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


async def test_a_manager_that_is_not_run_fails_the_opening(boxes: Bubblewrap, tmp_path: Path) -> None:
    with pytest.raises(LayerFailed, match="apt"):
        await opened(boxes, tmp_path, apt=["jq"])


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
