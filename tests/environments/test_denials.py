"""What a box did not get is written down, shown, and bounded."""

from __future__ import annotations

from pathlib import Path

from freehold import testing
from freehold.clock import SystemClock
from freehold.environments.denials import Denials
from freehold.environments.egress import Denial
from freehold.environments.workdirs import Workdirs
from tests.agents.house import Script, calls, text
from tests.agents.stage import another
from tests.environments.conftest import require_bubblewrap


async def test_who_runs_a_session_sees_what_its_box_was_denied() -> None:
    require_bubblewrap()
    ask = "curl -s -o /dev/null -m 20 http://evil.test/; curl -s -m 20 https://10.0.0.1/; true"
    async with testing.server(upstream=Script([calls(("bash", {"command": ask})), text("done")])) as running:
        stage = await another(running, {"networking": {"type": "limited", "allowed_hosts": ["good.test"]}})
        await stage.turn(1)
        path = f"/freehold/v1/sessions/{stage.session}/denied"
        found = (await stage.client.get(path, cast_to=dict[str, list[dict[str, str]]]))["data"]
        assert [entry["target"].split(":")[0] for entry in found] == ["10.0.0.1", "evil.test"]
        assert all(entry["reason"] and entry["at"].endswith("Z") for entry in found)
        one = await stage.client.get(f"{path}?limit=1", cast_to=dict[str, list[dict[str, str]]])
        assert one["data"] == found[:1]


async def test_an_agent_that_asks_without_end_fills_no_disk(tmp_path: Path) -> None:
    workdirs = Workdirs(tmp_path)
    workdirs.of("sesn_1").make()
    denials = Denials(workdirs, SystemClock())
    for number in range(3_000):
        denials(Denial("sesn_1", f"{number} " + "é" * 1_000, "not allowed"))
    kept = sum(path.stat().st_size for path in workdirs.of("sesn_1").path.glob("denied*"))
    assert kept < 600_000
    newest = await denials.of("sesn_1", 2)
    assert [one.target.split()[0] for one in newest] == ["2999", "2998"]
    assert await denials.of("sesn_2", 2) == []
