"""A package index of our own for tests: one Python package and one of Node, served on loopback as `index.test`."""

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
from typing import Any

import pytest


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


def deb(name: str, version: str, script: str, depends: str = "") -> bytes:
    """A Debian package of one command, with a file below `/etc` and one below `/lib`."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@example.com>\n"
    control += (f"Depends: {depends}\n" if depends else "") + "Description: t\n"
    paths = {f"./usr/bin/{name}": script, f"./etc/{name}.conf": "configured\n", f"./lib/{name}/data": "data\n"}
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar_gz({"./control": control}),
        "data.tar.gz": _tar_gz(paths),
    }
    archive = b"!<arch>\n"
    for member, content in members.items():
        archive += f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


def _tar_gz(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content.encode()), 0o755
            archive.addfile(info, io.BytesIO(content.encode()))
    return data.getvalue()


def apt_repository(packages: dict[str, tuple[str, bytes]]) -> dict[str, bytes]:
    """The files of a flat repository under `/apt/`. `packages`: `name_version` to what it depends on, and the file."""
    index = ""
    pages = {}
    for full, (depends, content) in packages.items():
        name, version = full.split("_")
        index += f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@example.com>\n"
        index += (f"Depends: {depends}\n" if depends else "") + f"Filename: ./{full}_all.deb\nSize: {len(content)}\n"
        index += f"SHA256: {hashlib.sha256(content).hexdigest()}\nDescription: t\n\n"
        pages[f"/apt/./{full}_all.deb"] = content
    raw = index.encode()
    release = f"Suite: t\nSHA256:\n {hashlib.sha256(raw).hexdigest()} {len(raw)} Packages\n"
    return {**pages, "/apt/./Packages": raw, "/apt/./Release": release.encode()}


def npm_package(name: str, version: str, code: str) -> bytes:
    about = json.dumps({"name": name, "version": version, "main": "index.js"})
    return _tar_gz({"package/package.json": about, "package/index.js": code})


@dataclass
class Index:
    """A package index of both kinds on loopback; `asked` are the paths that were asked for."""

    port: int
    pages: dict[str, bytes]
    asked: list[str] = field(default_factory=list)


GREETING = "def main(): print('hello from the package')\n"


@contextlib.asynccontextmanager
async def package_index(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    """Serve it; this process finds `index.test` there and no other name at all."""

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in ("index.test", "127.0.0.1"):
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
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
        **apt_repository(
            {
                "waver_1.0": ("words (>= 2)", deb("waver", "1.0", "#!/bin/sh\ncat /usr/lib/words/data; words\n")),
                "words_2.0": ("", deb("words", "2.0", "#!/bin/sh\ncat /etc/words.conf\n")),
            }
        ),
    }
    yield found
    server.close()
