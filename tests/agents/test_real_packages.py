"""Real packages from the real registries in real boxes: what each costs the first session, and the second.

The result is written to `benchmarks/results/packages.json`. Registries may stand behind mirrors with private addresses.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.run import about
from freehold import testing
from freehold.environments.networking import EgressSettings
from tests.agents.house import Script, calls, text
from tests.agents.stage import another
from tests.environments.conftest import require_bubblewrap

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "packages.json"
PACKAGES: dict[str, list[str]] = {"apt": ["jq", "tree"], "npm": ["semver@7.6.0"], "pip": ["requests==2.32.3"]}
USE = (
    "echo '{\"a\": 3}' | jq .a && tree --version | cut -d' ' -f1 && semver 1.2.3 -i minor && "
    "python3 -c 'import requests; print(requests.__version__)'"
)
USED = "3\ntree\n1.3.0\n2.32.3"
DENIED = "curl -s -o /dev/null -w '%{http_code}' http://example.com/ || true"


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_real_packages_are_used_under_limited_networking_and_installed_once(
    request: pytest.FixtureRequest,
) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    require_bubblewrap()
    hosts = list(EgressSettings().egress_package_hosts)
    turn = [calls(("bash", {"command": USE}), ("bash", {"command": DENIED})), text("done")]
    script = Script([*turn, *turn])
    config: Any = {"networking": {"type": "limited", "allow_package_managers": True}, "packages": PACKAGES}
    async with testing.server(upstream=script, settings={"egress_private_hosts": hosts}) as running:
        first = await another(running, config)
        environments = [one.id async for one in running.client.beta.environments.list()]
        began = time.monotonic()
        built = await running.client.post(f"/freehold/v1/environments/{environments[0]}/build", cast_to=str)
        installed_s = time.monotonic() - began
        lines = [json.loads(line) for line in str(built).splitlines()]
        assert lines[-1]["type"] == "built", lines[-1]
        seconds = []
        for session in (first, await another(running, config)):
            began = time.monotonic()
            used, denied = await session.turn(1)
            seconds.append(time.monotonic() - began)
            assert (used.strip(), denied.strip()) == (USED, "403")
        again = await running.client.post(f"/freehold/v1/environments/{environments[0]}/build", cast_to=str)
        states = [json.loads(line).get("state") for line in str(again).splitlines()]
        assert states == ["ready"] * len(PACKAGES) + [None]
        layers = (await running.client.get("/freehold/v1/layers", cast_to=dict[str, Any]))["data"]
    kept = [{name: layer[name] for name in ("manager", "packages", "resolved", "size_bytes")} for layer in layers]
    result = {"installed_s": installed_s, "sessions_s": seconds, "layers": kept}
    RESULTS.write_text(json.dumps({"about": about(), "result": result}, indent=2) + "\n", "utf-8")
