"""Snapshots taken, restored, forked, exported and imported: byte for byte, and with nothing that leads out."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from freehold.environments import snapshots as room
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.chores import ChoreFailed
from freehold.environments.snapshots import Snapshots
from freehold.environments.workdirs import Workdir
from freehold.errors import InvalidRequest, NotFound
from tests.environments.live import agent, spec


@pytest.fixture
def kept(walled: Bubblewrap) -> Snapshots:
    return Snapshots(walled)


async def filled(walled: Bubblewrap, root: Path, script: str, session_id: str = "sesn_1") -> Workdir:
    """The files that an agent leaves behind."""
    inmate = await agent(walled, spec(root, session_id))
    await inmate.bash(script)
    await inmate.box.close()
    return Workdir(root / session_id)


def digest(workdir: Workdir) -> dict[str, tuple[str, str]]:
    """Every path with its mode and content."""
    found = {}
    for top in room.TOPS:
        for path in sorted((workdir.path / top).rglob("*")):
            seen = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            data = content.encode() if isinstance(content, str) else content
            mode = "" if path.is_symlink() else oct(seen.st_mode)
            found[os.path.relpath(path, workdir.path)] = (mode, hashlib.sha256(data).hexdigest())
    return found


def printed(*argv: str) -> bytes:
    return subprocess.run(argv, capture_output=True, check=True).stdout


MESS = r"""
mkdir -p a/b/empty 'with space' ; echo one > a/one; echo two > 'with space/t w o'
ln -s ../one a/b/link; ln -s /etc/passwd out
printf 'x' > $'new\nline'; printf 'y' > $'\xe9'; printf z > -- '-T' ; printf z > 'C:\\x'; mkfifo pipe
head -c 3000000 /dev/urandom > big; truncate -s 50M sparse
echo secret > closed; chmod 000 closed; mkdir shut; echo in > shut/in; chmod 500 shut
echo '#!/bin/sh' > run; chmod 755 run; echo home > ~/h; echo out > /mnt/session/outputs/o; ln big hard
"""


async def test_a_snapshot_comes_back_byte_for_byte(walled: Bubblewrap, kept: Snapshots, root: Path) -> None:
    workdir = await filled(walled, root, MESS)
    before = digest(workdir)
    del before["workspace/pipe"]
    taken = await kept.take(workdir, "one")
    assert taken.files == len(before)
    assert taken.pack_bytes < 4_000_000
    await filled(walled, root, "chmod -R u+rwx .; rm -rf -- * ~/h; echo other > a")
    await kept.restore(workdir, "one", workdir)
    assert digest(workdir) == before
    inmate = await agent(walled, spec(root, "sesn_1"))
    assert await inmate.bash("cat a/b/link; chmod 600 closed; cat closed; ./run && echo fine") == "one\nsecret\nfine"


async def test_only_what_changed_is_packed_again(walled: Bubblewrap, kept: Snapshots, root: Path) -> None:
    workdir = await filled(walled, root, "for n in $(seq 200); do head -c 10000 /dev/urandom > f$n; done")
    first = await kept.take(workdir, "one")
    await filled(walled, root, "echo new > f7; touch -d '2020-01-01' f8; rm f9; mkdir d; echo x > d/x")
    second = await kept.take(workdir, "two")
    third = await kept.take(workdir, "three")
    assert first.pack_bytes > 2_000_000
    assert second.packed == 4  # f7, f8 (its times), d and d/x
    assert second.pack_bytes < 30_000
    assert third.packed == 1  # the folder
    now = digest(workdir)
    await filled(walled, root, "rm -rf *")
    await kept.restore(workdir, "three", workdir)
    assert digest(workdir) == now
    await kept.restore(workdir, "one", workdir)
    assert len(digest(workdir)) == 200


async def test_a_change_that_hides_its_time_is_seen(walled: Bubblewrap, kept: Snapshots, root: Path) -> None:
    workdir = await filled(walled, root, "echo aaa > f; touch -d '2020-01-01' f")
    await kept.take(workdir, "one")
    await filled(walled, root, "echo bbb > f; touch -d '2020-01-01' f")
    assert (await kept.take(workdir, "two")).packed == 1


async def test_a_fork_has_the_files_and_its_own_user(walled: Bubblewrap, kept: Snapshots, root: Path) -> None:
    source = await filled(walled, root, "echo mine > a")
    await kept.take(source, "one")
    await filled(walled, root, "echo changed > a")
    fork = Workdir(root / "sesn_fork")
    await kept.restore(source, "one", fork)
    inmate = await agent(walled, spec(root, "sesn_fork"))
    assert await inmate.bash("cat a; echo more >> a; cat a") == "mine\nmine\nmore"
    assert (source.workspace / "a").read_text() == "changed\n"
    if os.geteuid() == 0:
        assert (fork.workspace / "a").stat().st_uid != (source.workspace / "a").stat().st_uid


async def test_what_is_not_kept_is_forgotten_and_what_it_needs_is_not(
    walled: Bubblewrap, kept: Snapshots, root: Path
) -> None:
    workdir = await filled(walled, root, "echo one > a; echo one > b")
    await kept.take(workdir, "one")
    await filled(walled, root, "echo two > b")
    await kept.take(workdir, "two")
    await filled(walled, root, "echo three > b")
    await kept.take(workdir, "three")
    assert kept.names(workdir) == ["one", "two", "three"]
    await kept.prune(workdir, ["three"])
    assert sorted(path.name for path in (workdir.path / "snapshots").iterdir()) == [
        *("one.tar.zst", "three.json", "three.tar.zst"),
    ]
    await filled(walled, root, "rm *")
    await kept.restore(workdir, "three", workdir)
    assert ((workdir.workspace / "a").read_text(), (workdir.workspace / "b").read_text()) == ("one\n", "three\n")


async def test_a_long_chain_ends_with_a_whole_pack(
    walled: Bubblewrap, kept: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_LONGEST_CHAIN", 3)
    workdir = await filled(walled, root, "for n in 1 2 3 4 5 6; do echo $n > f$n; done")
    packed = []
    for number in range(6):
        packed.append((await kept.take(workdir, f"s{number}")).packed)
        await filled(walled, root, f"echo changed > f{number + 1}")
    assert packed == [6, 1, 1, 6, 1, 1]


async def test_an_unknown_snapshot_is_named(kept: Snapshots, root: Path) -> None:
    for name in ("none", "../one", ""):
        with pytest.raises(NotFound, match="there is no snapshot"):
            await kept.restore(Workdir(root / "sesn_1"), name, Workdir(root / "sesn_2"))


async def test_packing_follows_no_link_out_of_the_session(
    walled: Bubblewrap, kept: Snapshots, root: Path, tmp_path: Path
) -> None:
    """An agent swaps a folder for a link between the look and the packing; here it is swapped beforehand."""
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "key").write_text("host-content")
    workdir = await filled(walled, root, "mkdir d; echo decoy > d/key")
    real = room._walk(workdir.path)
    found = list(real)
    (workdir.workspace / "d" / "key").unlink()
    (workdir.workspace / "d").rmdir()
    (workdir.workspace / "d").symlink_to(secret)
    archive = tmp_path / "a.tar.zst"
    with pytest.raises(ChoreFailed, match="d/key"):
        await kept._pack(workdir, [path for path, _ in found], archive)
    assert not await asyncio.to_thread(archive.exists)
    await kept.export(workdir, archive)
    assert b"host-content" not in await asyncio.to_thread(printed, "zstd", "-dc", str(archive))


async def test_an_export_is_an_archive_that_comes_in_again(
    walled: Bubblewrap, kept: Snapshots, root: Path, tmp_path: Path
) -> None:
    workdir = await filled(walled, root, "mkdir -p d; echo x > d/a; echo h > ~/h; echo o > /mnt/session/outputs/o")
    archive = tmp_path / "export.tar.zst"
    await kept.export(workdir, archive)
    listed = await asyncio.to_thread(printed, "tar", "--zstd", "-tf", str(archive))
    assert set(listed.decode().split()) == {"workspace/d/", "workspace/d/a", "home/h", "outputs/o"}
    other = Workdir(root / "sesn_2")
    await kept.import_archive(other, archive)
    assert digest(other) == digest(workdir)


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    done = subprocess.run(["zstd", "-q", "-c"], input=plain.getvalue(), capture_output=True, check=True)
    path.write_bytes(done.stdout)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "members",
    [
        [(member("workspace/l", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        [(member("workspace/l", tarfile.SYMTYPE, ".."), b""), (member("workspace/l/x"), b"x")],
        [(member("workspace/a"), b"x"), (member("workspace/l", tarfile.LNKTYPE, "workspace/a"), b"")],
        [(member("workspace/f", tarfile.FIFOTYPE), b"")],
        [(member("workspace/d", tarfile.CHRTYPE), b"")],
        [(member("../../escaped"), b"x")],
        [(member("workspace/../../../escaped"), b"x")],
        [(member("other/a"), b"x")],
        [(member("a"), b"x")],
    ],
)
async def test_an_archive_with_anything_but_files_and_folders_is_refused(
    kept: Snapshots, root: Path, tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    workdir = Workdir(root / "sesn_1")
    with pytest.raises(InvalidRequest):
        await kept.import_archive(workdir, archive_of(tmp_path / "a.tar.zst", *members))
    assert list(workdir.workspace.iterdir()) == []
    assert not await asyncio.to_thread(lambda: list(tmp_path.rglob("escaped")))
    assert not await asyncio.to_thread(lambda: list(workdir.path.glob(".fresh*")))


async def test_a_bomb_and_a_scrap_are_refused(
    kept: Snapshots, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_IMPORT", room._IMPORT.replace(str(room.MOST_IMPORT_BYTES), "1000000"))
    workdir = Workdir(root / "sesn_1")
    bomb = archive_of(tmp_path / "bomb.tar.zst", (member("workspace/a"), bytes(50_000_000)))
    assert bomb.stat().st_size < 10_000
    scrap = tmp_path / "scrap"
    scrap.write_bytes(b"this is no archive")
    for archive in (bomb, scrap):
        with pytest.raises(InvalidRequest, match="cannot be unpacked"):
            await kept.import_archive(workdir, archive)
    assert list(workdir.workspace.iterdir()) == []


async def test_five_thousand_files_come_back(walled: Bubblewrap, kept: Snapshots, root: Path) -> None:
    script = "for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $d $f $RANDOM > d$d/f$f; done; done"
    workdir = await filled(walled, root, script)
    before = digest(workdir)
    assert len(before) == 5050
    await kept.take(workdir, "one")
    await filled(walled, root, "rm -rf d1 d2; echo changed > d3/f1")
    await kept.restore(workdir, "one", workdir)
    assert digest(workdir) == before


async def test_a_box_at_work_can_be_kept_too(walled: Bubblewrap, kept: Snapshots, root: Path) -> None:
    inmate = await agent(walled, spec(root, "sesn_1"))
    await inmate.bash("while :; do head -c 300000 /dev/urandom > churn; date >> log; done & echo x > still")
    workdir = Workdir(root / "sesn_1")
    for name in ("one", "two", "three"):
        await kept.take(workdir, name)
    await inmate.box.close()
    await kept.restore(workdir, "two", workdir)
    assert (workdir.workspace / "still").read_text() == "x\n"
