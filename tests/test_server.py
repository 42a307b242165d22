"""Two servers on one data folder, and where the command line finds one of them."""

from __future__ import annotations

import json
from pathlib import Path

from freehold.launch import ServerProcess


def address(data: Path) -> str:
    found: str = json.loads((data / "server.json").read_text("utf-8"))["address"]
    return found


def test_a_second_server_leaves_the_note_of_the_first_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServerProcess(data, arguments=["--upstream=simulator"]) as first:
        with ServerProcess(data, arguments=["--upstream=simulator"]) as second:
            assert second.address != first.address
            assert address(data) == first.address
        assert address(data) == first.address
        first.kill()
        assert address(data) == first.address
        first.start()
        assert address(data) == first.address
    assert not (data / "server.json").exists()
