"""Locks that die with their process: known dead at once, never known dead too early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from freehold.ids import new_id
from freehold.jobs.owners import Owners

HOLDER = """
import sys, time
from pathlib import Path
from freehold.ids import new_id
from freehold.jobs.owners import Owners
owners = Owners(Path(sys.argv[1]), new_id)
print(owners.name, flush=True)
time.sleep(60)
"""


def test_a_live_owner_is_not_dead_and_a_killed_one_is_at_once(tmp_path: Path) -> None:
    mine = Owners(tmp_path, new_id)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        other = process.stdout.readline().strip()
        try:
            assert mine.dead([mine.name, other]) == []
            assert mine.gone() == []
        finally:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    assert mine.dead([mine.name, other]) == [other]
    assert mine.gone() == [other]
    mine.forget([other])
    assert mine.gone() == []
    mine.close()


def test_nothing_is_known_of_an_owner_on_another_machine(tmp_path: Path) -> None:
    mine = Owners(tmp_path, new_id)
    assert mine.dead(["elsewhere.srv_1", "../../etc/passwd", ".hidden", ""]) == []
    mine.close()
    assert list(tmp_path.iterdir()) == []
