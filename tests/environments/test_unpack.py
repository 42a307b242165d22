"""Layers of images as a stranger may have made them."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from freehold.environments.images.assemble import assemble, inside
from freehold.environments.images.unpack import Refused, unpack
from tests.images import digest, entry, folder, hard_link, layer, link

OUTSIDE = "outside"


def unpacked(
    tmp_path: Path, packed: bytes, diff_id: str = "", *, most_bytes: int = 1 << 20, name: str = "layer"
) -> Path:
    """The folder into which that layer was unpacked; beside it lies one that nothing may touch."""
    (tmp_path / OUTSIDE).mkdir(exist_ok=True)
    root = tmp_path / name
    root.mkdir()
    source = tmp_path / f"{name}.tar"
    source.write_bytes(packed)
    with source.open("rb") as file:
        unpack(file.fileno(), len(packed), digest(packed), diff_id, str(root), most_bytes, 100)
    return root


def untouched(tmp_path: Path) -> bool:
    return list((tmp_path / OUTSIDE).iterdir()) == []


def test_files_folders_and_links_are_there_and_everybody_may_read_them(tmp_path: Path) -> None:
    root = unpacked(
        tmp_path,
        layer(
            folder("./etc/"),
            entry("./etc/secret", "s", mode=0o600),
            entry("bin/tool", "#!", mode=0o4700),
            link("bin/alias", "tool"),
            hard_link("etc/same", "etc/secret"),
        ),
    )
    assert stat.S_IMODE((root / "etc/secret").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "bin/tool").stat().st_mode) == 0o755
    assert os.readlink(root / "bin/alias") == "tool"
    assert (root / "etc/same").samefile(root / "etc/secret")
    assert (root / "etc/secret").stat().st_mtime == 1_700_000_000


def test_what_leads_out_of_the_layer_ends_inside_it(tmp_path: Path) -> None:
    outside = tmp_path / OUTSIDE
    root = unpacked(
        tmp_path,
        layer(
            link("absolute", str(outside)),
            entry("absolute/one", "1"),
            link("relative", "../../../outside"),
            entry("relative/two", "2"),
            entry("/three", "3"),
            link("four", f"{outside}/four"),
            entry("four", "4"),
        ),
    )
    assert untouched(tmp_path)
    assert (root / str(outside).lstrip("/") / "one").read_text() == "1"
    assert (root / "outside" / "two").read_text() == "2"
    assert (root / "three").read_text() == "3" and not (root / "four").is_symlink()


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([entry("../one", "1")], "'..'"),
        ([entry("a/../../one", "1")], "'..'"),
        ([hard_link("passwd", "../../etc/passwd")], "'..'"),
        ([hard_link("passwd", "/etc/passwd")], "not in the layer"),
        ([link("a", "/etc"), hard_link("b", "a/passwd")], "not in the layer"),
        ([folder("a"), hard_link("b", "a")], "hard link to a folder"),
        ([entry(".wh.../x", "")], "below a whiteout"),
        ([link("a", ".wh..."), entry("a/x", "")], "below a whiteout"),
        ([entry(".wh.b/x", "")], "below a whiteout"),
        ([link("a", "b"), link("b", "a"), entry("a/one", "1")], "too many links"),
        ([entry("/".join("d" * 101), "1")], "too deep"),
        ([entry("a", "1"), entry("a/b", "1")], "below a file"),
        ([entry(f"file{number}", "") for number in range(101)], "more files"),
        ([entry("big", bytes((1 << 20) + 1))], "larger unpacked"),
    ],
)
def test_a_layer_that_will_not_do_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], complaint: str
) -> None:
    with pytest.raises(Refused, match=re.escape(complaint)):
        unpacked(tmp_path, layer(*members))
    assert untouched(tmp_path)


def test_devices_and_fifos_are_left_out(tmp_path: Path) -> None:
    kinds = {"null": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE}
    root = unpacked(tmp_path, layer(entry("here", ""), *(entry(name, type=kind) for name, kind in kinds.items())))
    assert [path.name for path in root.iterdir()] == ["here"]


def test_a_compressed_layer_is_held_to_both_of_its_digests_and_a_bomb_is_stopped(tmp_path: Path) -> None:
    plain = layer(entry("one", "1"))
    diff_id = digest(plain)
    assert (unpacked(tmp_path, gzip.compress(plain), diff_id) / "one").exists()
    zstd = subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
    assert (unpacked(tmp_path, zstd, diff_id, name="zstd") / "one").exists()
    with pytest.raises(Refused, match="not what its digest says"):
        unpacked(tmp_path, gzip.compress(layer(entry("one", "2"))), diff_id, name="other")
    with pytest.raises(Refused, match="larger unpacked"):
        unpacked(tmp_path, gzip.compress(layer(entry("zeros", bytes(64 << 20)))), name="bomb")
    for name, cut in (("cut", gzip.compress(plain)[:-20]), ("nothing", b""), ("noise", hashlib.sha256().digest() * 99)):
        with pytest.raises(Refused):
            unpacked(tmp_path, cut, diff_id, name=name)


def test_a_later_layer_changes_hides_and_replaces_what_is_below(tmp_path: Path) -> None:
    below = unpacked(
        tmp_path,
        layer(
            entry("etc/a", "1"),
            entry("etc/b", "1"),
            entry("var/lib/list/x", ""),
            entry("srv/y", ""),
            link("way", "srv"),
            entry("tool", "old"),
        ),
        name="below",
    )
    above = unpacked(
        tmp_path,
        layer(
            entry("etc/a", "2"),
            entry("etc/.wh.b", ""),
            entry("var/lib/list/.wh..wh..opq", ""),
            entry("var/lib/list/z", ""),
            entry(".wh.srv", ""),
            entry(".wh..wh.plnk", ""),
            entry(".wh...", ""),
            entry("way/of", "a folder now"),
            folder("tool"),
        ),
        name="above",
    )
    root = tmp_path / "root"
    assemble([below, above], root)
    assert (root / "etc/a").read_text() == "2" and not (root / "etc/b").exists()
    assert [path.name for path in (root / "var/lib/list").iterdir()] == ["z"]
    assert not (root / "srv").exists() and (root / "way/of").read_text() == "a folder now"
    assert (root / "tool").is_dir()
    assert (below / "etc/a").read_text() == "1", "a layer that others share is not changed"
    assert not list(root.rglob(".wh.*"))


def test_a_whiteout_that_is_a_folder_takes_nothing_away(tmp_path: Path) -> None:
    """No layer that was unpacked here has one; whatever comes to stand there, nothing above the image goes."""
    (tmp_path / OUTSIDE).mkdir()
    (tmp_path / OUTSIDE / "kept").write_text("of another image")
    for name in (".wh...", ".wh..", ".wh."):
        (tmp_path / "layer" / name).mkdir(parents=True)
    (tmp_path / "layer" / "here").write_text("")
    assemble([tmp_path / "layer"], tmp_path / "root")
    assert (tmp_path / "root" / "here").exists() and (tmp_path / OUTSIDE / "kept").exists()


def test_no_link_of_an_image_leads_the_server_out_of_it(tmp_path: Path) -> None:
    (tmp_path / OUTSIDE).mkdir()
    planted = tmp_path / OUTSIDE / "planted"
    planted.write_text("host")
    below = tmp_path / "below"
    for name in ("etc", "var"):
        (below / name).mkdir(parents=True)
    (below / "etc" / "passwd").symlink_to(planted)
    (below / "etc" / "hosts").symlink_to(planted)
    (below / "var" / "tmp").symlink_to(tmp_path / OUTSIDE)
    (below / "up").symlink_to("../../..")
    root = tmp_path / "root"
    assemble([below], root)
    assert planted.read_text() == "host" and [path.name for path in (tmp_path / OUTSIDE).iterdir()] == ["planted"]
    assert "agent:x:1000" in (root / "etc/passwd").read_text() and "localhost" in (root / "etc/hosts").read_text()
    assert inside(root, "up/up/etc/hosts") == root / "etc/hosts"
    assert inside(root, "up/outside") is None
