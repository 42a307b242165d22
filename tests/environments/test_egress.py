"""The way out of a real box: servers on loopback stand for the internet, names are resolved by a table."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Denial, Egress
from freehold.environments.networking import EgressSettings
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import Agent, text
from tests.outbound.certificates import Authority


@dataclass
class Internet:
    """What stands outside: a plain and a TLS server, and what was asked of them."""

    plain: int
    tls: int
    authority: Authority
    asked: list[bytes] = field(default_factory=list)
    denied: list[Denial] = field(default_factory=list)


NAMES = {
    "api.allowed.test": "127.0.0.1",
    "x.wild.test": "127.0.0.1",
    "wild.test": "127.0.0.1",
    "other.test": "127.0.0.1",
    "localhost": "127.0.0.1",
    "inside.allowed.test": "127.0.0.2",
    "metadata.allowed.test": "169.254.169.254",
    "mapped.allowed.test": "::ffff:169.254.169.254",
}


@pytest.fixture
async def internet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in NAMES and not host[0].isdigit() and ":" not in host:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NAMES.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    authority = Authority()
    outside = Internet(0, 0, authority)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            head = await reader.readuntil(b"\r\n\r\n")
            outside.asked.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nreached")
            await writer.drain()
        writer.close()

    plain = await asyncio.start_server(serve, "127.0.0.1", 0)
    tls = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server("api.allowed.test"))
    outside.plain, outside.tls = (server.sockets[0].getsockname()[1] for server in (plain, tls))
    yield outside
    plain.close()
    tls.close()


@pytest.fixture
async def boxes(tmp_path: Path, internet: Internet) -> AsyncIterator[Bubblewrap]:
    require_bubblewrap()
    settings = EgressSettings(egress_private_hosts=("api.allowed.test", "x.wild.test", "other.test", "wild.test"))
    opened = Bubblewrap(tmp_path / "boxes", egress=Egress(settings, internet.denied.append))
    yield opened
    await opened.close()


async def opened(boxes: Bubblewrap, root: Path, networking: dict[str, Any]) -> Agent:
    wanted = BoxSpec("sesn_net", root / "boxes" / "sesn_net", 1, environment={"networking": networking})
    return Agent(await boxes.open(wanted), wanted)


@pytest.fixture
async def limited(boxes: Bubblewrap, tmp_path: Path, internet: Internet) -> Agent:
    ports = (internet.plain, internet.tls)
    hosts = [f"{name}:{port}" for name in ("api.allowed.test", "*.wild.test", "*.allowed.test") for port in ports]
    return await opened(boxes, tmp_path, {"type": "limited", "allowed_hosts": hosts})


async def curl(agent: Agent, *words: str) -> str:
    quoted = " ".join(f"'{word}'" for word in words)
    return text(await agent.call("bash", command=f"curl -sS -m 20 -w ' %{{http_code}}' {quoted} 2>&1"))


@pytest.mark.parametrize("host", ["api.allowed.test", "API.Allowed.Test", "x.wild.test"])
async def test_an_allowed_name_is_reached(limited: Agent, internet: Internet, host: str) -> None:
    assert "reached 200" in await curl(limited, f"http://{host}:{internet.plain}/path?q=1")
    assert internet.asked[0].startswith(b"GET /path?q=1 HTTP/1.1\r\nHost: " + host.lower().encode())
    assert internet.denied == []


async def test_tls_to_an_allowed_name_is_reached_and_stays_sealed(limited: Agent, internet: Internet) -> None:
    ca = internet.authority.certificate
    from cryptography.hazmat.primitives.serialization import Encoding

    await limited.call("write", file_path="ca.pem", content=ca.public_bytes(Encoding.PEM).decode())
    said = await curl(limited, "--cacert", "ca.pem", f"https://api.allowed.test:{internet.tls}/")
    assert "reached 200" in said


@pytest.mark.parametrize(
    "host",
    [
        *(
            "other.test",
            "wild.test",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "[::1]",
            "localhost",
        ),
        *(
            "[::ffff:127.0.0.1]",
            "inside.allowed.test",
            "metadata.allowed.test",
            "mapped.allowed.test",
            "169.254.169.254",
        ),
    ],
)
async def test_every_other_name_and_address_is_denied_and_told(limited: Agent, internet: Internet, host: str) -> None:
    for scheme in ("http", "https"):
        port = internet.plain if scheme == "http" else internet.tls
        said = await curl(limited, "--noproxy", "none", "-k", f"{scheme}://{host}:{port}/")
        assert "reached" not in said
        assert "403" in said or "400" in said, said
    assert internet.asked == []
    assert len(internet.denied) == 2
    assert internet.denied[0].session_id == "sesn_net"


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT evil.test\\0.x.wild.test:443 HTTP/1.1",
        "CONNECT evil.test%00.x.wild.test:443 HTTP/1.1",
        "CONNECT a@evil.test:443 HTTP/1.1",
        "CONNECT api.allowed.test@other.test:443 HTTP/1.1",
        "GET http://api.allowed.test@other.test/ HTTP/1.1",
        "GET http://other.test\\\\@api.allowed.test/ HTTP/1.1",
        "CONNECT 127.0.0.1:PORT HTTP/1.1",
        "GET /etc/passwd HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
    ],
)
async def test_tricks_of_spelling_are_refused(limited: Agent, internet: Internet, line: str) -> None:
    request = line.replace("PORT", str(internet.plain))
    command = (
        f"exec 3<>/dev/tcp/127.0.0.1/3128; printf '{request}\\r\\n\\r\\n' | sed 's/x/x/' >&3; head -n 1 <&3; exec 3>&-"
    )
    said = text(await limited.call("bash", command=command))
    assert " 403 " in said or " 400 " in said, said
    assert internet.asked == []


async def test_another_host_header_is_not_believed(limited: Agent, internet: Internet) -> None:
    said = await curl(limited, "-H", "Host: other.test", f"http://api.allowed.test:{internet.plain}/")
    assert "reached" in said
    assert b"other.test" not in internet.asked[0]


async def test_a_second_request_on_the_connection_goes_nowhere(limited: Agent, internet: Internet) -> None:
    port = internet.plain
    one, two = f"GET http://api.allowed.test:{port}/one HTTP/1.1", f"GET http://other.test:{port}/two HTTP/1.1"
    end = "\\r\\n\\r\\n"
    command = f"exec 3<>/dev/tcp/127.0.0.1/3128; printf '{one}{end}{two}{end}' >&3; cat <&3; exec 3>&-"
    await limited.call("bash", command=command)
    assert [head.split(b" ")[1] for head in internet.asked] == [b"/one"]


async def test_tls_for_another_name_inside_an_allowed_tunnel_is_cut(limited: Agent, internet: Internet) -> None:
    program = f"""
