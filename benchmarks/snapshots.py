"""What a session's files cost to keep and to bring back, beside plain `tar | zstd -1` and its reverse.

`python benchmarks/snapshots.py` prints JSON: a workspace of 100 MB in 5,000 files; medians of 5 turns, in turn with the
plain programs. `unchanged`: a rest after which nothing had changed; `one_changed`: one file had. Bars: `take` and
`restore` at most 1.5 times the plain programs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.snapshots import Snapshots
from freehold.environments.workdirs import Workdir

FILL = (
    "for d in $(seq 50); do mkdir -p $d; for f in $(seq 100); do "
    "{ head -c 10000 /dev/urandom; head -c 10000 /dev/zero; } > $d/$f; done; done"
)
TURNS = 5


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        boxes = Bubblewrap(Path(folder) / "boxes")
        try:
            results = await measured(boxes, Path(folder))
        finally:
            await boxes.close()
    print(json.dumps({"results": results}, indent=2))


async def measured(boxes: Bubblewrap, folder: Path) -> dict[str, Any]:
    workdir, kept = Workdir(folder / "boxes" / "sesn_1"), Snapshots(boxes)
    box = await boxes.open(BoxSpec("sesn_1", workdir.path, epoch=1))
    await box.call("bash", {"command": FILL, "timeout_ms": 600_000}, key="fill", epoch=1)
    await box.close()
    archive, out = folder / "plain.tar.zst", folder / "out"
    taken: dict[str, list[float]] = {}

    async def timed(name: str, work: Callable[[], Awaitable[Any]]) -> None:
        begun = time.perf_counter()
        await work()
        taken.setdefault(name, []).append((time.perf_counter() - begun) * 1000)

    for turn in range(TURNS):
        await timed(
            "tar_zstd", lambda: plain(f"tar -C {workdir.path} -cf - workspace home outputs | zstd -q -1 > {archive}")
        )
        await timed("take", lambda turn=turn: kept.take(workdir, f"whole_{turn}"))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        await timed("zstd_tar", lambda: plain(f"zstd -q -dc {archive} | tar -C {out} -xf -"))
        target = Workdir(folder / "boxes" / f"fork_{turn}")
        await timed("restore", lambda turn=turn, target=target: kept.restore(workdir, f"whole_{turn}", target))
        target.delete()
        await timed("unchanged", lambda: kept.take_if_changed(workdir, "same"))
        (workdir.workspace / "1" / "1").write_bytes(os.urandom(20_000))
        await timed("one_changed", lambda turn=turn: kept.take_if_changed(workdir, f"one_{turn}"))
        await kept.prune(workdir, [])  # so that the next one holds everything
    medians = {f"{name}_ms": round(statistics.median(values), 1) for name, values in taken.items()}
    ratios = {
        "take_to_tar_zstd": round(medians["take_ms"] / medians["tar_zstd_ms"], 2),
        "restore_to_zstd_tar": round(medians["restore_ms"] / medians["zstd_tar_ms"], 2),
    }
    return {**medians, "ratios": ratios}


async def plain(script: str) -> None:
    await asyncio.to_thread(subprocess.run, ["bash", "-o", "pipefail", "-c", script], check=True)


if __name__ == "__main__":
    asyncio.run(main())
