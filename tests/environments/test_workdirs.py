"""What goes into a session's files and out again, beside an agent that means no good."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from freehold.environments.workdirs import Workdir, Workdirs, upload_path
from freehold.errors import InvalidRequest, NotFound


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    made = Workdirs(tmp_path).of("sesn_1")
    made.prepare(None)
    return made


@pytest.mark.parametrize("path", ["a.csv", "deep/er/a b.csv", "übergrößen/数据.csv"])
def test_a_path_below_the_uploads_is_taken(path: str) -> None:
    assert upload_path(f"/mnt/session/uploads/{path}") == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "a.csv",
        "/mnt/session/uploads",
        "/mnt/session/uploads/",
        "/mnt/session/uploads//a",
        "/mnt/session/uploads/../a",
        "/mnt/session/uploads/a/./b",
        "/mnt/session/uploads/a\0b",
        "/mnt/session/uploads/a\nb",
        "/mnt/session/uploads/" + "x" * 300,
        "/mnt/session/uploads/" + "x/" * 600,
        "/mnt/session/outputs/a",
        "/etc/passwd",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest, match="mount_path"):
        upload_path(path)


def test_an_upload_is_put_replaced_and_removed(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path / "new" / "sesn_1")
    for content in (b"one", b"two"):
        workdir.put_upload("/mnt/session/uploads/d/a.csv", io.BytesIO(content))
        assert (workdir.uploads / "d/a.csv").read_bytes() == content
    assert [path.name for path in workdir.uploads.iterdir()] == ["d"]
    workdir.remove_upload("/mnt/session/uploads/d/a.csv")
    workdir.remove_upload("/mnt/session/uploads/d/a.csv")
    assert not (workdir.uploads / "d/a.csv").exists()


def test_everyone_may_read_an_upload_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        workdir = Workdir(tmp_path / "sesn_1")
        workdir.put_upload("/mnt/session/uploads/d/a.csv", io.BytesIO(b"x"))
    finally:
        os.umask(before)
    assert (workdir.uploads / "d/a.csv").stat().st_mode & 0o777 == 0o644
    assert (workdir.uploads / "d").stat().st_mode & 0o777 == 0o755
    assert workdir.path.stat().st_mode & 0o777 == 0o711


def test_an_upload_that_collides_is_refused_and_leaves_nothing(workdir: Workdir) -> None:
    workdir.put_upload("/mnt/session/uploads/a", io.BytesIO(b"x"))
    with pytest.raises(InvalidRequest, match="collides"):
        workdir.put_upload("/mnt/session/uploads/a/b", io.BytesIO(b"y"))
    workdir.put_upload("/mnt/session/uploads/d/b", io.BytesIO(b"y"))
    with pytest.raises(InvalidRequest, match="collides"):
        workdir.put_upload("/mnt/session/uploads/d", io.BytesIO(b"z"))
    assert sorted(path.name for path in workdir.uploads.rglob("*")) == ["a", "b", "d"]


def test_outputs_are_listed_by_path_and_can_be_read(workdir: Workdir) -> None:
    (workdir.outputs / "b").mkdir()
    (workdir.outputs / "b" / "c.txt").write_bytes(b"12345")
    (workdir.outputs / "a.txt").write_bytes(b"1")
    found = workdir.list_outputs()
    assert [(output.path, output.size_bytes) for output in found] == [("a.txt", 1), ("b/c.txt", 5)]
    with workdir.open_output("b/c.txt") as file:
        assert file.read() == b"12345"


def test_links_fifos_and_devices_are_no_outputs(workdir: Workdir, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (workdir.outputs / "link").symlink_to(secret)
    (workdir.outputs / "folder").symlink_to(tmp_path)
    os.mkfifo(workdir.outputs / "fifo")
    if os.geteuid() == 0:
        os.mknod(workdir.outputs / "null", 0o020666, os.makedev(1, 3))
    assert workdir.list_outputs() == []
    for path in ("link", "folder/secret", "fifo", "null", "../workspace", "/etc/passwd", "", ".", "missing"):
        with pytest.raises(NotFound):
            workdir.open_output(path)


def test_outputs_that_are_a_link_themselves_lead_nowhere(workdir: Workdir, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    workdir.outputs.rmdir()
    workdir.outputs.symlink_to(tmp_path)
    with pytest.raises(NotFound):
        workdir.open_output("secret")


def test_a_name_that_is_not_utf8_is_left_out(workdir: Workdir) -> None:
    (workdir.outputs / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    assert workdir.list_outputs() == []


def test_what_is_remembered_adds_up(workdir: Workdir) -> None:
    assert workdir.meta() == {}
    workdir.remember(uid=7)
    workdir.remember(epoch=2)
    assert workdir.meta() == {"uid": 7, "epoch": 2}


def test_deleting_takes_everything_whatever_its_modes(workdir: Workdir, tmp_path: Path) -> None:
    (workdir.workspace / "closed").mkdir()
    (workdir.workspace / "closed" / "a").write_text("x")
    (workdir.workspace / "closed").chmod(0)
    (workdir.workspace / "out").symlink_to(tmp_path)
    (tmp_path / "kept").write_text("x")
    workdir.delete()
    workdir.delete()
    assert not workdir.path.exists()
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "sesn 1"])
def test_a_folder_is_only_made_for_an_id(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="session id"):
        Workdirs(tmp_path).of(name)
