"""Finding and ending processes."""

from __future__ import annotations

import subprocess
import sys

from freehold.environments.supervisor import kernel

TABLE = {1: (0, "S"), 2: (1, "S"), 3: (2, "R"), 4: (1, "Z"), 5: (1, "S"), 6: (5, "S"), 7: (99, "S")}


def test_descendants_are_found_without_the_dead_and_the_kept() -> None:
    assert sorted(kernel.below(1, set(), TABLE)) == [2, 3, 5, 6]
    assert sorted(kernel.below(1, {5}, TABLE)) == [2, 3]
    assert kernel.below(7, set(), TABLE) == []


def test_a_family_that_keeps_forking_is_ended_whole() -> None:
    script = """
import os, subprocess, sys, time
sys.path[:0] = [sys.argv[1]]
from freehold.environments.supervisor import kernel
kernel.adopt_orphans()
forks = "import os, time\\nfor n in range(100000):\\n  os.fork() or os._exit(0)\\n  time.sleep(0.001)"
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", forks], start_new_session=True)
kept = subprocess.Popen(["sleep", "60"])
time.sleep(0.2)
before = kernel.below(os.getpid(), {kept.pid}, kernel.processes())
kernel.end_all({kept.pid})
left = kernel.below(os.getpid(), {kept.pid}, kernel.processes())
assert before
assert kept.poll() is None
kept.kill()
print(left)
"""
    source = kernel.__file__.removesuffix("freehold/environments/supervisor/kernel.py")
    done = subprocess.run([sys.executable, "-c", script, source], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
