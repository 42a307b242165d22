"""Knowledge: how fast documents get in, how fast passages are found, and how often it is the right one.

`python benchmarks/knowledge.py [--quick] [--database URL]` prints JSON. *Speed*: Python files of the interpreter's own
library and of what is installed beside it, until there are 100,000 passages; ingest in passages per CPU second of the
process (its threads together, so of one core), queries by wall time. *Recall*: questions of
`data/knowledge/questions.toml` over this project's documents and the interpreter's library, each with the place of its
answer, which is checked to be there: whether it is among the first ten, by words alone and by words with vectors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from freehold.access.workspaces import Workspaces
from freehold.clock import SystemClock
from freehold.errors import InvalidRequest
from freehold.ids import new_id
from freehold.knowledge.collections import Collections
from freehold.knowledge.ingest import Given, Ingest
from freehold.knowledge.search import MODES, Search
from freehold.knowledge.settings import KnowledgeSettings
from freehold.store.engine import Store
from freehold.store.knowledge import KnowledgeRows
from freehold.store.knowledge_chunks import KnowledgeChunks

HERE = Path(__file__).parent
LIBRARY = Path(sysconfig.get_path("stdlib"))
QUESTIONS = tomllib.loads((HERE / "data/knowledge/questions.toml").read_text("utf-8"))["question"]


class House:
    """Knowledge over a store, without a server around it."""

    def __init__(self, store: Store, workspace_id: str) -> None:
        settings, clock = KnowledgeSettings(), SystemClock()
        self.rows, chunks = KnowledgeRows(store), KnowledgeChunks(store)
        self.collections = Collections(self.rows, chunks, clock=clock, ids=new_id, settings=settings)
        self.ingest = Ingest(self.rows, chunks, clock=clock, ids=new_id, settings=settings)
        self.search = Search(self.rows, chunks)
        self.workspace_id = workspace_id

    async def fill(self, name: str, documents: Iterator[Given], most: int) -> int:
        """Documents until there are `most` passages."""
        row = (await self.collections.create(self.workspace_id, name, "", None)).row
        count = 0
        for given in documents:
            try:
                count += (await self.ingest.add(row, given)).document.chunks
            except InvalidRequest:  # an empty file
                continue
            if count >= most:
                break
        return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.database or f"sqlite:///{folder}/knowledge.db"
        print(json.dumps(asyncio.run(measured(url, 5_000 if given.quick else 100_000)), indent=2))


async def measured(url: str, most: int) -> dict[str, Any]:
    store = await Store.open(url, clock=SystemClock())
    try:
        workspace = await Workspaces(store, clock=SystemClock(), ids=new_id).create(new_id("bench"))
        house = House(store, workspace.id)
        return {"database": store.dialect, **await speed(house, most), "recall": await recall(house)}
    finally:
        await store.close()


async def speed(house: House, most: int) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    count = await house.fill("python", python_files(), most)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    times = []
    for question in [one["ask"] for one in QUESTIONS] * 3:
        began = time.perf_counter()
        await house.search.find(house.workspace_id, question, ["python"], 10)
        times.append((time.perf_counter() - began) * 1000)
    times = times[len(QUESTIONS) :]
    return {
        "ingest": {
            "passages": count,
            "passages_per_cpu_s": round(count / cpu_s),
            "passages_per_s": round(count / wall_s),
        },
        "query_ms": {
            "p50": round(statistics.median(times), 1),
            "p90": round(statistics.quantiles(times, n=10)[-1], 1),
            "queries": len(times),
        },
    }


async def recall(house: House) -> dict[str, Any]:
    await house.fill("answers", answering(), 10**9)
    modes = {mode: [await rank(house, one, mode) for one in QUESTIONS] for mode in MODES}
    languages = [one.get("language", "en") for one in QUESTIONS]
    return {
        mode: {
            language: summed(
                [rank for rank, spoken in zip(ranks, languages, strict=True) if language in (spoken, "all")]
            )
            for language in ("all", *sorted(set(languages)))
        }
        for mode, ranks in modes.items()
    }


async def rank(house: House, question: dict[str, Any], mode: str) -> int | None:
    """At which place the answer stands, from 1."""
    found = await house.search.find(house.workspace_id, question["ask"], ["answers"], 10, mode)
    for place, passage in enumerate(found, 1):
        if passage.name == question["in"] and question["says"] in " ".join(passage.text.split()):
            return place
    return None


def summed(ranks: Sequence[int | None]) -> dict[str, Any]:
    found = [rank for rank in ranks if rank is not None]
    return {
        "questions": len(ranks),
        "recall_at_10": round(len(found) / len(ranks), 3),
        "recall_at_1": round(found.count(1) / len(ranks), 3),
        "mrr": round(sum(1 / rank for rank in found) / len(ranks), 3),
    }


def answering() -> Iterator[Given]:
    """This project's documents and the interpreter's own library, without its tests."""
    root = HERE.parent
    for path in sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")]):
        yield Given(path.relative_to(root).as_posix(), path.read_bytes())
    for path in sorted([*LIBRARY.glob("*.py"), *LIBRARY.glob("*/*.py")]):
        if not {"test", "site-packages", "idlelib", "lib2to3", "tests"} & set(path.relative_to(LIBRARY).parts):
            yield Given(f"python/{path.relative_to(LIBRARY).as_posix()}", path.read_bytes())


def python_files() -> Iterator[Given]:
    """Every Python file that there is, the library's first."""
    for root in dict.fromkeys([LIBRARY, Path(sysconfig.get_path("purelib"))]):
        for folder, _, names in os.walk(root):
            for name in sorted(names):
                path = Path(folder) / name
                if name.endswith(".py") and path.is_file():
                    yield Given(path.relative_to(root).as_posix(), path.read_bytes())


if __name__ == "__main__":
    main()