import socket, ssl
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(b"CONNECT api.allowed.test:{internet.tls} HTTP/1.1\\r\\n\\r\\n")
print(s.recv(1000).split(b"\\r\\n")[0])
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
try:
    context.wrap_socket(s, server_hostname=NAME)
    print("GOT through")
except (OSError, ssl.SSLError) as error:
    print("stopped", error)
"""
    for name, through in (("'other.test'", False), ("None", False), ("'api.allowed.test'", True)):
        said = await limited.python(program.replace("NAME", name))
        assert "200 Connection established" in said
        assert ("GOT through" in said) is through, said
    assert any("other.test" in denial.reason for denial in internet.denied)


async def test_there_is_no_way_around_the_proxy(limited: Agent, internet: Internet) -> None:
    for target in (f"127.0.0.1:{internet.plain}", "169.254.169.254:80", "192.0.2.1:80"):
        assert "reached" not in await curl(limited, "--noproxy", "*", f"http://{target}/")
    assert (
        await limited.bash("ls /sys/class/net 2>/dev/null || tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
        == "lo"
    )
    assert internet.asked == []


async def test_unrestricted_means_any_name_and_never_the_hosts_network(
    boxes: Bubblewrap, tmp_path: Path, internet: Internet
) -> None:
    agent = await opened(boxes, tmp_path, {"type": "unrestricted"})
    assert "reached 200" in await curl(agent, f"http://other.test:{internet.plain}/")
    for host in ("inside.allowed.test", "metadata.allowed.test", "127.0.0.1", "localhost"):
        assert "403" in await curl(agent, "--noproxy", "none", f"http://{host}:{internet.plain}/")
    assert "reached" not in await curl(agent, "--noproxy", "*", f"http://127.0.0.1:{internet.plain}/")
    assert len(internet.asked) == 1


async def test_without_a_rule_there_is_no_proxy_at_all(boxes: Bubblewrap, tmp_path: Path) -> None:
    agent = await opened(boxes, tmp_path, {"type": "limited"})
    assert await agent.bash("env | grep -i proxy || echo none") == "none"
    said = text(await agent.call("bash", command="echo > /dev/tcp/127.0.0.1/3128"))
    assert "Connection refused" in said


async def test_the_listener_is_gone_with_the_box(limited: Agent, boxes: Bubblewrap, tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    command = "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT ' >&3; echo open"
    assert await limited.bash(command) == "open"
    await limited.box.close()
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 (nothing tells when the last task has ended)
            await asyncio.sleep(0)


async def test_too_many_connections_are_refused_and_the_rest_goes_on(limited: Agent, internet: Internet) -> None:
    program = f"""
import socket
held = [socket.create_connection(("127.0.0.1", 3128)) for _ in range(80)]
held[-1].sendall(b"GET http://api.allowed.test:{internet.plain}/ HTTP/1.1\\r\\n\\r\\n")
print(held[-1].recv(100).split(b"\\r\\n")[0])
for s in held: s.close()
"""
    assert "503" in await limited.python(program)
    assert "reached 200" in await curl(limited, "--retry", "5", f"http://api.allowed.test:{internet.plain}/")
