"""`freehold batch` against a real server: a folder in, results joined to its files out; too long, refused, resumed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic

from freehold.launch import ServerProcess
from tests.batches.house import message, until
from tests.cli.commands import freehold
from tests.scripted_upstream import Line, Request, scripted


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), arguments=["--upstream", "simulator"]) as process:
        yield process


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_folder_of_files_becomes_results_under_their_names(running: ServerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.txt", "a.txt", "合同.txt"):
        (folder / name).write_text(f"文件 {name} 的内容", "utf-8")
    out = tmp_path / "out.jsonl"
    done = freehold("batch", "run", folder, "--out", out, "--prompt", "{file}: {text}", "--data", running.data)
    assert done.returncode == 0, done.stderr
    assert [(line["name"], line["ok"]) for line in lines(out)] == [("a.txt", True), ("b.txt", True), ("合同.txt", True)]
    assert "3 answers, none failed" in done.stderr
    assert not out.with_name("out.jsonl.run").exists()


def test_an_answer_that_is_too_long_is_asked_for_once_more_and_then_told(
    running: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("id,question\none,你好\n", "utf-8")
    out = tmp_path / "out.jsonl"
    asked = ("--prompt", "{question}", "--max-chars", "3", "--data", running.data)
    done = freehold("batch", "run", tmp_path / "in.csv", "--out", out, *asked)
    assert done.returncode == 1
    assert "1 answers failed or did not fit; they are asked for once more." in done.stderr
    [line] = lines(out)
    assert (line["name"], line["ok"]) == ("one", False)
    assert line["error"] == f"has {len(line['text'])} characters, more than 3"


def test_what_is_wrong_with_the_input_is_told_with_its_place(running: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a":1}\nnot json\n', "utf-8")
    out = ("--out", tmp_path / "out.jsonl", "--data", running.data)
    done = freehold("batch", "run", tmp_path / "in.jsonl", "--prompt", "{a}", *out)
    assert (done.returncode, "in.jsonl, line 2: is not JSON" in done.stderr) == (2, True)
    done = freehold("batch", "run", tmp_path / "in.jsonl", "--prompt", "{b}", *out)
    assert "row 1: the prompt names {b}; the row has: a" in done.stderr
    (tmp_path / "bad.jsonl").write_text('{"custom_id":"x","params":{"model":"m","max_tokens":"many","messages":[]}}\n')
    done = freehold("batch", "run", tmp_path / "bad.jsonl", "--check", *out)
    assert (done.returncode, "row x: " in done.stderr, "max_tokens" in done.stderr) == (2, True, True)
    done = freehold("batch", "run", tmp_path / "in.jsonl", "--resume", "--prompt", "{a}", *out)
    assert done.returncode == 2


def test_a_run_that_was_broken_off_goes_on_with_its_batch(running: ServerProcess, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"text":"number {i}"}}\n' for i in range(20)), "utf-8")
    assert freehold("batch", "run", source, "--out", out, "--data", running.data).returncode == 0
    listed = json.loads(freehold("batch", "list", "--json", "--data", running.data).stdout)
    from freehold.cli.batch_run.inputs import rows
    from freehold.cli.batch_run.notes import Notes, fingerprint, place
    from freehold.cli.batch_run.plan import Plan, requests

    made = fingerprint(requests(Plan("claude-haiku-4-5"), rows(source)))
    Notes(made, [listed[0]["id"]], True).write(place(out))
    first = out.read_text("utf-8")
    out.unlink()
    done = freehold("batch", "run", source, "--out", out, "--resume", "--data", running.data)
    assert done.returncode == 0, done.stderr
    assert out.read_text("utf-8") == first
    again = json.loads(freehold("batch", "list", "--json", "--data", running.data).stdout)
    assert [one["id"] for one in again] == [one["id"] for one in listed], "nothing was sent again"


def test_results_wait_for_the_end_and_status_and_cancel_tell(running: ServerProcess, tmp_path: Path) -> None:
    listed = json.loads(freehold("batch", "list", "--json", "--data", running.data).stdout)
    batch_id = listed[0]["id"]
    got = freehold("batch", "results", batch_id, "--wait", "--data", running.data)
    assert len(got.stdout.splitlines()) == listed[0]["request_counts"]["succeeded"]
    assert json.loads(freehold("batch", "status", batch_id, "--data", running.data).stdout)["waiting"] == 0
    assert "is ended" in freehold("batch", "cancel", batch_id, "--data", running.data).stdout


def test_only_what_failed_is_asked_for_again_and_the_rest_stays_as_it_is(
    running: ServerProcess, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("id,question,tokens\na,one,64\nb,two,64\nc,three,64\n", "utf-8")
    asked = ("--prompt", "{question}", "--data", running.data)
    assert freehold("batch", "run", source, "--out", out, *asked).returncode == 0
    first = lines(out)
    changed = [*first[:1], {"name": "b", "ok": False, "error": "as told"}, *first[2:]]
    out.write_text("".join(json.dumps(line) + "\n" for line in changed), "utf-8")
    done = freehold("batch", "run", source, "--out", out, "--failed", *asked)
    assert done.returncode == 0, done.stderr
    assert lines(out) == first
    newest = json.loads(freehold("batch", "list", "--json", "--data", running.data).stdout)[0]
    assert newest["request_counts"]["succeeded"] == 1, "one row was asked for, not three"


def test_what_may_cost_more_than_allowed_is_refused_where_nobody_can_be_asked(
    running: ServerProcess, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"text":"the number {i}"}}\n' for i in range(30)), "utf-8")
    asked = ("--prompt", "Say it in words: {text}", "--data", running.data)
    before = freehold("batch", "list", "--json", "--data", running.data).stdout
    done = freehold("batch", "run", source, "--out", out, "--max-dollars", "0.0001", *asked)
    assert (done.returncode, "refused: it may cost up to $" in done.stderr, out.exists()) == (1, True, False)
    assert freehold("batch", "list", "--json", "--data", running.data).stdout == before, "nothing was sent"
    found = json.loads(freehold("batch", "estimate", source, "--json", *asked).stdout)
    assert (found["basis"], found["requests"], found["counted"]) == ("bounds", 30, 30)
    probed = freehold("batch", "estimate", source, "--probe", "15", *asked)
    assert (probed.returncode, "from 15 calls of this kind" in probed.stderr) == (0, True), probed.stderr
    done = freehold("batch", "run", source, "--out", out, "--max-dollars", "5", *asked)
    assert done.returncode == 0, done.stderr
    assert "forecast $" in done.stderr and "time of a call" in done.stderr and "cost of a call" in done.stderr


def test_a_parquet_table_is_read_row_by_row(running: ServerProcess, tmp_path: Path) -> None:
    import pyarrow as arrow  # type: ignore[import-untyped,unused-ignore]
    from pyarrow import parquet

    table = arrow.table({"id": ["x", "y"], "word": ["eins", "zwei"]})
    parquet.write_table(table, tmp_path / "in.parquet")
    out = tmp_path / "out.jsonl"
    asked = ("--prompt", "Translate {word}", "--data", running.data)
    done = freehold("batch", "run", tmp_path / "in.parquet", "--out", out, *asked)
    assert done.returncode == 0, done.stderr
    assert [(line["name"], line["ok"]) for line in lines(out)] == [("x", True), ("y", True)]


def test_every_answer_fits_the_schema_and_stands_as_json_beside_its_text(
    running: ServerProcess, tmp_path: Path
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    (tmp_path / "schema.json").write_text(json.dumps({**schema, "additionalProperties": False}), "utf-8")
    (tmp_path / "in.jsonl").write_text('{"text":"Berlin"}\n{"text":"北京"}\n', "utf-8")
    out = tmp_path / "out.jsonl"
    asked = ("--schema", tmp_path / "schema.json", "--data", running.data)
    done = freehold("batch", "run", tmp_path / "in.jsonl", "--out", out, *asked)
    assert done.returncode == 0, done.stderr
    assert all(set(line["json"]) == {"city"} for line in lines(out))
    (tmp_path / "schema.json").write_text('{"type":"nonsense"}', "utf-8")
    done = freehold("batch", "run", tmp_path / "in.jsonl", "--out", out, *asked)
    assert (done.returncode, "is no JSON schema" in done.stderr) == (2, True)


def test_each_row_is_a_session_of_an_agent_with_a_budget_of_its_own(running: ServerProcess, tmp_path: Path) -> None:
    with Anthropic(base_url=running.address, api_key=running.key) as client:
        agent = client.beta.agents.create(name="clerk", model="claude-haiku-4-5")
    (tmp_path / "in.csv").write_text("id,question\na,Say hello\nb,Say goodbye\nc,Say nothing\n", "utf-8")
    out = tmp_path / "out.jsonl"
    asked = ("--agent", agent.id, "--prompt", "{question}", "--data", running.data)
    done = freehold("batch", "run", tmp_path / "in.csv", "--out", out, "--row-dollars", "0.50", *asked)
    assert done.returncode == 0, done.stderr
    found = lines(out)
    assert [(line["name"], line["ok"]) for line in found] == [("a", True), ("b", True), ("c", True)]
    assert len({line["session"] for line in found}) == 3
    assert all(line["text"] and line["cost_nanodollars"] > 0 for line in found)
    budgets = json.loads(freehold("budgets", "show", "--json", "--data", running.data).stdout)
    assert {line["session"] for line in found} <= {budget["scope_id"] for budget in budgets}
    done = freehold("batch", "run", tmp_path / "in.csv", "--out", out, "--row-dollars", "0", *asked)
    assert done.returncode == 1
    assert all("budget" in line["error"].lower() for line in lines(out)), lines(out)


async def test_ctrl_c_leaves_the_batch_at_the_server_and_resume_goes_on_with_it(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"text":"number {i}"}}\n' for i in range(40)), "utf-8")
    gate = asyncio.Event()

    async def answer(_: Request, line: Line) -> None:
        await gate.wait()
        await line.answer(200, message("fine"))

    async with scripted(answer) as upstream:
        server = ServerProcess(tmp_path / "data", arguments=["--upstream", upstream.url])
        await asyncio.to_thread(server.start)
        try:
            command = [sys.executable, "-m", "freehold", "batch", "run", source, "--out", out, "--data", server.data]
            process = await asyncio.create_subprocess_exec(*map(str, command), stderr=asyncio.subprocess.PIPE)
            notes = out.with_name("out.jsonl.run")
            await until(lambda: notes.exists() and json.loads(notes.read_text("utf-8"))["first_sent"], 30)
            process.send_signal(signal.SIGINT)
            _, told = await asyncio.wait_for(process.communicate(), 60)
            assert (process.returncode, b"--resume" in told) == (130, True), told
            gate.set()
            done = await asyncio.to_thread(
                freehold, "batch", "run", source, "--out", out, "--resume", "--data", server.data
            )
            assert done.returncode == 0, done.stderr
            assert [line["ok"] for line in lines(out)] == [True] * 40
            listed = await asyncio.to_thread(freehold, "batch", "list", "--json", "--data", server.data)
            assert len(json.loads(listed.stdout)) == 1, "nothing was sent twice"
        finally:
            await asyncio.to_thread(server.kill)


async def test_a_chinese_answer_that_is_too_long_is_shortened_when_it_is_asked_for_again(tmp_path: Path) -> None:
    """Characters are counted, not bytes and not tokens: 100 of them are 300 bytes."""
    folder, out = tmp_path / "合同", tmp_path / "out.jsonl"
    folder.mkdir()
    for name in ("租赁合同", "劳动合同", "买卖合同"):
        (folder / f"{name}.txt").write_text(f"{name}：甲方与乙方约定如下。" * 20, "utf-8")

    async def answer(request: Request, line: Line) -> None:
        messages = request.json()["messages"]
        long = len(messages) == 1 and "劳动" in messages[0]["content"]
        if len(messages) > 1:
            assert "That has 130 characters; at most 100 are allowed" in messages[-1]["content"]
        await line.answer(200, message("摘要" * (65 if long else 50)))

    async with scripted(answer) as upstream:
        server = ServerProcess(tmp_path / "data", arguments=["--upstream", upstream.url])
        await asyncio.to_thread(server.start)
        try:
            asked = ("--prompt", "用不超过100个字概括：{text}", "--max-chars", "100", "--data", server.data)
            done = await asyncio.to_thread(freehold, "batch", "run", folder, "--out", out, *asked)
        finally:
            await asyncio.to_thread(server.kill)
    assert done.returncode == 0, done.stderr
    assert "1 answers failed or did not fit; they are asked for once more." in done.stderr
    assert [(line["name"], len(line["text"])) for line in lines(out)] == [
        (f"{name}.txt", 100) for name in ("买卖合同", "劳动合同", "租赁合同")
    ]
