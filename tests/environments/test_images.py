"""Boxes that stand on images: built by hand here, unpacked without a daemon, run by bubblewrap."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from freehold.app.basebuilding import build_base
from freehold.app.settings import DataSettings
from freehold.clock import HandClock
from freehold.config import load
from freehold.environments.base import BoxSpec
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.egress import Egress
from freehold.environments.images.archives import ImageRefused, open_archive
from freehold.environments.images.debian import Debian
from freehold.environments.images.images import ImageSettings
from freehold.environments.images.manifest import read_manifest
from freehold.environments.images.roots import user_of
from freehold.environments.launcher import find_program
from freehold.environments.networking import EgressSettings
from tests.environments.conftest import require_bubblewrap
from tests.environments.live import Agent, text
from tests.images import Image, digest, entry, folder, layer, link, system

SYSTEM = system()
TOP = layer(
    folder("app"),
    entry("app/main", "work\n"),
    entry("opt/tool/bin/hello", "#!/bin/sh\necho hello\n", mode=0o755),
    entry("home/someone/notes", "n"),
    entry("workspace/hidden", ""),
    entry("etc/passwd", "root:x:0:0::/root:/bin/sh\nnode:x:1005:1006:Node:/home/node:/bin/sh\n"),
)
CONFIG = {"Env": ["PATH=/opt/tool/bin:/bin", "GREETING=hi", "HOME=/root", "=x", "9=y"], "User": "node"}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def boxes(tmp_path: Path, clock: HandClock) -> AsyncIterator[Bubblewrap]:
    require_bubblewrap()
    (tmp_path / "images").mkdir()
    settings = ImageSettings(image_folder=tmp_path / "images", most_image_bytes=64 << 20)
    opened = Bubblewrap(tmp_path / "boxes", image_settings=settings, clock=clock)
    yield opened
    await opened.close()


async def opened(boxes: Bubblewrap, tmp_path: Path, name: str, session_id: str = "sesn_1") -> Agent:
    wanted = BoxSpec(session_id, tmp_path / "boxes" / session_id, 1, environment={"image": name})
    return Agent(await boxes.open(wanted), wanted)


async def test_an_image_is_the_system_of_a_box_and_says_how_it_is_run(boxes: Bubblewrap, tmp_path: Path) -> None:
    image = Image([SYSTEM, TOP], CONFIG)
    image.as_folder(tmp_path / "images" / "node")
    agent = await opened(boxes, tmp_path, "node")
    assert await agent.bash("id; hello; cat /app/main /home/someone/notes; echo $GREETING $HOME $USER; pwd") == (
        "uid=1005(node) gid=1006 groups=1006\nhello\nwork\nnhi /home/agent node\n/workspace"
    )
    assert await agent.bash("command -v python3 bash git; ls /workspace") == "(no output)"
    outcome = await agent.call("bash", command="touch /app/x || touch /etc/x || touch /x || touch /.freehold/x")
    assert outcome.is_error and text(outcome).count("Read-only") == 4
    assert agent.spec.workdir.joinpath("meta.json").read_text().count(f"image node ({image.id})") == 1


async def test_every_tool_works_where_the_image_has_no_python_and_no_bash(boxes: Bubblewrap, tmp_path: Path) -> None:
    Image([system("sh", "cat", "ls", "id", "touch", "mkdir")], {"WorkingDir": "/workspace/src"}).as_tar(
        tmp_path / "images" / "plain.tar"
    )
    agent = await opened(boxes, tmp_path, "plain.tar")
    await agent.call("write", file_path="/workspace/a.txt", content="one\ntwo\n")
    await agent.call("edit", file_path="/workspace/a.txt", old_string="two", new_string="three")
    assert "three" in text(await agent.call("read", file_path="/workspace/a.txt"))
    assert text(await agent.call("grep", pattern="thr")) == "/workspace/a.txt:2:three"
    assert text(await agent.call("glob", pattern="*.txt")) == "/workspace/a.txt"
    assert await agent.bash("pwd; x=1; cat ../a.txt; id -u") == "/workspace/src\none\nthree\n1000"
    assert await agent.bash("echo $x; touch /tmp/y /home/agent/z && ls /tmp") == "1\ny"
    assert await agent.bash("echo $GREETING$PATH") == "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


async def test_a_box_on_an_image_is_as_closed_as_any(boxes: Bubblewrap, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.write_text("secret")
    root_links = [link("all", "/"), link("host", str(planted)), link("etc/evil", "../../../../proc/1/environ")]
    Image([SYSTEM, layer(*root_links)], {"User": "root"}).as_saved(tmp_path / "images" / "x.tar")
    agent = await opened(boxes, tmp_path, "x.tar")
    keep = "while read a b; do case $a in CapEff:|NoNew*|Seccomp:) echo $a$b;; esac; done </proc/self/status"
    status = await agent.bash(keep)
    assert status.splitlines() == ["CapEff:0000000000000000", "NoNewPrivs:1", "Seccomp:2"]
    look = "cat /host /etc/evil /proc/1/environ 2>/dev/null; ls /sys /root 2>/dev/null; id -u"
    assert await agent.bash(look) == "1000"
    devices = await agent.bash("while read -r one rest; do echo $one; done </proc/net/dev")
    assert devices.split() == ["Inter-|", "face", "lo:"]
    assert "bwrap" not in await agent.bash("cat /proc/*/cmdline")


async def test_layers_are_kept_by_digest_and_collected(boxes: Bubblewrap, tmp_path: Path, clock: HandClock) -> None:
    for name, top in (("one", "1"), ("two", "2")):
        Image([SYSTEM, layer(entry("top", top))], {}).as_folder(tmp_path / "images" / name)
    agents = await asyncio.gather(*(opened(boxes, tmp_path, "one", f"sesn_{number}") for number in range(3)))
    second = await opened(boxes, tmp_path, "two", "sesn_9")
    assert [await agent.bash("cat /top") for agent in (*agents, second)] == ["1", "1", "1", "2"]
    kept = await boxes.layers()
    assert sorted(one["manager"] for one in kept) == ["image"] * 2 + ["imagelayer"] * 3
    assert digest(SYSTEM) in [one["resolved"][0] for one in kept]
    shared = [tmp_path / "boxes/.layers" / one["id"] / "bin/cat" for one in kept if one["size_bytes"] > 1000]
    assert len({path.stat().st_ino for path in shared}) == 1, "the same bytes lie there once"
    await clock.advance(10 * 86_400)
    await second.box.close()
    await opened(boxes, tmp_path, "two", "sesn_9")
    gone = await boxes.collect_layers(5)
    assert len(gone) == 4 and not [one for one in gone if one in str(await boxes.layers())]
    third = await opened(boxes, tmp_path, "two", "sesn_10")
    assert await third.bash("cat /top") == "2"


async def test_what_cannot_be_unpacked_is_told_and_leaves_nothing(boxes: Bubblewrap, tmp_path: Path) -> None:
    images = tmp_path / "images"
    Image([SYSTEM, layer(entry("../x", ""))], {}).as_folder(images / "dots")
    Image([layer(entry("zeros", bytes(65 << 20)))], {}).as_folder(images / "bomb")
    Image([layer(entry("etc/x")), layer(link("etc", "/etc"))], {}).as_folder(images / "etc")
    for name, complaint in (
        ("dots", r"layer 2 of 2: .*'\.\.'"),
        ("bomb", "larger unpacked"),
        ("etc", "/etc is a link"),
    ):
        with pytest.raises(ImageRefused, match=complaint):
            await opened(boxes, tmp_path, name)
    assert not list((tmp_path / "boxes" / ".layers").glob("image-*.json"))
    assert not list((tmp_path / "boxes").glob("unpacking-*"))
    for name in ("../images/dots", "nothing"):
        with pytest.raises(Exception, match="image"):
            await boxes.images.check(name, "")


def _changed(path: Path, name: str, change: Any) -> Path:
    """That description in an OCI folder, changed, with its digest left as it was."""
    found = path / name
    if name != "index.json":
        blobs = (path / "blobs/sha256").iterdir()
        found = next(blob for blob in blobs if name.encode() in blob.read_bytes()[:2000])
    described = json.loads(found.read_bytes())
    change(described)
    found.write_text(json.dumps(described))
    return path


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("index.json", lambda index: index.update(manifests=[]), "no image"),
        ("index.json", lambda index: index.pop("manifests"), "no 'manifests'"),
        ("index.json", lambda index: index["manifests"][0].update(digest="sha256:../../x"), "no sha256 digest"),
        ("index.json", lambda index: index["manifests"][0].update(platform={"architecture": "s390x"}), "no image for"),
        ("diff_ids", lambda config: config.update(x=1), "not what its digest says"),
    ],
)
def test_descriptions_that_do_not_hold_are_refused(tmp_path: Path, name: str, change: Any, complaint: str) -> None:
    path = Image([TOP], {}).as_folder(tmp_path / "image")
    with pytest.raises(ImageRefused, match=complaint):
        read_manifest(open_archive(_changed(path, name, change)))


def test_the_three_forms_of_an_image_are_one_image_and_others_are_refused(tmp_path: Path) -> None:
    image = Image([TOP, TOP], CONFIG)
    forms = [image.as_folder(tmp_path / "f"), image.as_tar(tmp_path / "t.tar"), image.as_saved(tmp_path / "s.tar")]
    for form in forms:
        found = read_manifest(open_archive(form))
        assert (found.digest, [one.diff_id for one in found.layers]) == (image.id, [digest(TOP)] * 2)
    with pytest.raises(ImageRefused, match="made for linux/riscv"):
        read_manifest(open_archive(Image([TOP], {}, "riscv").as_folder(tmp_path / "riscv")))
    for name, content in (("zip", b"PK"), ("gz", b"\x1f\x8b12"), ("empty", b""), ("huge", _huge_header())):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageRefused):
            read_manifest(open_archive(tmp_path / name))


def _huge_header() -> bytes:
    """A tar whose first header says that a gigabyte of further header follows."""
    member, _ = entry("x", type=b"x")
    member.size = 1 << 30
    return member.tobuf() + bytes(10_240)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        *(("", 1000), ("root", 1000), ("0", 1000), ("0:0", 1000)),
        *(("node", 1005), ("1005", 1005), ("77", 77), ("77:88", 77)),
        *(("nobody-here", None), ("-1", None), ("99999999999", None), ("node:nobodies", None)),
    ],
)
def test_the_user_of_an_image(tmp_path: Path, wanted: str, found: int | None) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\nnode:x:1005:1006::/:\nbad\n")
    if found is None:
        with pytest.raises(ImageRefused):
            user_of(tmp_path, wanted)
    else:
        assert user_of(tmp_path, wanted).uid == found


async def test_a_system_that_was_built_is_what_boxes_stand_on_until_it_is_not_wanted(
    boxes: Bubblewrap, tmp_path: Path, clock: HandClock
) -> None:
    tar = tmp_path / "base.tar"
    tar.write_bytes(layer(*_members(SYSTEM), entry("etc/built", "yes\n"), entry("var/lib/dpkg/status", "")))
    base = await boxes.images.take_base(tar, "debian handmade")
    tar.unlink()
    wanted = BoxSpec("sesn_1", tmp_path / "boxes" / "sesn_1", 1)
    first = Agent(await boxes.open(wanted), wanted)
    assert await first.bash("cat /etc/built; command -v python3 || echo bare") == "yes\nbare"
    assert f"debian handmade ({base.digest})" in (wanted.workdir / "meta.json").read_text()
    Image([SYSTEM], {}).as_folder(tmp_path / "images" / "other")
    second = await opened(boxes, tmp_path, "other", "sesn_2")
    assert (await second.call("bash", command="cat /etc/built")).is_error
    await clock.advance(40 * 86_400)
    assert base.root.name not in await boxes.collect_layers(30)
    plain = Bubblewrap(tmp_path / "boxes", image_settings=ImageSettings(box_base="host"), clock=clock)
    try:
        third = BoxSpec("sesn_3", tmp_path / "boxes" / "sesn_3", 1)
        assert (await Agent(await plain.open(third), third).call("bash", command="cat /etc/built")).is_error
    finally:
        await plain.close()


def _members(packed: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return [(one, file.read() if (file := tar.extractfile(one)) else b"") for one in tar]


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_a_debian_system_is_built_and_takes_packages_of_its_own(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if "soak" not in str(request.config.getoption("markexpr")):
        pytest.skip("`make soak` runs it")
    if find_program("mmdebstrap") is None and (find_program("debootstrap") is None or os.geteuid() != 0):
        pytest.skip("mmdebstrap is not installed, nor debootstrap for root")
    require_bubblewrap()
    configuration = load([DataSettings, ImageSettings], flags={"data": tmp_path}, environment={})
    said: list[str] = []
    base = await build_base(configuration, Debian(), said.append)
    egress = Egress(EgressSettings(egress_private_hosts=EgressSettings().egress_package_hosts))
    boxes = Bubblewrap(tmp_path / "sessions", egress=egress)
    try:
        packages = {"packages": {"apt": ["tree"], "pip": ["requests==2.32.3"]}}
        wanted = BoxSpec("sesn_1", tmp_path / "sessions" / "sesn_1", 1, environment=packages)
        agent = Agent(await boxes.open(wanted), wanted)
        look = (
            "sed -n 's/^ID=//p' /etc/os-release; tree --version | cut -c1-4; git --version | cut -c1-3; rg -V | head -1"
        )
        assert (await agent.bash(look)).splitlines()[:3] == ["debian", "tree", "git"]
        assert await agent.bash("python3 -c 'import requests; print(requests.__version__)'") == "2.32.3"
        assert (await agent.call("bash", command="touch /usr/x || apt-get install -y sl")).is_error
    finally:
        await boxes.close()
    assert said and base.name == "debian bookworm"
