"""`freehold batch` against a real server: a folder in, results joined to its files out; too long, refused, resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.launch import ServerProcess
from tests.cli.commands import freehold


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
    assert "3 answers, 0 failed" in done.stderr
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
