"""Tools from apt, packages from servers of our own: go, gem and cargo really run in boxes. For `make soak`."""

from __future__ import annotations

import io
import json
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from freehold.clock import HandClock
from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Egress
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import Agent
from tests.package_index import package_index

GO_MAIN = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello from go") }\n'
GEMSPEC = (
    'Gem::Specification.new { |s| s.name = "greeter"; s.version = "1.0.0"; s.summary = "t"; s.authors = ["t"]; '
    's.files = ["bin/greet"]; s.bindir = "bin"; s.executables = ["greet"] }'
)
MAKE_GEM = (
    "mkdir -p g/bin out/gems && cd g && echo 'puts \"hello from ruby\"' > bin/greet && chmod +x bin/greet && "
    f"echo '{GEMSPEC}' > greeter.gemspec && gem build greeter.gemspec -o ../out/gems/greeter-1.0.0.gem && "
    "cd ../out && gem generate_index"
)


def go_module() -> dict[str, bytes]:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("example.test/greet@v1.0.0/go.mod", "module example.test/greet\n")
        archive.writestr("example.test/greet@v1.0.0/main.go", GO_MAIN)
    base = "/go/example.test/greet/@v"
    return {
        f"{base}/list": b"v1.0.0\n",
        f"{base}/v1.0.0.info": json.dumps({"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}).encode(),
        f"{base}/v1.0.0.mod": b"module example.test/greet\n",
        f"{base}/v1.0.0.zip": data.getvalue(),
    }


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_go_and_gem_packages_are_installed_with_tools_that_apt_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    require_bubblewrap()
    real = socket.getaddrinfo
    async with package_index(monkeypatch) as index:
        own = socket.getaddrinfo

        def resolve(host: str, *rest: Any, **options: Any) -> Any:
            return (own if host == "index.test" else real)(host, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        index.pages.update(go_module())
        address = f"http://index.test:{index.port}"
        hosts = ("index.test", *EgressSettings().egress_package_hosts)
        boxes = Bubblewrap(
            tmp_path / "boxes",
            egress=Egress(EgressSettings(egress_private_hosts=hosts)),
            layers=LayerSettings(layer_go_proxy=f"{address}/go", layer_gem_source=f"{address}/gem/"),
            clock=HandClock(),
        )

        async def agent(session_id: str, **packages: list[str]) -> Agent:
            wanted = BoxSpec(session_id, tmp_path / "boxes" / session_id, 1, environment={"packages": packages})
            return Agent(await boxes.open(wanted), wanted)

        try:
            maker = await agent("sesn_1", apt=["golang-go", "ruby"])
            await maker.bash(MAKE_GEM, timeout_ms=300_000)
            out = maker.spec.workdir / "workspace" / "out"
            index.pages.update({f"/gem/{p.relative_to(out)}": p.read_bytes() for p in out.rglob("*") if p.is_file()})
            user = await agent(
                "sesn_2", apt=["golang-go", "ruby"], gem=["greeter:1.0.0"], go=["example.test/greet@v1.0.0"]
            )
            assert await user.bash("command -v greet; greet; /opt/gem/bin/greet; ls /opt/gem/bin /opt/go/bin") == (
                "/opt/go/bin/greet\nhello from go\nhello from ruby\n/opt/gem/bin:\ngreet\n\n/opt/go/bin:\ngreet"
            )
            resolved = {layer["manager"]: layer["resolved"] for layer in await boxes.layers()}
            assert resolved["gem"] == ["greeter-1.0.0"] and resolved["go"] == ["example.test/greet@v1.0.0"]
        finally:
            await boxes.close()
