"""Archives of skills: the sound ones packed anew, the hostile ones refused, each for what it is."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import InvalidRequest
from freehold.library.bundles import MOST_FILES, Front, archive_sources, checked_path, pack, unpack

FRONT = b"---\nname: my-skill\ndescription: Does things.\n---\n# Head\n"


def zipped(files: dict[str, bytes], modes: dict[str, int] | None = None) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return out


def packed(archive: io.BytesIO) -> tuple[Front, io.BytesIO]:
    out = io.BytesIO()
    with archive_sources(archive) as sources:
        return pack(sources, out), out


def refusal(archive: io.BytesIO) -> str:
    with pytest.raises(InvalidRequest) as error:
        packed(archive)
    return error.value.message


@pytest.mark.parametrize("top", ["", "my-skill/", "anything/"])
def test_a_sound_archive_is_packed_under_one_folder_named_after_the_skill(top: str, tmp_path: Path) -> None:
    front, out = packed(
        zipped(
            {f"{top}SKILL.md": FRONT, f"{top}scripts/run.sh": b"#!/bin/sh\n", f"{top}data/t.csv": b"1,2"},
            {f"{top}scripts/run.sh": stat.S_IFREG | 0o4777},
        )
    )
    assert front == Front("my-skill", "Does things.")
    (tmp_path / "a.zip").write_bytes(out.getvalue())
    unpack(tmp_path / "a.zip", tmp_path / "skill")
    found = {str(p.relative_to(tmp_path / "skill")): p for p in (tmp_path / "skill").rglob("*") if p.is_file()}
    assert set(found) == {"SKILL.md", "scripts/run.sh", "data/t.csv"}
    assert found["SKILL.md"].read_bytes() == FRONT
    assert stat.S_IMODE(found["scripts/run.sh"].stat().st_mode) == 0o755, "executable, and nothing more"
    assert stat.S_IMODE(found["data/t.csv"].stat().st_mode) == 0o644
    with zipfile.ZipFile(out) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"my-skill"}


def test_the_same_files_give_the_same_bytes() -> None:
    one = zipped({"SKILL.md": FRONT, "a": b"1"})
    other = zipped({"x/a": b"1", "x/SKILL.md": FRONT, "__MACOSX/x/._a": b"junk", "x/.DS_Store": b"junk"})
    assert packed(one)[1].getvalue() == packed(other)[1].getvalue()


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "..",
        "a\\b",
        "a\nb",
        "C:\\x",
        "x" * 256,
        "/".join("a" * 21),
        "\x7f",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_path(path)
    assert "path" in refusal(zipped({"SKILL.md": FRONT, path: b"x"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_link_or_device_is_refused(kind: int) -> None:
    hostile = zipped({"SKILL.md": FRONT, "x": b"/etc/passwd"}, {"x": kind | 0o777})
    assert "link or a device" in refusal(hostile)


def test_a_folder_entry_that_leads_elsewhere_is_refused() -> None:
    assert "path" in refusal(zipped({"SKILL.md": FRONT, "../../evil/": b""}))


def test_a_bomb_is_refused_by_what_comes_out_not_by_what_it_claims() -> None:
    bomb = zipped({"SKILL.md": FRONT, "zeros": bytes(120 << 20)})
    assert len(bomb.getvalue()) < 200_000
    assert "unpacks to more" in refusal(bomb)
    raw = bytearray(bomb.getvalue())
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # let it claim ten bytes
        at = raw.rindex(mark)
        raw[at + offset : at + offset + 4] = struct.pack("<I", 10)
    assert refusal(io.BytesIO(bytes(raw)))


def test_an_archive_that_lists_a_million_files_is_refused_before_it_is_read() -> None:
    many = io.BytesIO(zipped({"SKILL.md": FRONT}).getvalue() + b"PK\x01\x02" * (2 * MOST_FILES + 1))
    assert str(MOST_FILES) in refusal(many)
    assert str(MOST_FILES) in refusal(zipped({"SKILL.md": FRONT, **{f"f{n}": b"" for n in range(MOST_FILES)}}))


def _encrypted(archive: io.BytesIO) -> io.BytesIO:
    raw = bytearray(archive.getvalue())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        raw[raw.index(mark) + offset] |= 1
    return io.BytesIO(bytes(raw))


def _flipped(archive: io.BytesIO) -> io.BytesIO:
    raw = bytearray(archive.getvalue())
    raw[60] ^= 0xFF
    return io.BytesIO(bytes(raw))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_encrypted, "encrypted"),
        (_flipped, "cannot be read"),
        (lambda archive: io.BytesIO(archive.getvalue()[:-30]), "cannot be read"),
        (lambda archive: io.BytesIO(b"not a zip at all"), "cannot be read"),
        (lambda archive: io.BytesIO(b""), "cannot be read"),
    ],
)
def test_a_broken_or_locked_archive_is_refused(spoil: Callable[[io.BytesIO], io.BytesIO], said: str) -> None:
    assert said in refusal(spoil(zipped({"SKILL.md": FRONT + b"x" * 500})))


def test_files_that_stand_in_each_others_way_are_refused() -> None:
    assert "itself a file" in refusal(zipped({"SKILL.md": FRONT, "a": b"1", "a/b": b"2"}))
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("SKILL.md", FRONT)
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    assert "twice" in refusal(twice)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"# no head", "head"),
        (b"---\n- a list\n---\n", "head"),
        (b"---\nname: [\n---\n", "not YAML"),
        (b"\xff\xfe", "UTF-8"),
        (b"---\nname: My Skill\ndescription: d\n---\n", "name"),
        (b"---\nname: -x\ndescription: d\n---\n", "name"),
        (b"---\nname: " + b"x" * 65 + b"\ndescription: d\n---\n", "name"),
        (b"---\nname: 5\ndescription: d\n---\n", "name"),
        (b"---\nname: my-claude\ndescription: d\n---\n", "claude"),
        (b"---\nname: anthropic-x\ndescription: d\n---\n", "anthropic"),
        (b"---\nname: x\n---\n", "description"),
        (b"---\nname: x\ndescription: '  '\n---\n", "description"),
        (b"---\nname: x\ndescription: " + b"d" * 1025 + b"\n---\n", "description"),
        (b"---\nname: x\ndescription: a <b>bold</b> one\n---\n", "XML"),
        (b"---\nname: !!python/object/apply:os.system [id]\ndescription: d\n---\n", "not YAML"),
        (b"x" * (1024 * 1024 + 1), "larger"),
    ],
)
def test_a_skill_md_that_does_not_say_what_the_skill_is_is_refused(text: bytes, said: str) -> None:
    message = refusal(zipped({"SKILL.md": text}))
    assert "SKILL.md" in message and said in message


def test_a_skill_md_in_the_wrong_place_is_none() -> None:
    assert "no SKILL.md" in refusal(zipped({"a/SKILL.md": FRONT, "b/x": b""}))
    assert "no SKILL.md" in refusal(zipped({"a/b/SKILL.md": FRONT}))
    assert "no SKILL.md" in refusal(zipped({}))


def test_without_a_name_in_its_head_a_skill_takes_that_of_its_folder() -> None:
    front, _ = packed(zipped({"my-folder/SKILL.md": b"---\r\ndescription: d\r\n---\r\n"}))
    assert front.name == "my-folder"
