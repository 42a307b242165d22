"""What every kind of box must do; run against each."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path

import pytest

from freehold.environments.base import BoxDied, Boxes, Fenced, Limits
from tests.environments.live import Agent, agent, processes_with, spec, text, until


async def test_a_command_prints_what_it_prints(model: Agent) -> None:
    assert await model.bash("echo hello; echo wörld >&2") == "hello\nwörld"


async def test_a_command_that_prints_nothing_still_answers(model: Agent) -> None:
    assert await model.bash("true") == "(no output)"


async def test_a_command_that_fails_is_an_error_with_its_output_and_status(model: Agent) -> None:
    outcome = await model.call("bash", command="echo before; exit_with() { return 7; }; exit_with")
    assert outcome.is_error
    assert text(outcome) == "before\n[exit status 7]"


async def test_the_shell_keeps_directory_variables_functions_and_jobs(model: Agent) -> None:
    await model.bash("mkdir -p sub; cd sub; x='a b'; greet() { echo hi $1; }; sleep 300 & echo started")
    assert await model.bash('basename "$PWD"; echo "$x"; greet you; jobs -r | wc -l') == "sub\na b\nhi you\n1"


async def test_an_open_quote_is_a_syntax_error_and_the_shell_stays(model: Agent) -> None:
    await model.bash("x=5")
    outcome = await model.call("bash", command="echo 'open", timeout_ms=10_000)
    assert outcome.is_error
    assert "unexpected EOF" in text(outcome)
    assert await model.bash("echo $x") == "5"


async def test_a_heredoc_and_quotes_of_every_kind_arrive_as_they_are(model: Agent) -> None:
    command = "cat <<'END'\nit's \"quoted\" $HOME \\ `x`\nEND\necho 'a'\\''b'"
    assert await model.bash(command) == "it's \"quoted\" $HOME \\ `x`\na'b"


async def test_a_command_that_reads_its_input_gets_none(model: Agent) -> None:
    assert await model.bash("cat; read -r line || echo nothing", timeout_ms=5000) == "nothing"


async def test_a_command_that_exits_takes_the_shell_along_and_the_next_one_is_told(model: Agent) -> None:
    await model.bash("x=5")
    outcome = await model.call("bash", command="echo bye; exit 4")
    assert outcome.is_error
    assert "bye" in text(outcome)
    assert "exit status 4" in text(outcome)
    said = await model.bash('echo "x=$x"')
    assert "new shell" in said
    assert said.endswith("x=")
    assert "new shell" not in await model.bash("echo again")


async def test_a_command_that_takes_too_long_is_ended_with_all_its_children(model: Agent) -> None:
    marker = f"31536{time.monotonic_ns() % 10**9}"
    outcome = await model.call(
        "bash",
        command=f"echo begun; trap '' TERM INT HUP; (trap '' TERM; setsid sleep {marker}) & sleep {marker}",
        timeout_ms=500,
    )
    assert outcome.is_error
    assert text(outcome).startswith("begun\n")
    assert "timed out after 0.5 s" in text(outcome)
    until(lambda: not processes_with(marker))
    assert "fresh" in await model.bash("echo fresh")


async def test_restart_ends_what_runs_and_begins_anew(model: Agent) -> None:
    await model.bash("x=5; sleep 300 &")
    outcome = await model.call("bash", restart=True)
    assert not outcome.is_error
    assert await model.bash('echo "x=$x"; jobs | wc -l') == "x=\n0"


async def test_of_long_output_both_ends_are_kept_and_all_is_counted(boxes: Boxes, root: Path) -> None:
    model = await agent(boxes, spec(root, limits=Limits(output_bytes=2000)))
    said = await model.bash("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert said.startswith("first\nxxx")
    assert said.endswith("xxx\nlast")
    assert "of 5000012 bytes" in said
    assert len(said) < 2200


async def test_a_very_long_result_goes_to_a_file_of_the_workspace(boxes: Boxes, root: Path) -> None:
    model = await agent(boxes, spec(root, limits=Limits(output_bytes=400_000)))
    said = await model.bash("seq 1 50000")
    assert len(said) < 45_000
    assert said.startswith("1\n2\n")
    assert said.endswith("49999\n50000")
    path = next(word for word in said.split() if ".tool-results/" in word).rstrip(",;")
    assert text(await model.call("read", file_path=path, view_range=[25_000, 25_000])) == " 25000\t25000\n"


async def test_commands_wait_for_each_other_and_file_tools_do_not(model: Agent) -> None:
    slow = asyncio.create_task(model.bash("until [ -e go ]; do :; done; echo one >> order"))
    second = asyncio.create_task(model.bash("echo two >> order; cat order"))
    await model.call("write", file_path="go", content="")
    await slow
    assert await second == "one\ntwo"


async def test_a_cancelled_call_is_ended_and_the_box_goes_on(model: Agent) -> None:
    marker = f"31537{time.monotonic_ns() % 10**9}"
    task = asyncio.create_task(model.bash(f"touch begun; sleep {marker}"))
    while "begun" not in text(await model.call("glob", pattern="begun")):
        pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "alive" in await model.bash("echo alive")
    until(lambda: not processes_with(marker))


async def test_write_read_and_edit_agree(model: Agent) -> None:
    wrote = await model.call("write", file_path="deep/er/a.txt", content="one\ntwo\nthree\n")
    assert text(wrote) == "wrote 14 bytes to deep/er/a.txt"
    edited = await model.call("edit", file_path="/workspace/deep/er/a.txt", old_string="two", new_string="zwei")
    assert text(edited) == "edited /workspace/deep/er/a.txt (1 replacement)"
    assert text(await model.call("read", file_path="deep/er/a.txt")) == "     1\tone\n     2\tzwei\n     3\tthree\n"


async def test_read_gives_a_range_of_lines(model: Agent) -> None:
    await model.call("write", file_path="a", content="".join(f"line {n}\n" for n in range(1, 101)))
    assert text(await model.call("read", file_path="a", view_range=[99, -1])) == "    99\tline 99\n   100\tline 100\n"
    assert text(await model.call("read", file_path="a", view_range=[2, 2])) == "     2\tline 2\n"
    assert "fewer than 500" in text(await model.call("read", file_path="a", view_range=[500, 510]))


async def test_read_refuses_more_than_it_shows_and_says_how_to_go_on(model: Agent) -> None:
    await model.call("write", file_path="big", content="x" * 99 + "\n" + "y" * (300 << 10))
    outcome = await model.call("read", file_path="big")
    assert outcome.is_error
    assert "view_range" in text(outcome)
    assert text(await model.call("read", file_path="big", view_range=[1, 1])) == "     1\t" + "x" * 99 + "\n"
    assert (await model.call("read", file_path="big", view_range=[2, 2])).is_error


@pytest.mark.parametrize(
    ("name", "data", "kind", "block"),
    [
        ("a.PNG", b"\x89PNG\x00", "image/png", "image"),
        ("b.png", b"\xff\xd8\xff\x00", "image/jpeg", "image"),
        ("c.pdf", b"%PDF-1.7", "application/pdf", "document"),
    ],
)
async def test_read_shows_images_and_pdfs_as_blocks(
    model: Agent, name: str, data: bytes, kind: str, block: str
) -> None:
    await model.bash(f"echo {base64.b64encode(data).decode()} | base64 -d > {name}")
    (shown,) = (await model.call("read", file_path=name)).content
    assert shown["type"] == block
    assert shown["source"]["media_type"] == kind
    assert base64.b64decode(shown["source"]["data"]) == data


async def test_read_says_what_is_called_an_image_and_is_none(model: Agent) -> None:
    await model.bash("echo '<html>not found' > logo.png")
    outcome = await model.call("read", file_path="logo.png")
    assert outcome.is_error and "no image or PDF" in text(outcome)


async def test_read_says_what_is_no_text(model: Agent) -> None:
    await model.bash("printf '\\xff\\xfe' > blob; mkdir folder; touch empty")
    assert "not UTF-8" in text(await model.call("read", file_path="blob"))
    assert "is a directory" in text(await model.call("read", file_path="folder"))
    assert "no such file" in text(await model.call("read", file_path="missing"))
    assert text(await model.call("read", file_path="empty")) == "(the file is empty)"


async def test_edit_wants_a_single_match_unless_told_otherwise(model: Agent) -> None:
    await model.call("write", file_path="a", content="x x x")
    many = await model.call("edit", file_path="a", old_string="x", new_string="y")
    assert many.is_error
    assert "appears 3 times" in text(many)
    assert "not found" in text(await model.call("edit", file_path="a", old_string="z", new_string="y"))
    done = await model.call("edit", file_path="a", old_string="x", new_string="y", replace_all=True)
    assert text(done) == "edited a (3 replacements)"


async def test_write_keeps_the_mode_of_a_file(model: Agent) -> None:
    await model.bash("echo old > run.sh; chmod 750 run.sh")
    await model.call("write", file_path="run.sh", content="echo new\n")
    assert await model.bash("stat -c %a run.sh; ./run.sh") == "750\nnew"


async def test_glob_lists_the_newest_first_and_counts_the_rest(model: Agent) -> None:
    await model.bash("mkdir s; for n in $(seq 1 210); do touch -d @$n s/f$n.py; done; touch s/other.txt")
    lines = text(await model.call("glob", pattern="**/*.py")).splitlines()
    assert lines[:2] == ["/workspace/s/f210.py", "/workspace/s/f209.py"]
    assert lines[200:] == ["[10 older matches are not shown; narrow the pattern]"]
    assert text(await model.call("glob", pattern="*.none")) == "no matches"
    assert (await model.call("glob", pattern="../*")).is_error


async def test_grep_gives_file_line_and_text(model: Agent) -> None:
    await model.call("write", file_path="s/a.py", content="import os\nprint(os.name)\n")
    await model.call("write", file_path="s/b.py", content="nothing\n")
    found = "/workspace/s/a.py:1:import os\n/workspace/s/a.py:2:print(os.name)"
    assert text(await model.call("grep", pattern=r"\bos\b")) == found
    assert text(await model.call("grep", pattern=r"\bos\b", path="s/a.py")) == found
    assert text(await model.call("grep", pattern="absent")) == "no matches"
    assert (await model.call("grep", pattern="(")).is_error
    assert (await model.call("grep", pattern="x", path="missing")).is_error


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "/proc/self/environ", "link/passwd", "/workspace/../etc/passwd", "", "\ud800"],
)
async def test_file_tools_do_not_leave_the_sessions_folders(model: Agent, path: str) -> None:
    await model.bash("ln -s /etc link; ln -s loop loop")
    for outcome in (
        await model.call("read", file_path=path),
        await model.call("write", file_path=path, content="x"),
        await model.call("edit", file_path=path, old_string="root", new_string="x"),
        await model.call("grep", pattern="root", path=path or "/etc"),
        await model.call("glob", pattern="*", path=path or "/etc"),
    ):
        assert outcome.is_error, text(outcome)
        assert "outside" in text(outcome) or "required" in text(outcome) or "is not a path" in text(outcome)


async def test_a_fifo_or_a_loop_of_links_is_refused_without_waiting(model: Agent) -> None:
    await model.bash("mkfifo pipe; ln -s loop loop")
    for path in ("pipe", "loop"):
        assert (await model.call("read", file_path=path)).is_error
        assert (await model.call("edit", file_path=path, old_string="a", new_string="b")).is_error
        assert (await model.call("write", file_path=path, content="b")).is_error


async def test_uploads_can_be_read_and_not_written(boxes: Boxes, root: Path) -> None:
    wanted = spec(root)
    model = await agent(boxes, wanted)
    (wanted.workdir / "uploads" / "data.csv").write_text("a,b\n1,2\n")
    assert "1,2" in text(await model.call("read", file_path="/mnt/session/uploads/data.csv"))
    outcome = await model.call("write", file_path="/mnt/session/uploads/data.csv", content="x")
    assert outcome.is_error
    assert "read-only" in text(outcome)


async def test_outputs_reach_the_host(boxes: Boxes, root: Path) -> None:
    wanted = spec(root)
    model = await agent(boxes, wanted)
    await model.call("write", file_path="/mnt/session/outputs/report.md", content="# done")
    assert (wanted.workdir / "outputs" / "report.md").read_text() == "# done"


async def test_wrong_input_is_answered_with_what_to_change(model: Agent) -> None:
    assert text(await model.call("bash")) == "bash: command is required (or restart: true)"
    assert "timeout_ms must be a whole number" in text(await model.call("bash", command="true", timeout_ms="soon"))
    assert text(await model.call("read")) == "read: file_path is required"
    assert "there is no field 'paht'" in text(await model.call("grep", pattern="x", paht="y"))


async def test_files_outlive_the_box_and_its_shell_does_not(boxes: Boxes, root: Path) -> None:
    first = await agent(boxes, spec(root))
    await first.bash("echo kept > a; echo mine > ~/b; x=5")
    await first.box.close()
    assert not first.box.alive
    second = await agent(boxes, spec(root))
    assert await second.bash('cat a ~/b; echo "x=$x"') == "kept\nmine\nx="


async def test_a_closed_box_leaves_no_process(boxes: Boxes, root: Path) -> None:
    marker = f"31538{time.monotonic_ns() % 10**9}"
    model = await agent(boxes, spec(root))
    await model.bash(f"setsid nohup sleep {marker} >/dev/null 2>&1 & sleep {marker} & true")
    until(lambda: bool(processes_with(marker)))
    await model.box.close()
    until(lambda: not processes_with(marker))


async def test_a_call_of_a_closed_box_is_told_so(boxes: Boxes, root: Path) -> None:
    model = await agent(boxes, spec(root))
    await model.box.close()
    with pytest.raises(BoxDied):
        await model.bash("true")


async def test_a_call_that_runs_when_the_box_is_closed_ends(boxes: Boxes, root: Path) -> None:
    model = await agent(boxes, spec(root))
    task = asyncio.create_task(model.bash("touch begun; sleep 300"))
    while "begun" not in text(await model.call("glob", pattern="begun")):
        pass
    await model.box.close()
    with pytest.raises(BoxDied):
        await task


async def test_a_lower_epoch_is_refused_by_the_box_and_at_opening(boxes: Boxes, root: Path) -> None:
    model = await agent(boxes, spec(root, epoch=5))
    await model.box.call("bash", {"command": "true"}, key="k", epoch=7)
    with pytest.raises(Fenced):
        await model.box.call("bash", {"command": "touch stale"}, key="k2", epoch=6)
    assert text(await model.box.call("glob", {"pattern": "stale"}, key="k3", epoch=7)) == "no matches"
    with pytest.raises(Fenced):
        await boxes.open(spec(root, epoch=4))


async def test_a_newer_owner_ends_the_box_of_the_older(boxes: Boxes, root: Path) -> None:
    older = await agent(boxes, spec(root, epoch=1))
    newer = await agent(boxes, spec(root, epoch=2))
    assert await newer.bash("echo mine") == "mine"
    with pytest.raises(BoxDied):
        await older.bash("echo mine")


async def test_what_ended_is_in_the_journal_under_its_key(boxes: Boxes, root: Path) -> None:
    wanted = spec(root)
    model = await agent(boxes, wanted)
    said = await model.box.call("bash", {"command": "echo once; false"}, key="sevt_1", epoch=1)
    await model.box.close()
    assert await boxes.outcome(wanted, "sevt_1") == said
    assert await boxes.outcome(wanted, "sevt_2") is None


async def test_a_key_that_was_answered_is_not_run_again(model: Agent) -> None:
    first = await model.box.call("bash", {"command": "echo x >> a; wc -l < a"}, key="same", epoch=1)
    second = await model.box.call("bash", {"command": "echo x >> a; wc -l < a"}, key="same", epoch=1)
    assert first == second
    assert await model.bash("wc -l < a") == "1"


async def test_names_that_are_not_utf8_can_be_listed(model: Agent) -> None:
    await model.bash("touch $'caf\\xe9.txt'")
    said = text(await model.call("glob", pattern="*.txt"))
    said.encode("utf-8")
    assert said.startswith("/workspace/caf")
