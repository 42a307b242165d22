"""What a box costs: cold start to the first answered command, a command in a live box, many boxes at once.

`python benchmarks/boxes.py [--quick]` prints JSON. Everything is a ratio to `bwrap … true` with the same walls (the
same namespaces, mounts, filter and user), run in turns with it; `bare` is bubblewrap with one mount and nothing else.
Bars: open to first reply at most 4 times, a command in a live box at most 0.35 times, 100 boxes in at most 4 s and
8 MB each.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from freehold.environments.base import Box, BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.limits import best_limiter

BARE = ["bwrap", "--ro-bind", "/", "/", "true"]
WALLS = [
    *("setpriv", "--reuid=1900000000", "--regid=1900000000", "--clear-groups", "--no-new-privs"),
    *("bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--unshare-net", "--as-pid-1", "--die-with-parent", "--new-session", "--uid", "1000", "--gid", "1000"),
    *("--cap-drop", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"),
    *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/dev/shm"),
    *("--bind", "/tmp", "/workspace", "--remount-ro", "/", "--chdir", "/workspace", "true"),
]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 boxes at once instead of 100")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        boxes = Bubblewrap(Path(folder) / "boxes", limiter=best_limiter())
        try:
            results = await measured(boxes, Path(folder) / "boxes", 20 if asked.quick else 100)
        finally:
            await boxes.close()
    print(json.dumps({"machine": machine(), "results": results}, indent=2))


async def measured(boxes: Bubblewrap, root: Path, many: int) -> dict[str, Any]:
    warm = await answering(boxes, BoxSpec("warm", root / "warm", epoch=1))
    await warm.close()  # the code is compiled, the base is made
    turns: dict[str, list[float]] = {"bare": [], "walls": [], "open_to_first_reply": []}
    for turn in range(20):
        turns["bare"].append(await ms(lambda: started(BARE)))
        turns["walls"].append(await ms(lambda: started(WALLS if os.geteuid() == 0 else WALLS[5:])))
        spec = BoxSpec(f"turn_{turn}", root / f"turn_{turn}", epoch=1)
        begun = time.perf_counter()
        box = await answering(boxes, spec)
        turns["open_to_first_reply"].append((time.perf_counter() - begun) * 1000)
        await box.close()
    medians = {f"{name}_ms": round(statistics.median(taken), 2) for name, taken in turns.items()}
    live = await in_a_live_box(boxes, root)
    crowd = await many_at_once(boxes, root, many)
    walls = medians["walls_ms"]
    ratios = {
        "open_to_first_reply": round(medians["open_to_first_reply_ms"] / walls, 2),
        "bash": round(live["bash_ms"] / walls, 3),
        "read": round(live["read_ms"] / walls, 3),
    }
    return {**medians, **live, **crowd, "ratios_to_walls": ratios}


async def started(argv: list[str]) -> None:
    await asyncio.to_thread(subprocess.run, argv, check=True, stdin=subprocess.DEVNULL)


async def answering(boxes: Bubblewrap, spec: BoxSpec) -> Box:
    box = await boxes.open(spec)
    outcome = await box.call("bash", {"command": "echo hi"}, key="k", epoch=1)
    assert outcome.content[0]["text"] == "hi"
    return box


async def in_a_live_box(boxes: Bubblewrap, root: Path) -> dict[str, float]:
    box = await boxes.open(BoxSpec("live", root / "live", epoch=1))
    await box.call("write", {"file_path": "a", "content": "x\n" * 100}, key="w", epoch=1)
    taken: dict[str, list[float]] = {"bash_ms": [], "read_ms": []}
    for n in range(200):
        taken["bash_ms"].append(await ms(lambda n=n: box.call("bash", {"command": "/bin/true"}, key=f"b{n}", epoch=1)))
        taken["read_ms"].append(await ms(lambda n=n: box.call("read", {"file_path": "a"}, key=f"r{n}", epoch=1)))
    await box.close()
    return {name: round(statistics.median(values), 3) for name, values in taken.items()}


async def many_at_once(boxes: Bubblewrap, root: Path, many: int) -> dict[str, Any]:
    before = available_kb()
    begun = time.perf_counter()
    opened = await asyncio.gather(*(boxes.open(BoxSpec(f"many_{n}", root / f"many_{n}", epoch=1)) for n in range(many)))
    seconds = time.perf_counter() - begun
    each_mb = (before - available_kb()) / 1024 / many
    await asyncio.gather(*(box.close() for box in opened))
    return {"boxes": many, "opened_in_s": round(seconds, 2), "mb_each": round(each_mb, 1)}


async def ms(work: Callable[[], Awaitable[Any]]) -> float:
    begun = time.perf_counter()
    await work()
    return (time.perf_counter() - begun) * 1000


def available_kb() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])


def machine() -> dict[str, Any]:
    bwrap = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "bubblewrap": bwrap,
        "limits": best_limiter().name,
        "load": [round(value, 1) for value in os.getloadavg()],
    }


if __name__ == "__main__":
    asyncio.run(main())
